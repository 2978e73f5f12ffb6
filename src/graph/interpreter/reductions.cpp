// Reductions over axes. Floats are summed in double and rounded once, so the order of the sum does not show.
#include <algorithm>
#include <cmath>
#include <limits>

#include "graph/interpreter/support.h"

namespace pajamas::interpreter {
namespace {

enum class Reduction { kSum, kMean, kMax, kMin, kProd, kL1, kL2, kLogSum, kLogSumExp, kSumSquare };

template <typename T, Reduction reduction>
struct Accumulator {
  using Value = std::conditional_t<std::is_floating_point_v<T>, double,
                                   std::conditional_t<std::is_signed_v<T>, std::int64_t, std::uint64_t>>;
  Value sum{};
  double peak = -std::numeric_limits<double>::infinity();  ///< kLogSumExp: largest value so far.
  std::int64_t count = 0;

  void add(T x) {
    const auto value = static_cast<Value>(+x);  // +: an int8 is a number here, not a character
    if constexpr (reduction == Reduction::kSum || reduction == Reduction::kMean || reduction == Reduction::kLogSum) {
      sum = wrap(sum, value, [](auto a, auto b) { return a + b; });
    } else if constexpr (reduction == Reduction::kMax) {
      sum = count == 0 || value > sum || value != value ? value : sum;
    } else if constexpr (reduction == Reduction::kMin) {
      sum = count == 0 || value < sum || value != value ? value : sum;
    } else if constexpr (reduction == Reduction::kProd) {
      sum = count == 0 ? value : wrap(sum, value, [](auto a, auto b) { return a * b; });
    } else if constexpr (reduction == Reduction::kL1) {
      sum += value < Value{0} ? Value{0} - value : value;
    } else if constexpr (reduction == Reduction::kLogSumExp) {
      const auto wide = static_cast<double>(x);
      if (wide > peak) {
        sum = static_cast<Value>(static_cast<double>(sum) * std::exp(peak - wide));
        peak = wide;
      }
      sum = static_cast<Value>(static_cast<double>(sum) +
                               (std::isinf(wide) && wide == peak ? 1.0 : std::exp(wide - peak)));
    } else {
      sum = wrap(sum, wrap(value, value, [](auto a, auto b) { return a * b; }), [](auto a, auto b) { return a + b; });
    }
    ++count;
  }

  T result() const {
    if constexpr (reduction == Reduction::kMean) {
      if constexpr (std::is_floating_point_v<T>) return static_cast<T>(sum / static_cast<double>(count));
      return count == 0 ? T{0} : static_cast<T>(sum / static_cast<Value>(count));
    } else if constexpr (reduction == Reduction::kProd) {
      return count == 0 ? T{1} : static_cast<T>(sum);
    } else if constexpr (reduction == Reduction::kMax || reduction == Reduction::kMin) {
      if (count > 0) return static_cast<T>(sum);
      constexpr bool is_max = reduction == Reduction::kMax;
      if constexpr (std::is_floating_point_v<T>) {
        return is_max ? -std::numeric_limits<T>::infinity() : std::numeric_limits<T>::infinity();
      }
      return is_max ? std::numeric_limits<T>::lowest() : std::numeric_limits<T>::max();
    } else if constexpr (reduction == Reduction::kL2) {
      return static_cast<T>(std::sqrt(static_cast<double>(sum)));
    } else if constexpr (reduction == Reduction::kLogSum) {
      return static_cast<T>(std::log(static_cast<double>(sum)));
    } else if constexpr (reduction == Reduction::kLogSumExp) {
      return static_cast<T>(count == 0 ? -std::numeric_limits<double>::infinity()
                                       : peak + std::log(static_cast<double>(sum)));
    } else {
      return static_cast<T>(sum);
    }
  }

