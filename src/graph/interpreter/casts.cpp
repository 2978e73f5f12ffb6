// Changes of element type: Cast, CastLike, QuantizeLinear, DequantizeLinear, DynamicQuantizeLinear.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "graph/interpreter/small_types.h"
#include "graph/interpreter/support.h"
#include "tensor/half.h"

namespace pajamas::interpreter {
namespace {

template <typename From>
void cast_values(const Call& call, std::span<const From> from, Tensor& out, bool saturate) {
  const DType dtype = out.dtype();
  if (dtype == DType::kBool) {
    std::transform(from.begin(), from.end(), out.mutable_as<bool>().begin(), [](From x) { return x != From{0}; });
    return;
  }
  if (dtype == DType::kFloat16 || dtype == DType::kBfloat16) {
    const auto bytes = out.mutable_bytes();
    auto* to = reinterpret_cast<std::uint16_t*>(bytes.data());
    if constexpr (std::is_same_v<From, float>) {
      if (dtype == DType::kFloat16) {
        convert_float_to_float16(from, {to, from.size()});
        return;
      }
    }
    for (std::size_t i = 0; i < from.size(); ++i) {
      const auto value = static_cast<float>(from[i]);
      to[i] = dtype == DType::kFloat16 ? float16_from_float(value) : bfloat16_from_float(value);
    }
    return;
  }
  if (is_small_type(dtype)) {
    const auto bytes = out.mutable_bytes();
    std::fill(bytes.begin(), bytes.end(), std::byte{0});
    const bool is_integer = !is_floating_point(dtype);
    for (std::size_t i = 0; i < from.size(); ++i) {
      auto value = static_cast<double>(from[i]);
      if (is_integer) {
        // Toward zero, then the low bits: the behaviour of ONNX's reference for 4-bit and 2-bit integers.
        const int modulus = 1 << bits_of(dtype);
        const int low = dtype == DType::kInt4 || dtype == DType::kInt2 ? -modulus / 2 : 0;
        const auto whole = to_integer<std::int64_t>(from[i]);
        value = static_cast<double>(((whole % modulus - low) % modulus + modulus) % modulus + low);
      }
      write_small(dtype, bytes, i, value, saturate);
    }
    return;
  }
  const bool is_float = visit_float(dtype, [&](auto tag) {
    using To = decltype(tag);
    std::transform(from.begin(), from.end(), out.mutable_as<To>().begin(), [](From x) { return static_cast<To>(x); });
  });
  if (is_float) return;
  const bool is_integer = visit_integer(dtype, [&](auto tag) {
    using To = decltype(tag);
    std::transform(from.begin(), from.end(), out.mutable_as<To>().begin(), [](From x) { return to_integer<To>(x); });
  });
  if (!is_integer) call.unsupported(std::string("a cast to ") + to_string(dtype));
}

Tensor cast_strings(const Call& call, const Tensor& in, DType to, bool saturate) {
  Tensor wide = call.make(DType::kFloat64, in.shape());
  Tensor exact = call.make(DType::kInt64, in.shape());
  const auto numbers = wide.mutable_as<double>();
  const auto integers = exact.mutable_as<std::int64_t>();
  bool is_exact = true;
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const std::string& text = in.strings()[i];
    char* end = nullptr;
    numbers[i] = std::strtod(text.c_str(), &end);
    if (text.empty() || *end != '\0') call.fail("the text '" + text + "' is not a number");
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), integers[i]);
    is_exact = is_exact && parsed.ec == std::errc{} && parsed.ptr == text.data() + text.size();
  }
  Tensor out = call.make(to, in.shape());
  if (is_exact && !is_floating_point(to)) {
    cast_values<std::int64_t>(call, integers, out, saturate);
  } else {
    cast_values<double>(call, numbers, out, saturate);
  }
  return out;
}

