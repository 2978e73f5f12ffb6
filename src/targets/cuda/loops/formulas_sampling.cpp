// Operators that read at places computed from their inputs, as formulas: GridSample and RotaryEmbedding. Coordinates
// are computed in float32 (float64 where the grid is), and every index is clamped into its axis before it is used.
#include <algorithm>
#include <array>
#include <cmath>

#include "targets/cuda/loops/region.h"

namespace pajamas::cuda::loops {
namespace {

/// ONNX fixes it for GridSample.
constexpr double kCubicA = -0.75;

enum class Padding { kZeros, kBorder, kReflection };

/// One axis of a picture that is sampled.
class SampledAxis {
 public:
  SampledAxis(ExprPool& pool, Padding padding, bool is_aligned, std::int64_t extent)
      : pool_(pool), padding_(padding), is_aligned_(is_aligned), extent_(extent) {}

  struct Tap {
    FormId at;
    ExprId weight;  ///< kNone: 1.
    ExprId inside;  ///< kNone: always.
  };

  /// The taps at the coordinate in [-1, 1], with weights of the coordinate's type.
  std::vector<Tap> taps(const std::string& mode, ExprId coordinate) {
    type_ = pool_.expr(coordinate).type;
    const auto size = static_cast<double>(extent_);
    const ExprId shifted = pool_.binary(Op::kAdd, coordinate, number(1));
    ExprId x = is_aligned_ ? pool_.binary(Op::kMul, shifted, number((size - 1) / 2))
                           : pool_.binary(Op::kSub, pool_.binary(Op::kMul, shifted, number(size / 2)), number(0.5));
    if (mode == "nearest") return {tap(pool_.unary(Op::kRound, padded(x)), kNone)};
    std::vector<Tap> made;
    if (mode == "linear") {
      x = padded(x);
      const ExprId low = pool_.unary(Op::kFloor, x);
      const ExprId part = pool_.binary(Op::kSub, x, low);
      made.push_back(tap(low, pool_.binary(Op::kSub, number(1), part)));
      made.push_back(tap(pool_.binary(Op::kAdd, low, number(1)), part));
      return made;
    }
    // Cubic kernels reach over the edge, so the padding applies to each element instead.
    const ExprId low = pool_.unary(Op::kFloor, x);
    const ExprId part = pool_.binary(Op::kSub, x, low);
    for (int k = -1; k <= 2; ++k) {
      const ExprId distance = pool_.unary(Op::kAbs, pool_.binary(Op::kSub, part, number(k)));
      made.push_back(
          tap(padded(pool_.binary(Op::kAdd, low, number(k))), k == 0 || k == 1 ? near(distance) : far(distance)));
    }
    return made;
  }

 private:
  ExprId number(double value) { return pool_.number(type_, value); }
  ExprId polynomial(ExprId x, const std::array<double, 4>& factors) {
    ExprId sum = number(factors[0]);
    for (std::size_t i = 1; i < factors.size(); ++i) {
      sum = pool_.binary(Op::kAdd, pool_.binary(Op::kMul, sum, x), number(factors[i]));
    }
    return sum;
  }
  /// Keys' kernel up to a distance of 1 and from 1 to 2.
  ExprId near(ExprId distance) { return polynomial(distance, {kCubicA + 2, -(kCubicA + 3), 0, 1}); }
  ExprId far(ExprId distance) { return polynomial(distance, {kCubicA, -5 * kCubicA, 8 * kCubicA, -4 * kCubicA}); }

  ExprId clamped(ExprId x) {
    return pool_.binary(Op::kMin, pool_.binary(Op::kMax, x, number(0)), number(static_cast<double>(extent_ - 1)));
  }

