// Functions of one tensor, element by element: roots, exponentials, trigonometry, activations, Clip.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "graph/interpreter/support.h"

namespace pajamas::interpreter {
namespace {

/// float32 and float64 by `function(double)`: each value is computed in double and rounded once.
template <typename Function>
std::vector<Tensor> map_float(const Call& call, const Function& function) {
  const Tensor& in = call.input(0);
  Tensor out = call.make(in.dtype(), in.shape());
  require_float(call, in.dtype(), [&](auto tag) {
    using T = decltype(tag);
    const auto from = in.as<T>();
    const auto to = out.mutable_as<T>();
    for (std::size_t i = 0; i < to.size(); ++i) to[i] = static_cast<T>(function(static_cast<double>(from[i])));
  });
  return {out};
}

template <double (*Function)(double)>
std::vector<Tensor> simple(const Call& call) {
  return map_float(call, Function);
}

template <typename Function>
std::vector<Tensor> map_numeric(const Call& call, const Function& function) {
  const Tensor& in = call.input(0);
  Tensor out = call.make(in.dtype(), in.shape());
  require_numeric(call, in.dtype(), [&](auto tag) {
    using T = decltype(tag);
    const auto from = in.as<T>();
    const auto to = out.mutable_as<T>();
    for (std::size_t i = 0; i < to.size(); ++i) to[i] = function(from[i]);
  });
  return {out};
}

std::vector<Tensor> absolute(const Call& call) {
  return map_numeric(call, [](auto x) {
    using T = decltype(x);
    if constexpr (std::is_floating_point_v<T>) return std::fabs(x);
    if constexpr (std::is_signed_v<T>) return x < 0 ? static_cast<T>(0 - static_cast<std::uint64_t>(x)) : x;
    return x;
  });
}

std::vector<Tensor> negate(const Call& call) {
  return map_numeric(call, [](auto x) {
    using T = decltype(x);
    if constexpr (std::is_floating_point_v<T>) return -x;
    return static_cast<T>(0 - static_cast<std::uint64_t>(x));
  });
}

std::vector<Tensor> sign(const Call& call) {
  return map_numeric(call, [](auto x) {
    using T = decltype(x);
    if (x > T{0}) return T{1};
    if constexpr (std::is_signed_v<T> || std::is_floating_point_v<T>) {
      if (x < T{0}) return static_cast<T>(-1);
    }
    return x == T{0} ? T{0} : x;  // NaN stays NaN
  });
}

std::vector<Tensor> relu(const Call& call) {
  return map_numeric(call, [](auto x) { return x < decltype(x){0} ? decltype(x){0} : x; });
}

double sigmoid_of(double x) { return x >= 0 ? 1 / (1 + std::exp(-x)) : std::exp(x) / (1 + std::exp(x)); }
double softplus_of(double x) { return x > 30 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x)); }
double reciprocal_of(double x) { return 1 / x; }
double softsign_of(double x) { return x / (1 + std::fabs(x)); }
double mish_of(double x) { return x * std::tanh(softplus_of(x)); }
double hard_swish_of(double x) { return x * std::max(0.0, std::min(1.0, x / 6 + 0.5)); }
double round_half_even(double x) { return std::nearbyint(x); }

double sqrt_of(double x) { return std::sqrt(x); }
double exp_of(double x) { return std::exp(x); }
double log_of(double x) { return std::log(x); }
double sin_of(double x) { return std::sin(x); }
double cos_of(double x) { return std::cos(x); }
double tan_of(double x) { return std::tan(x); }
double asin_of(double x) { return std::asin(x); }
double acos_of(double x) { return std::acos(x); }
double atan_of(double x) { return std::atan(x); }
double sinh_of(double x) { return std::sinh(x); }
double cosh_of(double x) { return std::cosh(x); }
double tanh_of(double x) { return std::tanh(x); }
double asinh_of(double x) { return std::asinh(x); }
double acosh_of(double x) { return std::acosh(x); }
double atanh_of(double x) { return std::atanh(x); }
double erf_of(double x) { return std::erf(x); }
double ceil_of(double x) { return std::ceil(x); }
double floor_of(double x) { return std::floor(x); }

std::vector<Tensor> elu(const Call& call) {
  const double alpha = call.node.float_attribute("alpha", 1.0F);
  return map_float(call, [=](double x) { return x < 0 ? alpha * std::expm1(x) : x; });
}

