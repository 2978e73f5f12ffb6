// Operators that reduce: whole axes (the row of a kernel) and small windows (a loop inside one thread), as formulas.
// Means and variances take two passes over the row, softmax subtracts the maximum first: sound for any values.
#include <cmath>
#include <limits>
#include <numeric>

#include "targets/cuda/loops/kernel_builder.h"
#include "targets/cuda/loops/region.h"

namespace pajamas::cuda::loops {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// The row of `input` at `index` along `axes`: one element of it, and reductions of formulas of it.
struct Row {
  Region& region;
  const Node& node;
  const RowSpace& space;
  ExprId element;

  ExprId reduce(Reduction reduction, ExprId body) const { return region.pool.reduce(reduction, body, space.variable); }
  ExprId mean(ExprId body) const {
    const DType type = region.pool.expr(body).type;
    const ExprId sum = reduce(Reduction::kSum, body);
    return region.pool.binary(Op::kDiv, sum, region.pool.number(type, static_cast<double>(space.count)));
  }
};

Row row_of(Region& region, const Node& node, const Index& index, const std::vector<std::size_t>& axes, ExprId guard) {
  const Shape shape = region.shape_of(node.inputs[0]);
  const RowSpace& space = region.row_space(node, shape, axes);
  region.require(node, space.count > 0, "a reduction over nothing");
  const Index full = region.row_index(space, index, shape, axes);
  return {region, node, space, region.at(node.inputs[0], full, guard)};
}

std::vector<std::size_t> axes_from(std::size_t first, std::size_t rank) {
  std::vector<std::size_t> axes(rank - first);
  std::iota(axes.begin(), axes.end(), first);
  return axes;
}

enum class Softmax { kPlain, kLog, kHard };

template <Softmax kind>
ExprId softmax(Region& region, const Node& node, std::size_t, const Index& index, ExprId guard) {
  ExprPool& pool = region.pool;
  const bool is_flat = region.opset() < 13;
  region.require(node, !index.empty(), "a scalar");
  const std::size_t axis = region.axis(node, node.int_attribute("axis", is_flat ? 1 : -1), index.size());
  const auto axes = is_flat ? axes_from(axis, index.size()) : std::vector<std::size_t>{axis};
  const Row row = row_of(region, node, index, axes, guard);
  const ExprId own = region.at(node.inputs[0], index, guard);
  const DType type = pool.expr(own).type;
  if constexpr (kind == Softmax::kHard) {
    region.require(node, axes.size() == 1, "Hardmax over several axes");
    const ExprId best = row.reduce(Reduction::kArgMax, row.element);
    return pool.select(pool.binary(Op::kEqual, best, pool.index(index[axis])), pool.number(type, 1),
                       pool.number(type, 0));
  }
  const ExprId peak = row.reduce(Reduction::kMax, row.element);
  const ExprId sum = row.reduce(Reduction::kSum, pool.unary(Op::kExp, pool.binary(Op::kSub, row.element, peak)));
  const ExprId shifted = pool.binary(Op::kSub, own, peak);
  if constexpr (kind == Softmax::kLog) return pool.binary(Op::kSub, shifted, pool.unary(Op::kLog, sum));
  return pool.binary(Op::kMul, pool.unary(Op::kExp, shifted), pool.binary(Op::kDiv, pool.number(type, 1), sum));
}

/// (x - mean) / sqrt(variance + epsilon) over the row.
struct Moments {
  ExprId mean = kNone;
  ExprId inverse = kNone;
};

Moments moments_of(Region& region, const Row& row, double epsilon, bool is_centered) {
  ExprPool& pool = region.pool;
  const DType type = pool.expr(row.element).type;
  Moments made;
  ExprId centered = row.element;
  if (is_centered) {
    made.mean = row.mean(row.element);
    centered = pool.binary(Op::kSub, row.element, made.mean);
  }
  const ExprId variance = row.mean(pool.binary(Op::kMul, centered, centered));
  made.inverse = pool.unary(Op::kRsqrt, pool.binary(Op::kAdd, variance, pool.number(type, epsilon)));
  return made;
}

ExprId normalized(Region& region, ExprId own, const Moments& moments) {
  if (moments.mean != kNone) own = region.pool.binary(Op::kSub, own, moments.mean);
  return region.pool.binary(Op::kMul, own, moments.inverse);
}

template <bool is_centered>
ExprId layer_normalization(Region& region, const Node& node, std::size_t output, const Index& index, ExprId guard) {
  ExprPool& pool = region.pool;
  const std::size_t axis = region.axis(node, node.int_attribute("axis", -1), index.size());
  const Row row = row_of(region, node, index, axes_from(axis, index.size()), guard);
  const Moments moments = moments_of(region, row, node.float_attribute("epsilon", 1e-5F), is_centered);
  if (output == 1) return moments.mean;
  if (output == 2) return moments.inverse;
  ExprId y = normalized(region, region.at(node.inputs[0], index, guard), moments);
  const DType type = pool.expr(y).type;
  y = pool.binary(Op::kMul, y, pool.cast(type, region.operand(node, 1, index, guard)));
  if (is_centered && region.has_input(node, 2)) {
    y = pool.binary(Op::kAdd, y, pool.cast(type, region.operand(node, 2, index, guard)));
  }
  return y;
}

ExprId instance_normalization(Region& region, const Node& node, std::size_t, const Index& index, ExprId guard) {
  ExprPool& pool = region.pool;
  region.require(node, index.size() >= 2, "a tensor with channels is wanted");
  const Row row = row_of(region, node, index, axes_from(2, index.size()), guard);
  const Moments moments = moments_of(region, row, node.float_attribute("epsilon", 1e-5F), true);
  const ExprId y = normalized(region, region.at(node.inputs[0], index, guard), moments);
  return pool.binary(Op::kAdd, pool.binary(Op::kMul, y, region.at(node.inputs[1], {index[1]}, guard)),
                     region.at(node.inputs[2], {index[1]}, guard));
}

ExprId mean_variance_normalization(Region& region, const Node& node, std::size_t, const Index& index, ExprId guard) {
  std::vector<std::size_t> axes;
  for (const std::int64_t axis : node.ints_attribute("axes", {0, 2, 3})) {
    axes.push_back(region.axis(node, axis, index.size()));
  }
  const Row row = row_of(region, node, index, axes, guard);
  return normalized(region, region.at(node.inputs[0], index, guard), moments_of(region, row, 1e-18, true));
}

ExprId lp_normalization(Region& region, const Node& node, std::size_t, const Index& index, ExprId guard) {
  ExprPool& pool = region.pool;
  const std::size_t axis = region.axis(node, node.int_attribute("axis", -1), index.size());
  const Row row = row_of(region, node, index, {axis}, guard);
  const DType type = pool.expr(row.element).type;
  const bool is_square = node.int_attribute("p", 2) == 2;
  const ExprId sum = row.reduce(
      Reduction::kSum, is_square ? pool.binary(Op::kMul, row.element, row.element) : pool.unary(Op::kAbs, row.element));
  const ExprId norm = is_square ? pool.unary(Op::kSqrt, sum) : sum;
  const ExprId zero = pool.number(type, 0);
  const ExprId quotient = pool.binary(Op::kDiv, region.at(node.inputs[0], index, guard), norm);
  return pool.select(pool.binary(Op::kEqual, norm, zero), zero, quotient);
}

enum class Sum { kSum, kMean, kMax, kMin, kProd, kL1, kL2, kLogSum, kLogSumExp, kSumSquare };

/// The reduced axes, and the output's index spread to the input's rank.
std::vector<std::size_t> reduced_axes(Region& region, const Node& node, const Index& index, Index& full) {
  const Shape shape = region.shape_of(node.inputs[0]);
  const std::size_t rank = shape.rank();
  const bool is_global = node.op_type.starts_with("Global");
  const bool is_arg = node.op_type.starts_with("Arg");
  std::vector<std::int64_t> given;
  if (is_arg) {
    given = {node.int_attribute("axis", 0)};
  } else if (is_global) {
    for (std::size_t i = 2; i < rank; ++i) given.push_back(static_cast<std::int64_t>(i));
  } else if (region.opset() >= (node.op_type == "ReduceSum" ? 13 : 18)) {
    if (region.has_input(node, 1)) given = region.integers(node, 1);
  } else {
    given = node.ints_attribute("axes");
  }
  if (given.empty() && node.int_attribute("noop_with_empty_axes", 0) != 0) {
    full = index;
    return {};
  }
  std::vector<bool> is_reduced(rank, given.empty());
  for (const std::int64_t axis : given) is_reduced[region.axis(node, axis, rank)] = true;
  const bool keeps = is_global || node.int_attribute("keepdims", 1) != 0;
  std::vector<std::size_t> axes;
  std::size_t next = 0;
  for (std::size_t i = 0; i < rank; ++i) {
    if (is_reduced[i]) {
      axes.push_back(i);
      full.push_back(region.pool.constant_form(0));
      next += keeps ? 1 : 0;
    } else {
      full.push_back(index.at(next++));
    }
  }
  return axes;
}

template <Sum kind>
ExprId reduce(Region& region, const Node& node, std::size_t, const Index& index, ExprId guard) {
  ExprPool& pool = region.pool;
  Index full;
  const auto axes = reduced_axes(region, node, index, full);
  if (axes.empty()) return region.at(node.inputs[0], full, guard);
  const Row row = row_of(region, node, full, axes, guard);
  const ExprId x = row.element;
  const DType type = pool.expr(x).type;
  switch (kind) {
    case Sum::kSum: return row.reduce(Reduction::kSum, x);
    case Sum::kMean: return row.mean(x);
    case Sum::kMax: return row.reduce(Reduction::kMax, x);
    case Sum::kMin: return row.reduce(Reduction::kMin, x);
    case Sum::kProd: return row.reduce(Reduction::kProduct, x);
    case Sum::kL1: return row.reduce(Reduction::kSum, pool.unary(Op::kAbs, x));
    case Sum::kL2:
      region.require(node, is_float_type(type), "ReduceL2 of integers");
      return pool.unary(Op::kSqrt, row.reduce(Reduction::kSum, pool.binary(Op::kMul, x, x)));
    case Sum::kLogSum:
      region.require(node, is_float_type(type), "ReduceLogSum of integers");
      return pool.unary(Op::kLog, row.reduce(Reduction::kSum, x));
    case Sum::kLogSumExp: {
      region.require(node, is_float_type(type), "ReduceLogSumExp of integers");
      const ExprId raw = row.reduce(Reduction::kMax, x);
      // Of infinities alone the shift must stay finite, or their difference is NaN.
      const ExprId peak = pool.select(pool.unary(Op::kIsInf, raw), pool.number(type, 0), raw);
      const ExprId sum = row.reduce(Reduction::kSum, pool.unary(Op::kExp, pool.binary(Op::kSub, x, peak)));
      return pool.binary(Op::kAdd, peak, pool.unary(Op::kLog, sum));
    }
    case Sum::kSumSquare: return row.reduce(Reduction::kSum, pool.binary(Op::kMul, x, x));
  }
  return kNone;
}

template <bool is_max>
ExprId arg_extreme(Region& region, const Node& node, std::size_t, const Index& index, ExprId guard) {
  Index full;
  const auto axes = reduced_axes(region, node, index, full);
  const Row row = row_of(region, node, full, axes, guard);
  const bool is_last = node.int_attribute("select_last_index", 0) != 0;
  if (is_max) return row.reduce(is_last ? Reduction::kArgMaxLast : Reduction::kArgMax, row.element);
  return row.reduce(is_last ? Reduction::kArgMinLast : Reduction::kArgMin, row.element);
}

// --- windows ---

enum class Pool { kMax, kAverage };

template <Pool kind>
ExprId pooling(Region& region, const Node& node, std::size_t output, const Index& index, ExprId guard) {
  ExprPool& pool = region.pool;
  region.require(node, output == 0 && (node.outputs.size() < 2 || node.outputs[1].empty()), "the indices of MaxPool");
  const Shape in = region.shape_of(node.inputs[0]);
  const Shape out = region.shape_of(node.outputs[0]);
  const std::size_t rank = in.rank() - 2;
  const auto kernel = node.ints_attribute("kernel_shape");
  const auto strides = node.ints_attribute("strides", std::vector<std::int64_t>(rank, 1));
  const auto dilations = node.ints_attribute("dilations", std::vector<std::int64_t>(rank, 1));
  auto pads = node.ints_attribute("pads", std::vector<std::int64_t>(2 * rank, 0));
  region.require(node,
                 kernel.size() == rank && strides.size() == rank && dilations.size() == rank && pads.size() == 2 * rank,
                 "the window does not fit the rank");
  const std::string auto_pad = node.string_attribute("auto_pad", "NOTSET");
  std::int64_t count = 1;
  for (std::size_t i = 0; i < rank; ++i) {
    if (auto_pad == "VALID") pads[i] = pads[i + rank] = 0;
    if (auto_pad.starts_with("SAME")) {
      const std::int64_t reach = (kernel[i] - 1) * dilations[i] + 1;
      const std::int64_t total = std::max<std::int64_t>(0, (out[i + 2] - 1) * strides[i] + reach - in[i + 2]);
      const std::int64_t small = total / 2;
      pads[i] = auto_pad == "SAME_LOWER" ? total - small : small;
      pads[i + rank] = total - pads[i];
    }
    count *= kernel[i];
  }
  region.require(node, count <= 1024, "a window of more than 1024 elements");
  const VarId variable = region.window_variable(node, count);
  FormId rest = pool.variable(variable);
  Index from{index[0], index[1]};
  from.resize(in.rank());
  ExprId inside = kNone;
  ExprId counted = kNone;
  std::int64_t inner = 1;
  for (std::size_t i = rank; i-- > 0;) {
    const FormId step = kernel[i] > 1 ? pool.digit(rest, inner, kernel[i]) : pool.constant_form(0);
    inner *= kernel[i];
    const FormId at =
        pool.add(pool.add(pool.scale(index[i + 2], strides[i]), pool.scale(step, dilations[i])), -pads[i]);
    inside = pool.both(inside, pool.in_range(at, 0, in[i + 2]));
    counted = pool.both(counted, pool.in_range(at, -pads[i], in[i + 2] + pads[i + rank]));
    from[i + 2] = pool.assume(at, 0, in[i + 2] - 1);
  }
  const ExprId value = region.at(node.inputs[0], from, pool.both(guard, inside));
  const DType type = pool.expr(value).type;
  if constexpr (kind == Pool::kMax) {
    const ExprId low =
        is_float_type(type) ? pool.number(type, -kInfinity) : pool.integer(type, type == DType::kInt8 ? -128 : 0);
    region.require(node, is_float_type(type) || type == DType::kInt8 || type == DType::kUint8, "MaxPool of integers");
    return pool.reduce(Reduction::kMax, pool.select(inside, value, low), variable);
  }
  const ExprId zero = pool.number(type, 0);
  const ExprId sum = pool.reduce(Reduction::kSum, pool.select(inside, value, zero), variable);
  const ExprId weighs = node.int_attribute("count_include_pad", 0) != 0 ? counted : inside;
  const ExprId number = pool.is_true(weighs)
                            ? pool.number(type, static_cast<double>(count))
                            : pool.reduce(Reduction::kSum, pool.select(weighs, pool.number(type, 1), zero), variable);
  return pool.binary(Op::kDiv, sum, number);
}

ExprId cumulative_sum(Region& region, const Node& node, std::size_t, const Index& index, ExprId guard) {
  ExprPool& pool = region.pool;
  const Shape shape = region.shape_of(node.inputs[0]);
  const std::size_t axis = region.axis(node, region.integers(node, 1).at(0), shape.rank());
  region.require(node, shape[axis] <= 4096, "CumSum along more than 4096 elements");
  const VarId variable = region.window_variable(node, shape[axis]);
  Index from = index;
  from[axis] = pool.variable(variable);
  FormId distance = pool.subtract(index[axis], from[axis]);
  if (node.int_attribute("reverse", 0) != 0) distance = pool.scale(distance, -1);
  if (node.int_attribute("exclusive", 0) != 0) distance = pool.add(distance, -1);
  const ExprId counts = pool.non_negative(distance);
  const ExprId value = region.at(node.inputs[0], from, pool.both(guard, counts));
  return pool.reduce(Reduction::kSum, pool.select(counts, value, pool.number(pool.expr(value).type, 0)), variable);
}

ExprId local_response(Region& region, const Node& node, std::size_t, const Index& index, ExprId guard) {
  ExprPool& pool = region.pool;
  const Shape shape = region.shape_of(node.inputs[0]);
  const std::int64_t size = node.int_attribute("size", 1);
  region.require(node, size >= 1 && size <= 1024, "attribute 'size'");
  const VarId variable = region.window_variable(node, size);
  Index from = index;
  const FormId at = pool.add(pool.add(index[1], pool.variable(variable)), -((size - 1) / 2));
  const ExprId inside = pool.in_range(at, 0, shape[1]);
  from[1] = pool.assume(at, 0, shape[1] - 1);
  const ExprId other = region.at(node.inputs[0], from, pool.both(guard, inside));
  const DType type = pool.expr(other).type;
  const auto number = [&](double value) { return pool.number(type, value); };
  const ExprId square = pool.select(inside, pool.binary(Op::kMul, other, other), number(0));
  const ExprId sum = pool.reduce(Reduction::kSum, square, variable);
  const double alpha = node.float_attribute("alpha", 1e-4F) / static_cast<double>(size);
  const ExprId base =
      pool.binary(Op::kAdd, number(node.float_attribute("bias", 1.0F)), pool.binary(Op::kMul, number(alpha), sum));
  return pool.binary(Op::kDiv, region.at(node.inputs[0], index, guard),
                     pool.binary(Op::kPow, base, number(node.float_attribute("beta", 0.75F))));
}

}  // namespace