  ExprId padded(ExprId x) {
    if (padding_ == Padding::kZeros) return x;
    if (padding_ == Padding::kBorder) return clamped(x);
    const double low = is_aligned_ ? 0 : -0.5;
    const double span = is_aligned_ ? static_cast<double>(extent_ - 1) : static_cast<double>(extent_);
    if (span <= 0) return number(0);
    // Distance from the edge modulo two spans; the second span runs backwards.
    const ExprId distance = pool_.unary(Op::kAbs, pool_.binary(Op::kSub, x, number(low)));
    const ExprId folds = pool_.unary(Op::kFloor, pool_.binary(Op::kMul, distance, number(1 / (2 * span))));
    const ExprId rest = pool_.binary(Op::kSub, distance, pool_.binary(Op::kMul, folds, number(2 * span)));
    const ExprId back = pool_.binary(Op::kMin, rest, pool_.binary(Op::kSub, number(2 * span), rest));
    return clamped(pool_.binary(Op::kAdd, back, number(low)));
  }

  /// `place`: a whole number, still as a float.
  Tap tap(ExprId place, ExprId weight) {
    Tap made;
    made.at = pool_.expr_form(pool_.cast(DType::kInt64, clamped(place)), 0, std::max<std::int64_t>(extent_ - 1, 0));
    made.weight = weight;
    made.inside = padding_ != Padding::kZeros
                      ? kNone
                      : pool_.both(pool_.binary(Op::kLessOrEqual, number(0), place),
                                   pool_.binary(Op::kLessOrEqual, place, number(static_cast<double>(extent_ - 1))));
    return made;
  }