 private:
  template <typename Op>
  static Value wrap(Value a, Value b, const Op& op) {
    if constexpr (std::is_floating_point_v<Value>) return op(a, b);
    return static_cast<Value>(op(static_cast<std::uint64_t>(a), static_cast<std::uint64_t>(b)));
  }
};

/// One result: all elements of shape `inner` from `start`. Not inlined, because g++ 12 then reports a false positive on
/// the vectors of the two nested walks.
template <typename T, Reduction reduction>
[[gnu::noinline]] T reduce_one(const T* start, const Shape& inner, const RowStrides<1>& strides) {
  Accumulator<T, reduction> total;
  for_each_row<1>(inner, strides,
                  [&](const std::int64_t(&row)[1], std::int64_t, std::int64_t count, const std::int64_t(&stride)[1]) {
                    for (std::int64_t k = 0; k < count; ++k) total.add(start[row[0] + k * stride[0]]);
                  });
  return total.result();
}

template <Reduction reduction>
std::vector<Tensor> reduce(const Call& call) {
  const Tensor& in = call.input(0);
  const std::size_t rank = in.shape().rank();
  // ReduceSum takes its axes as an input since opset 13, the others since 18.
  const std::int64_t input_since = reduction == Reduction::kSum ? 13 : 18;
  std::vector<std::int64_t> axes;
  if (call.opset >= input_since) {
    if (const Tensor* tensor = call.optional_input(1)) axes = read_integers(call, *tensor);
  } else {
    axes = call.node.ints_attribute("axes");
  }
  if (axes.empty() && call.node.int_attribute("noop_with_empty_axes", 0) != 0) return {in};
  std::vector<bool> is_reduced(rank, axes.empty());
  for (const std::int64_t value : axes) is_reduced[call.axis(value, rank)] = true;
  const bool keeps = call.node.int_attribute("keepdims", 1) != 0;
  Shape shape;
  Shape outer;  // The axes that stay, then the reduced ones: the order of the walk.
  Shape inner;
  std::vector<std::int64_t> outer_strides;
  std::vector<std::int64_t> inner_strides;
  const auto strides = strides_of(in.shape());
  for (std::size_t i = 0; i < rank; ++i) {
    if (is_reduced[i]) {
      if (keeps) shape.push_back(1);
      inner.push_back(in.shape()[i]);
      inner_strides.push_back(strides[i]);
    } else {
      shape.push_back(in.shape()[i]);
      outer.push_back(in.shape()[i]);
      outer_strides.push_back(strides[i]);
    }
  }
  const auto apply = [&](auto tag, auto& out) {
    using T = decltype(tag);
    const auto* from = reinterpret_cast<const T*>(in.bytes().data());
    const RowStrides<1> outer_walk{outer_strides};
    const RowStrides<1> inner_walk{inner_strides};
    for_each_row<1>(
        outer, outer_walk,
        [&](const std::int64_t(&base)[1], std::int64_t to, std::int64_t length, const std::int64_t(&step)[1]) {
          for (std::int64_t i = 0; i < length; ++i) {
            out[to + i] = reduce_one<T, reduction>(from + base[0] + i * step[0], inner, inner_walk);
          }
        });
  };
  Tensor out = call.make(in.dtype(), shape);
  if (in.dtype() == DType::kBool && (reduction == Reduction::kMax || reduction == Reduction::kMin)) {
    auto* to = reinterpret_cast<std::uint8_t*>(out.mutable_bytes().data());
    apply(std::uint8_t{}, to);
    return {out};
  }
  require_numeric(call, in.dtype(), [&](auto tag) {
    const auto to = out.mutable_as<decltype(tag)>();
    apply(tag, to);
  });
  return {out};
}

}  // namespace

void add_reductions(KernelTable& table) {
  table["ReduceSum"] = {reduce<Reduction::kSum>, true};
  table["ReduceMean"] = {reduce<Reduction::kMean>, true};
  table["ReduceMax"] = {reduce<Reduction::kMax>, true};
  table["ReduceMin"] = {reduce<Reduction::kMin>, true};
  table["ReduceProd"] = {reduce<Reduction::kProd>, true};
  table["ReduceL1"] = {reduce<Reduction::kL1>, true};
  table["ReduceL2"] = {reduce<Reduction::kL2>, true};
  table["ReduceLogSum"] = {reduce<Reduction::kLogSum>, true};
  table["ReduceLogSumExp"] = {reduce<Reduction::kLogSumExp>, true};
  table["ReduceSumSquare"] = {reduce<Reduction::kSumSquare>, true};
}

}  // namespace pajamas::interpreter