Tensor cast_to(const Call& call, const Tensor& in, DType to) {
  const bool saturate = call.node.int_attribute("saturate", 1) != 0;
  if (in.dtype() == to) return in;
  if (to == DType::kString) call.unsupported("a cast to string");
  if (bits_of(to) == 0) call.fail("attribute 'to' names no element type");
  if (in.dtype() == DType::kString) return cast_strings(call, in, to, saturate);
  if (is_small_type(in.dtype())) {
    Tensor wide = call.make(DType::kFloat64, in.shape());
    const auto values = wide.mutable_as<double>();
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = read_small(in.dtype(), in.bytes(), i);
    Tensor out = call.make(to, in.shape());
    if (is_floating_point(in.dtype())) {
      cast_values<double>(call, values, out, saturate);
    } else {
      Tensor integers = call.make(DType::kInt64, in.shape());
      const auto exact = integers.mutable_as<std::int64_t>();
      std::transform(values.begin(), values.end(), exact.begin(),
                     [](double x) { return static_cast<std::int64_t>(x); });
      cast_values<std::int64_t>(call, exact, out, saturate);
    }
    return out;
  }
  const Tensor wide = widened(in);
  Tensor out = call.make(to, in.shape());
  if (wide.dtype() == DType::kBool) {
    const auto flags = wide.bytes();
    cast_values<std::uint8_t>(call, {reinterpret_cast<const std::uint8_t*>(flags.data()), flags.size()}, out, saturate);
    return out;
  }
  require_numeric(call, wide.dtype(), [&](auto tag) {
    using From = decltype(tag);
    cast_values<From>(call, wide.as<From>(), out, saturate);
  });
  return out;
}

std::vector<Tensor> cast(const Call& call) {
  return {cast_to(call, call.input(0), static_cast<DType>(call.node.int_attribute("to", 0)))};
}

std::vector<Tensor> cast_like(const Call& call) { return {cast_to(call, call.input(0), call.input(1).dtype())}; }

/// Which scale belongs to which element: per tensor, per axis or per block along the axis.
class ScaleIndex {
 public:
  ScaleIndex(const Call& call, const Shape& shape, const Shape& scale) {
    const std::int64_t block = call.node.int_attribute("block_size", 0);
    if (scale.num_elements() == 1 && scale.rank() <= 1 && block == 0) return;
    const std::size_t axis = call.axis(call.node.int_attribute("axis", 1), shape.rank());
    for (std::size_t i = axis + 1; i < shape.rank(); ++i) inner_ *= shape[i];
    extent_ = shape[axis];
    if (block == 0) {
      if (scale.rank() != 1 || scale[0] != shape[axis]) {
        call.fail("scale of shape " + scale.to_string() + " does not fit axis " + std::to_string(axis) + " of " +
                  shape.to_string());
      }
      num_scales_ = extent_;
      return;
    }
    call.require(block > 0 && scale.rank() == shape.rank(), "blocked scales must have the rank of the input");
    for (std::size_t i = 0; i < shape.rank(); ++i) {
      const std::int64_t wanted = i == axis ? (shape[i] + block - 1) / block : shape[i];
      if (scale[i] != wanted) call.fail("scale of shape " + scale.to_string() + " does not fit blocks of the input");
    }
    block_ = block;
    num_scales_ = scale[axis];
  }
  std::size_t operator()(std::size_t flat) const {
    if (num_scales_ == 0) return 0;
    const auto index = static_cast<std::int64_t>(flat);
    const std::int64_t along = index / inner_ % extent_;
    if (block_ == 0) return static_cast<std::size_t>(along);
    const std::int64_t outer = index / (inner_ * extent_);
    return static_cast<std::size_t>((outer * num_scales_ + along / block_) * inner_ + index % inner_);
  }

 private:
  std::int64_t inner_ = 1;
  std::int64_t extent_ = 1;
  std::int64_t block_ = 0;
  std::int64_t num_scales_ = 0;  ///< 0: one for all.
};

/// Reads any numeric tensor as doubles.
std::vector<double> to_doubles(const Call& call, const Tensor& tensor) {
  std::vector<double> values(static_cast<std::size_t>(tensor.num_elements()));
  if (is_small_type(tensor.dtype())) {
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = read_small(tensor.dtype(), tensor.bytes(), i);
    return values;
  }
  const Tensor wide = widened(tensor);
  require_numeric(call, wide.dtype(), [&](auto tag) {
    const auto from = wide.as<decltype(tag)>();
    std::transform(from.begin(), from.end(), values.begin(), [](auto x) { return static_cast<double>(x); });
  });
  return values;
}