  ExprPool& pool_;
  Padding padding_;
  bool is_aligned_;
  std::int64_t extent_;
  DType type_ = DType::kFloat32;
};

ExprId grid_sample(Region& region, const Node& node, std::size_t, const Index& index, ExprId guard) {
  ExprPool& pool = region.pool;
  const Shape shape = region.shape_of(node.inputs[0]);
  const Shape grid = region.shape_of(node.inputs[1]);
  const std::size_t axes = shape.rank() < 2 ? 0 : shape.rank() - 2;
  region.require(node, axes >= 1 && axes <= 3 && grid.rank() == shape.rank(), "a picture of 1 to 3 axes is wanted");
  region.require(node, grid[grid.rank() - 1] == static_cast<std::int64_t>(axes), "the grid does not fit the picture");
  std::string mode = node.string_attribute("mode", "linear");
  if (mode == "bilinear") mode = "linear";
  if (mode == "bicubic") mode = "cubic";
  region.require(node, mode == "nearest" || mode == "linear" || mode == "cubic", "attribute 'mode'");
  const std::string padding = node.string_attribute("padding_mode", "zeros");
  const Padding kind = padding == "border"       ? Padding::kBorder
                       : padding == "reflection" ? Padding::kReflection
                                                 : Padding::kZeros;
  std::vector<std::vector<SampledAxis::Tap>> taps(axes);
  std::size_t count = 1;
  for (std::size_t i = 0; i < axes; ++i) {
    // The grid's last axis is x, y, z: the picture's axes from behind.
    Index at{index[0]};
    at.insert(at.end(), index.begin() + 2, index.end());
    at.push_back(pool.constant_form(static_cast<std::int64_t>(axes - 1 - i)));
    SampledAxis axis(pool, kind, node.int_attribute("align_corners", 0) != 0, shape[i + 2]);
    taps[i] = axis.taps(mode, region.at(node.inputs[1], at, guard));
    count *= taps[i].size();
  }
  ExprId sum = kNone;
  for (std::size_t k = 0; k < count; ++k) {
    Index from{index[0], index[1]};
    from.resize(shape.rank());
    ExprId weight = kNone;
    ExprId inside = kNone;
    std::size_t rest = k;
    for (std::size_t i = axes; i-- > 0;) {
      const SampledAxis::Tap& tap = taps[i][rest % taps[i].size()];
      rest /= taps[i].size();
      from[i + 2] = tap.at;
      inside = pool.both(inside, tap.inside);
      if (tap.weight != kNone) weight = weight == kNone ? tap.weight : pool.binary(Op::kMul, weight, tap.weight);
    }
    ExprId value = region.at(node.inputs[0], from, guard);
    const DType type = pool.expr(value).type;
    if (inside != kNone) value = pool.select(inside, value, pool.number(type, 0));
    if (weight != kNone) value = pool.binary(Op::kMul, value, pool.cast(type, weight));
    sum = sum == kNone ? value : pool.binary(Op::kAdd, sum, value);
  }
  return sum;
}

/// Turns pairs of channels of a head: y = x · cos ∓ partner · sin, minus for the first of a pair.
ExprId rotary_embedding(Region& region, const Node& node, std::size_t, const Index& index, ExprId guard) {
  ExprPool& pool = region.pool;
  const Shape shape = region.shape_of(node.inputs[0]);
  const bool is_flat = shape.rank() == 3;
  region.require(node, is_flat || shape.rank() == 4, "X of rank 3 or 4 is wanted");
  const std::int64_t num_heads = is_flat ? node.int_attribute("num_heads", 0) : shape[1];
  region.require(node, num_heads > 0 && (!is_flat || shape[2] % num_heads == 0), "attribute 'num_heads'");
  const std::int64_t head_dim = is_flat ? shape[2] / num_heads : shape[3];
  const std::int64_t given = node.int_attribute("rotary_embedding_dim", 0);
  const std::int64_t rotary_dim = given == 0 ? head_dim : given;
  region.require(node, rotary_dim >= 2 && rotary_dim <= head_dim && rotary_dim % 2 == 0,
                 "attribute 'rotary_embedding_dim'");
  const std::int64_t half = rotary_dim / 2;
  const bool is_interleaved = node.int_attribute("interleaved", 0) != 0;
  const FormId seq = index[is_flat ? 1 : 2];
  const FormId channel = pool.modulo(index.back(), head_dim);
  const ExprId is_rotary = rotary_dim == head_dim ? kNone : pool.in_range(channel, 0, rotary_dim);
  const ExprId own_guard = pool.both(guard, is_rotary);
  const FormId side = is_interleaved ? pool.modulo(channel, 2) : pool.digit(channel, half, 2);
  const FormId pair = is_interleaved ? pool.digit(channel, 2, half) : pool.modulo(channel, half);
  const FormId partner = is_interleaved ? pool.add(pool.scale(pair, 2), pool.add(pool.scale(side, -1), std::int64_t{1}))
                                        : pool.add(pair, pool.add(pool.scale(side, -half), half));
  Index from = index;
  from.back() = pool.add(pool.subtract(index.back(), channel), partner);
  if (!is_flat) from.back() = partner;
  const auto angle = [&](std::size_t input) {
    if (!region.has_input(node, 3)) return region.at(node.inputs[input], {index[0], seq, pair}, own_guard);
    const std::int64_t last = region.shape_of(node.inputs[input])[0] - 1;
    const ExprId position = region.at(node.inputs[3], {index[0], seq}, own_guard);
    const ExprId clamped =
        pool.binary(Op::kMax, pool.integer(DType::kInt64, 0),
                    pool.binary(Op::kMin, pool.integer(DType::kInt64, last), pool.cast(DType::kInt64, position)));
    return region.at(node.inputs[input], {pool.expr_form(clamped, 0, last), pair}, own_guard);
  };
  const ExprId own = region.at(node.inputs[0], index, guard);
  const ExprId straight = pool.binary(Op::kMul, own, angle(1));
  const ExprId across = pool.binary(Op::kMul, region.at(node.inputs[0], from, own_guard), angle(2));
  const ExprId is_first = pool.binary(Op::kEqual, pool.index(side), pool.integer(DType::kInt64, 0));
  const ExprId turned = pool.binary(Op::kAdd, straight, pool.select(is_first, pool.unary(Op::kNegate, across), across));
  return is_rotary == kNone ? turned : pool.select(is_rotary, turned, own);
}

}  // namespace

void add_sampling_formulas(OperatorTable& table);

void add_sampling_formulas(OperatorTable& table) {
  // Reads several elements for each of its own: what makes its input is a kernel of its own.
  table["GridSample"] = {grid_sample, OperatorClass::kWindow, false};
  table["RotaryEmbedding"] = {rotary_embedding, OperatorClass::kMovement, false};
}

}  // namespace pajamas::cuda::loops