std::vector<Tensor> celu(const Call& call) {
  const double alpha = call.node.float_attribute("alpha", 1.0F);
  return map_float(call, [=](double x) { return x < 0 ? alpha * std::expm1(x / alpha) : x; });
}

std::vector<Tensor> selu(const Call& call) {
  const double alpha = call.node.float_attribute("alpha", 1.67326319217681884765625F);
  const double gamma = call.node.float_attribute("gamma", 1.05070102214813232421875F);
  return map_float(call, [=](double x) { return gamma * (x > 0 ? x : alpha * std::expm1(x)); });
}

std::vector<Tensor> leaky_relu(const Call& call) {
  const double alpha = call.node.float_attribute("alpha", 0.01F);
  return map_float(call, [=](double x) { return x < 0 ? alpha * x : x; });
}

std::vector<Tensor> thresholded_relu(const Call& call) {
  const double alpha = call.node.float_attribute("alpha", 1.0F);
  return map_float(call, [=](double x) { return x > alpha ? x : 0; });
}

std::vector<Tensor> hard_sigmoid(const Call& call) {
  const double alpha = call.node.float_attribute("alpha", 0.2F);
  const double beta = call.node.float_attribute("beta", 0.5F);
  return map_float(call, [=](double x) { return std::max(0.0, std::min(1.0, alpha * x + beta)); });
}

std::vector<Tensor> shrink(const Call& call) {
  const double bias = call.node.float_attribute("bias", 0.0F);
  const double lambda = call.node.float_attribute("lambd", 0.5F);
  return map_numeric(call, [=](auto value) {
    const auto x = static_cast<double>(value);
    return static_cast<decltype(value)>(x < -lambda ? x + bias : x > lambda ? x - bias : 0);
  });
}

std::vector<Tensor> gelu(const Call& call) {
  const std::string form = call.node.string_attribute("approximate", "none");
  if (form == "tanh") {
    return map_float(call, [](double x) {
      const double inner = std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x);
      return 0.5 * x * (1 + std::tanh(inner));
    });
  }
  call.require(form == "none", "attribute 'approximate' must be none or tanh");
  return map_float(call, [](double x) { return 0.5 * x * (1 + std::erf(x / std::numbers::sqrt2)); });
}

std::vector<Tensor> swish(const Call& call) {
  const double alpha = call.node.float_attribute("alpha", 1.0F);
  return map_float(call, [=](double x) { return x * sigmoid_of(alpha * x); });
}

std::vector<Tensor> parametric_relu(const Call& call) {
  const Tensor& in = call.input(0);
  const Tensor& slope = call.input(1);
  call.require(in.dtype() == slope.dtype(), "the slope must have the type of the input");
  call.require(broadcast(call, in.shape(), slope.shape()) == in.shape(), "the slope does not broadcast to the input");
  Tensor out = call.make(in.dtype(), in.shape());
  const RowStrides<2> strides{strides_of(in.shape()), broadcast_strides(slope.shape(), in.shape())};
  require_numeric(call, in.dtype(), [&](auto tag) {
    using T = decltype(tag);
    const auto from = in.as<T>();
    const auto factors = slope.as<T>();
    const auto to = out.mutable_as<T>();
    for_each_row<2>(
        in.shape(), strides,
        [&](const std::int64_t(&row)[2], std::int64_t at, std::int64_t length, const std::int64_t(&inner)[2]) {
          for (std::int64_t i = 0; i < length; ++i) {
            const T x = from[at + i];
            to[at + i] = x < T{0} ? static_cast<T>(x * factors[row[1] + i * inner[1]]) : x;
          }
        });
  });
  return {out};
}