std::vector<Tensor> dequantize_linear(const Call& call) {
  const Tensor& in = call.input(0);
  const Tensor& scale = call.input(1);
  const ScaleIndex index(call, in.shape(), scale.shape());
  const auto scales = to_doubles(call, scale);
  std::vector<double> zero_points;
  if (const Tensor* zero_point = call.optional_input(2)) {
    call.require(zero_point->shape() == scale.shape() || zero_point->num_elements() == scale.num_elements(),
                 "the zero point must have the shape of the scale");
    zero_points = to_doubles(call, *zero_point);
  }
  auto dtype = static_cast<DType>(call.node.int_attribute("output_dtype", 0));
  if (dtype == DType::kUndefined) dtype = scale.dtype();
  if (dtype != DType::kFloat32 && dtype != DType::kFloat16 && dtype != DType::kBfloat16) {
    call.unsupported(std::string("dequantisation to ") + to_string(dtype));
  }
  Tensor wide = call.make(DType::kFloat32, in.shape());
  const auto to = wide.mutable_as<float>();
  const auto values = to_doubles(call, in);
  for (std::size_t i = 0; i < to.size(); ++i) {
    const std::size_t at = index(i);
    // The difference is exact in float32 for every quantised type but int32, which has no zero point.
    to[i] =
        static_cast<float>(values[i] - (zero_points.empty() ? 0 : zero_points[at])) * static_cast<float>(scales[at]);
  }
  return {dtype == DType::kFloat32 ? wide : narrowed(wide, dtype)};
}

std::vector<Tensor> quantize_linear(const Call& call) {
  const Tensor& in = call.input(0);
  const Tensor& scale = call.input(1);
  const ScaleIndex index(call, in.shape(), scale.shape());
  const auto scales = to_doubles(call, scale);
  std::vector<double> zero_points;
  auto dtype = static_cast<DType>(call.node.int_attribute("output_dtype", 0));
  if (const Tensor* zero_point = call.optional_input(2)) {
    zero_points = to_doubles(call, *zero_point);
    call.require(zero_points.size() == scales.size(), "the zero point must have the shape of the scale");
    call.require(dtype == DType::kUndefined || dtype == zero_point->dtype(), "output_dtype contradicts the zero point");
    dtype = zero_point->dtype();
  }
  if (dtype == DType::kUndefined) dtype = DType::kUint8;
  const bool saturate = call.node.int_attribute("saturate", 1) != 0;
  const auto values = to_doubles(call, in);
  Tensor out = call.make(dtype, in.shape());
  const auto scaled = [&](std::size_t i) {
    const std::size_t at = index(i);
    const auto quotient = static_cast<double>(static_cast<float>(values[i]) / static_cast<float>(scales[at]));
    const double zero = zero_points.empty() ? 0 : zero_points[at];
    return is_floating_point(dtype) ? quotient + zero : std::nearbyint(quotient) + zero;
  };
  if (is_small_type(dtype)) {
    const auto bytes = out.mutable_bytes();
    std::fill(bytes.begin(), bytes.end(), std::byte{0});
    for (std::size_t i = 0; i < values.size(); ++i) write_small(dtype, bytes, i, scaled(i), saturate);
    return {out};
  }
  const bool is_done = visit_integer(dtype, [&](auto tag) {
    using T = decltype(tag);
    const auto to = out.mutable_as<T>();
    for (std::size_t i = 0; i < to.size(); ++i) to[i] = to_integer<T>(scaled(i));
  });
  if (!is_done) call.unsupported(std::string("quantisation to ") + to_string(dtype));
  return {out};
}

std::vector<Tensor> dynamic_quantize_linear(const Call& call) {
  const auto in = call.input(0).as<float>();
  float low = 0;
  float high = 0;
  for (const float value : in) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  const float scale = high == low ? 1.0F : (high - low) / 255.0F;
  const float zero = std::clamp(std::nearbyint(0.0F - low / scale), 0.0F, 255.0F);
  Tensor out = call.make(DType::kUint8, call.input(0).shape());
  std::transform(in.begin(), in.end(), out.mutable_as<std::uint8_t>().begin(), [&](float value) {
    return static_cast<std::uint8_t>(std::clamp(std::nearbyint(value / scale) + zero, 0.0F, 255.0F));
  });
  return {out, Tensor::scalar(scale), Tensor::scalar(static_cast<std::uint8_t>(zero))};
}

}  // namespace

void add_casts(KernelTable& table) {
  table["Cast"] = {cast, false};
  table["CastLike"] = {cast_like, false};
  table["QuantizeLinear"] = {quantize_linear, false};
  table["DequantizeLinear"] = {dequantize_linear, false};
  table["DynamicQuantizeLinear"] = {dynamic_quantize_linear, false};
}

}  // namespace pajamas::interpreter