std::vector<std::size_t> axes_of_row(Region& region, const Node& node) {
  const std::size_t rank = region.shape_of(node.inputs[0]).rank();
  const std::string& type = node.op_type;
  if (type.ends_with("oftmax") || type == "Hardmax") {
    const bool is_flat = region.opset() < 13;
    const std::size_t axis = region.axis(node, node.int_attribute("axis", is_flat ? 1 : -1), rank);
    return is_flat ? axes_from(axis, rank) : std::vector<std::size_t>{axis};
  }
  if (type == "LayerNormalization" || type == "RMSNormalization") {
    return axes_from(region.axis(node, node.int_attribute("axis", -1), rank), rank);
  }
  if (type == "InstanceNormalization") return axes_from(2, rank);
  if (type == "LpNormalization") return {region.axis(node, node.int_attribute("axis", -1), rank)};
  if (type == "MeanVarianceNormalization") {
    std::vector<std::size_t> axes;
    for (const std::int64_t axis : node.ints_attribute("axes", {0, 2, 3})) {
      axes.push_back(region.axis(node, axis, rank));
    }
    return axes;
  }
  Index full;
  return reduced_axes(region, node, Index(rank, region.pool.constant_form(0)), full);
}

void add_row_formulas(OperatorTable& table) {
  const auto add = [&](const char* name, Formula formula) { table[name] = {formula, OperatorClass::kRow, false}; };
  add("Softmax", softmax<Softmax::kPlain>);
  add("LogSoftmax", softmax<Softmax::kLog>);
  add("Hardmax", softmax<Softmax::kHard>);
  add("LayerNormalization", layer_normalization<true>);
  add("RMSNormalization", layer_normalization<false>);
  add("InstanceNormalization", instance_normalization);
  add("MeanVarianceNormalization", mean_variance_normalization);
  add("LpNormalization", lp_normalization);
  add("ReduceSum", reduce<Sum::kSum>);
  add("ReduceMean", reduce<Sum::kMean>);
  add("ReduceMax", reduce<Sum::kMax>);
  add("ReduceMin", reduce<Sum::kMin>);
  add("ReduceProd", reduce<Sum::kProd>);
  add("ReduceL1", reduce<Sum::kL1>);
  add("ReduceL2", reduce<Sum::kL2>);
  add("ReduceLogSum", reduce<Sum::kLogSum>);
  add("ReduceLogSumExp", reduce<Sum::kLogSumExp>);
  add("ReduceSumSquare", reduce<Sum::kSumSquare>);
  add("GlobalAveragePool", reduce<Sum::kMean>);
  add("GlobalMaxPool", reduce<Sum::kMax>);
  add("ArgMax", arg_extreme<true>);
  add("ArgMin", arg_extreme<false>);
}

void add_window_formulas(OperatorTable& table) {
  const auto add = [&](const char* name, Formula formula) { table[name] = {formula, OperatorClass::kWindow, false}; };
  add("MaxPool", pooling<Pool::kMax>);
  add("AveragePool", pooling<Pool::kAverage>);
  add("CumSum", cumulative_sum);
  add("LRN", local_response);
}

}  // namespace pajamas::cuda::loops