std::vector<Tensor> clip(const Call& call) {
  const Tensor& in = call.input(0);
  Tensor out = call.make(in.dtype(), in.shape());
  require_numeric(call, in.dtype(), [&](auto tag) {
    using T = decltype(tag);
    T low = std::numeric_limits<T>::lowest();
    T high = std::numeric_limits<T>::max();
    if constexpr (std::is_floating_point_v<T>) {
      low = -std::numeric_limits<T>::infinity();
      high = std::numeric_limits<T>::infinity();
    }
    if (call.opset < 11) {
      low = static_cast<T>(call.node.float_attribute("min", std::numeric_limits<float>::lowest()));
      high = static_cast<T>(call.node.float_attribute("max", std::numeric_limits<float>::max()));
    } else {
      const auto bound = [&](std::size_t index, T& value) {
        const Tensor* tensor = call.optional_input(index);
        if (tensor == nullptr) return;
        call.require(tensor->num_elements() == 1, "a bound must be one value");
        value = tensor->as<T>()[0];
      };
      bound(1, low);
      bound(2, high);
    }
    const auto from = in.as<T>();
    const auto to = out.mutable_as<T>();
    // The upper bound wins where the bounds cross, as ONNX says since opset 13.
    for (std::size_t i = 0; i < to.size(); ++i) {
      const T x = from[i] < low ? low : from[i];
      to[i] = x > high ? high : x;
    }
  });
  return {out};
}

std::vector<Tensor> is_nan(const Call& call) {
  Tensor out = call.make(DType::kBool, call.input(0).shape());
  require_float(call, call.input(0).dtype(), [&](auto tag) {
    using T = decltype(tag);
    const auto from = call.input(0).as<T>();
    std::transform(from.begin(), from.end(), out.mutable_as<bool>().begin(), [](T x) { return std::isnan(x); });
  });
  return {out};
}

std::vector<Tensor> is_inf(const Call& call) {
  const bool is_positive = call.node.int_attribute("detect_positive", 1) != 0;
  const bool is_negative = call.node.int_attribute("detect_negative", 1) != 0;
  Tensor out = call.make(DType::kBool, call.input(0).shape());
  require_float(call, call.input(0).dtype(), [&](auto tag) {
    using T = decltype(tag);
    const auto from = call.input(0).as<T>();
    std::transform(from.begin(), from.end(), out.mutable_as<bool>().begin(),
                   [&](T x) { return std::isinf(x) && (x > 0 ? is_positive : is_negative); });
  });
  return {out};
}

}  // namespace

void add_activations(KernelTable& table) {
  table["Abs"] = {absolute, true};
  table["Neg"] = {negate, true};
  table["Sign"] = {sign, true};
  table["Relu"] = {relu, true};
  table["Ceil"] = {simple<ceil_of>, true};
  table["Floor"] = {simple<floor_of>, true};
  table["Round"] = {simple<round_half_even>, true};
  table["Sqrt"] = {simple<sqrt_of>, true};
  table["Exp"] = {simple<exp_of>, true};
  table["Log"] = {simple<log_of>, true};
  table["Reciprocal"] = {simple<reciprocal_of>, true};
  table["Sin"] = {simple<sin_of>, true};
  table["Cos"] = {simple<cos_of>, true};
  table["Tan"] = {simple<tan_of>, true};
  table["Asin"] = {simple<asin_of>, true};
  table["Acos"] = {simple<acos_of>, true};
  table["Atan"] = {simple<atan_of>, true};
  table["Sinh"] = {simple<sinh_of>, true};
  table["Cosh"] = {simple<cosh_of>, true};
  table["Tanh"] = {simple<tanh_of>, true};
  table["Asinh"] = {simple<asinh_of>, true};
  table["Acosh"] = {simple<acosh_of>, true};
  table["Atanh"] = {simple<atanh_of>, true};
  table["Erf"] = {simple<erf_of>, true};
  table["Sigmoid"] = {simple<sigmoid_of>, true};
  table["Softplus"] = {simple<softplus_of>, true};
  table["Softsign"] = {simple<softsign_of>, true};
  table["Mish"] = {simple<mish_of>, true};
  table["HardSwish"] = {simple<hard_swish_of>, true};
  table["HardSigmoid"] = {hard_sigmoid, true};
  table["Elu"] = {elu, true};
  table["Celu"] = {celu, true};
  table["Selu"] = {selu, true};
  table["LeakyRelu"] = {leaky_relu, true};
  table["ThresholdedRelu"] = {thresholded_relu, true};
  table["Shrink"] = {shrink, true};
  table["Gelu"] = {gelu, true};
  table["Swish"] = {swish, true};
  table["PRelu"] = {parametric_relu, true};
  table["Clip"] = {clip, true};
  table["IsNaN"] = {is_nan, true};
  table["IsInf"] = {is_inf, true};
}

}  // namespace pajamas::interpreter
