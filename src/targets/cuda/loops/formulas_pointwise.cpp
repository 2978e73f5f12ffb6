// Arithmetic, comparison, logic, activations and casts as formulas. Values of 16-bit floats are float32 in registers
// and are rounded only where they are stored: more exact than ONNX asks, and what the products before and after do too.
#include <cmath>
#include <limits>
#include <numbers>

#include "targets/cuda/loops/region.h"

namespace pajamas::cuda::loops {
namespace {

ExprId zero_of(Region& region, ExprId x) { return region.pool.number(region.pool.expr(x).type, 0); }

ExprId value_of(Region& region, ExprId x, double value) { return region.pool.number(region.pool.expr(x).type, value); }

template <Op op>
ExprId binary(Region& region, const Node& node, std::size_t, const Index& index, ExprId guard) {
  if (region.opset() < 7) region.unsupported(node, "the broadcasting of opset 6");
  return region.pool.binary(op, region.operand(node, 0, index, guard), region.operand(node, 1, index, guard));
}

template <Op op>
ExprId variadic(Region& region, const Node& node, std::size_t, const Index& index, ExprId guard) {
  ExprId sum = region.operand(node, 0, index, guard);
  for (std::size_t i = 1; i < node.inputs.size(); ++i) {
    sum = region.pool.binary(op, sum, region.operand(node, i, index, guard));
  }
  return sum;
}

ExprId mean(Region& region, const Node& node, std::size_t output, const Index& index, ExprId guard) {
  const ExprId sum = variadic<Op::kAdd>(region, node, output, index, guard);
  return region.pool.binary(Op::kDiv, sum, value_of(region, sum, static_cast<double>(node.inputs.size())));
}

template <Op op>
ExprId unary(Region& region, const Node& node, std::size_t, const Index& index, ExprId guard) {
  return region.pool.unary(op, region.operand(node, 0, index, guard));
}

ExprId modulo(Region& region, const Node& node, std::size_t, const Index& index, ExprId guard) {
  const Op op = node.int_attribute("fmod", 0) != 0 ? Op::kFmod : Op::kMod;
  return region.pool.binary(op, region.operand(node, 0, index, guard), region.operand(node, 1, index, guard));
}

ExprId power(Region& region, const Node& node, std::size_t, const Index& index, ExprId guard) {
  ExprPool& pool = region.pool;
  const ExprId x = region.operand(node, 0, index, guard);
  const ExprId y = region.operand(node, 1, index, guard);
  const DType type = pool.expr(x).type;
  if (is_float_type(type) && pool.is_constant(y)) {
    const bool is_float = is_float_type(pool.expr(y).type);
    const double exponent = is_float ? pool.expr(y).number : static_cast<double>(pool.expr(y).integer);
    if (exponent == 2) return pool.binary(Op::kMul, x, x);
    if (exponent == 3) return pool.binary(Op::kMul, pool.binary(Op::kMul, x, x), x);
    if (exponent == 0.5) return pool.unary(Op::kSqrt, x);
    if (exponent == 1) return x;
  }
  if (!is_float_type(type) && !is_float_type(pool.expr(y).type)) {
    return pool.binary(Op::kPow, pool.cast(DType::kInt64, x), pool.cast(DType::kInt64, y));
  }
  if (type == DType::kFloat32) return pool.binary(Op::kPow, x, pool.cast(DType::kFloat32, y));
  return pool.binary(Op::kPow, pool.cast(DType::kFloat64, x), pool.cast(DType::kFloat64, y));
}

template <bool is_equal>
ExprId greater(Region& region, const Node& node, std::size_t, const Index& index, ExprId guard) {
  const Op op = is_equal ? Op::kLessOrEqual : Op::kLess;
  return region.pool.binary(op, region.operand(node, 1, index, guard), region.operand(node, 0, index, guard));
}

ExprId shift(Region& region, const Node& node, std::size_t, const Index& index, ExprId guard) {
  const Op op = node.string_attribute("direction", "") == "LEFT" ? Op::kShiftLeft : Op::kShiftRight;
  return region.pool.binary(op, region.operand(node, 0, index, guard), region.operand(node, 1, index, guard));
}

ExprId where(Region& region, const Node& node, std::size_t, const Index& index, ExprId guard) {
  return region.pool.select(region.operand(node, 0, index, guard), region.operand(node, 1, index, guard),
                            region.operand(node, 2, index, guard));
}

// --- activations ---

ExprId relu_of(Region& region, ExprId x) {
  const ExprId zero = zero_of(region, x);
  return region.pool.select(region.pool.binary(Op::kLess, x, zero), zero, x);
}

ExprId sigmoid_of(Region& region, ExprId x) {
  ExprPool& pool = region.pool;
  const ExprId one = value_of(region, x, 1);
  const ExprId power = pool.unary(Op::kExp, pool.unary(Op::kNegate, x));
  return pool.binary(Op::kDiv, one, pool.binary(Op::kAdd, one, power));
}

ExprId softplus_of(Region& region, ExprId x) {
  // max(x, 0) + log1p(exp(-|x|)): neither term overflows.
  ExprPool& pool = region.pool;
  const ExprId power = pool.unary(Op::kExp, pool.unary(Op::kNegate, pool.unary(Op::kAbs, x)));
  return pool.binary(Op::kAdd, relu_of(region, x), pool.unary(Op::kLog1p, power));
}

ExprId clamp_of(Region& region, ExprId x, double low, double high) {
  ExprPool& pool = region.pool;
  return pool.binary(Op::kMax, value_of(region, x, low), pool.binary(Op::kMin, value_of(region, x, high), x));
}

enum class Kind {
  kRelu,
  kSigmoid,
  kSoftplus,
  kSoftsign,
  kMish,
  kHardSwish,
  kHardSigmoid,
  kElu,
  kCelu,
  kSelu,
  kLeakyRelu,
  kThresholdedRelu,
  kShrink,
  kGelu,
  kSwish,
  kReciprocal,
  kIsInf,
  kPRelu
};

template <Kind kind>
ExprId activation(Region& region, const Node& node, std::size_t, const Index& index, ExprId guard) {
  ExprPool& pool = region.pool;
  const ExprId x = region.operand(node, 0, index, guard);
  const auto number = [&](double value) { return value_of(region, x, value); };
  const auto mul = [&](ExprId a, ExprId b) { return pool.binary(Op::kMul, a, b); };
  const auto add = [&](ExprId a, ExprId b) { return pool.binary(Op::kAdd, a, b); };
  const ExprId is_negative = pool.binary(Op::kLess, x, number(0));
  const auto expm1 = [&](ExprId value) { return add(pool.unary(Op::kExp, value), number(-1)); };
  if constexpr (kind == Kind::kRelu) return relu_of(region, x);
  if constexpr (kind == Kind::kSigmoid) return sigmoid_of(region, x);
  if constexpr (kind == Kind::kSoftplus) return softplus_of(region, x);
  if constexpr (kind == Kind::kReciprocal) return pool.binary(Op::kDiv, number(1), x);
  if constexpr (kind == Kind::kSoftsign) return pool.binary(Op::kDiv, x, add(number(1), pool.unary(Op::kAbs, x)));
  if constexpr (kind == Kind::kMish) return mul(x, pool.unary(Op::kTanh, softplus_of(region, x)));
  if constexpr (kind == Kind::kHardSwish) {
    return mul(x, clamp_of(region, add(mul(x, number(1.0 / 6)), number(0.5)), 0, 1));
  }
  if constexpr (kind == Kind::kHardSigmoid) {
    const double alpha = node.float_attribute("alpha", 0.2F);
    const double beta = node.float_attribute("beta", 0.5F);
    return clamp_of(region, add(mul(x, number(alpha)), number(beta)), 0, 1);
  }
  if constexpr (kind == Kind::kElu) {
    return pool.select(is_negative, mul(number(node.float_attribute("alpha", 1.0F)), expm1(x)), x);
  }
  if constexpr (kind == Kind::kCelu) {
    const ExprId alpha = number(node.float_attribute("alpha", 1.0F));
    return pool.select(is_negative, mul(alpha, expm1(pool.binary(Op::kDiv, x, alpha))), x);
  }
  if constexpr (kind == Kind::kSelu) {
    const ExprId alpha = number(node.float_attribute("alpha", 1.67326319217681884765625F));
    const ExprId gamma = number(node.float_attribute("gamma", 1.05070102214813232421875F));
    return mul(gamma, pool.select(pool.binary(Op::kLess, number(0), x), x, mul(alpha, expm1(x))));
  }
  if constexpr (kind == Kind::kLeakyRelu) {
    return pool.select(is_negative, mul(number(node.float_attribute("alpha", 0.01F)), x), x);
  }
  if constexpr (kind == Kind::kPRelu) return pool.select(is_negative, mul(x, region.operand(node, 1, index, guard)), x);
  if constexpr (kind == Kind::kThresholdedRelu) {
    return pool.select(pool.binary(Op::kLess, number(node.float_attribute("alpha", 1.0F)), x), x, number(0));
  }
  if constexpr (kind == Kind::kShrink) {
    if (!is_float_type(pool.expr(x).type)) region.unsupported(node, "Shrink of integers");
    const double bias = node.float_attribute("bias", 0.0F);
    const double lambda = node.float_attribute("lambd", 0.5F);
    const ExprId above = pool.select(pool.binary(Op::kLess, number(lambda), x), add(x, number(-bias)), number(0));
    return pool.select(pool.binary(Op::kLess, x, number(-lambda)), add(x, number(bias)), above);
  }
  if constexpr (kind == Kind::kGelu) {
    ExprId inner = kNone;
    if (node.string_attribute("approximate", "none") == "tanh") {
      const ExprId cube = mul(mul(mul(number(0.044715), x), x), x);
      inner = pool.unary(Op::kTanh, mul(number(std::sqrt(2 / std::numbers::pi)), add(x, cube)));
    } else {
      inner = pool.unary(Op::kErf, mul(x, number(1 / std::numbers::sqrt2)));
    }
    return mul(mul(number(0.5), x), add(number(1), inner));
  }
  if constexpr (kind == Kind::kSwish) {
    return mul(x, sigmoid_of(region, mul(number(node.float_attribute("alpha", 1.0F)), x)));
  }
  if constexpr (kind == Kind::kIsInf) {
    const ExprId is_positive = pool.binary(Op::kLess, number(0), x);
    const ExprId wanted = pool.select(is_positive, pool.boolean(node.int_attribute("detect_positive", 1) != 0),
                                      pool.boolean(node.int_attribute("detect_negative", 1) != 0));
    return pool.both(pool.unary(Op::kIsInf, x), wanted);
  }
}

ExprId clip(Region& region, const Node& node, std::size_t, const Index& index, ExprId guard) {
  ExprPool& pool = region.pool;
  ExprId x = region.operand(node, 0, index, guard);
  const auto bound = [&](std::size_t input, const char* name, bool is_low) {
    ExprId limit = kNone;
    if (region.opset() < 11) {
      if (node.find_attribute(name) == nullptr) return;
      limit = value_of(region, x, node.float_attribute(name, 0));
    } else if (region.has_input(node, input)) {
      const Shape shape = region.shape_of(node.inputs[input]);
      limit = region.at(node.inputs[input], Index(shape.rank(), pool.constant_form(0)), guard);
    } else {
      return;
    }
    const ExprId is_outside = is_low ? pool.binary(Op::kLess, x, limit) : pool.binary(Op::kLess, limit, x);
    x = pool.select(is_outside, limit, x);
  };
  bound(1, "min", true);
  bound(2, "max", false);
  return x;
}

ExprId cast(Region& region, const Node& node, std::size_t output, const Index& index, ExprId guard) {
  const DType to = region.type_of(node.outputs[output]);
  if (to == DType::kFloat8E5M2) region.unsupported(node, "a cast to float8e5m2");
  if (to == DType::kFloat8E4M3Fn) {
    if (node.int_attribute("saturate", 1) == 0)
      region.unsupported(node, "a cast to float8e4m3fn that does not saturate");
    const ExprId x = region.pool.cast(DType::kFloat32, region.operand(node, 0, index, guard));
    return region.pool.unary(Op::kRoundE4m3, x);
  }
  return region.pool.cast(to, region.operand(node, 0, index, guard));
}

/// Scale or zero point that belongs to an element.
ExprId parameter(Region& region, const Node& node, std::size_t input, const Index& index, ExprId guard) {
  ExprPool& pool = region.pool;
  const Shape shape = region.shape_of(node.inputs[input]);
  if (node.int_attribute("block_size", 0) != 0) {
    const std::size_t axis = region.axis(node, node.int_attribute("axis", 1), index.size());
    Index own = index;
    own[axis] = pool.divide(own[axis], node.int_attribute("block_size", 0));
    return region.at(node.inputs[input], own, guard);
  }
  if (shape.num_elements() == 1)
    return region.at(node.inputs[input], Index(shape.rank(), pool.constant_form(0)), guard);
  const std::size_t axis = region.axis(node, node.int_attribute("axis", 1), index.size());
  return region.at(node.inputs[input], {index[axis]}, guard);
}

ExprId dequantize(Region& region, const Node& node, std::size_t, const Index& index, ExprId guard) {
  ExprPool& pool = region.pool;
  const DType type = DType::kFloat32;
  ExprId x = pool.cast(type, region.operand(node, 0, index, guard));
  if (region.has_input(node, 2)) {
    x = pool.binary(Op::kSub, x, pool.cast(type, parameter(region, node, 2, index, guard)));
  }
  return pool.binary(Op::kMul, x, pool.cast(type, parameter(region, node, 1, index, guard)));
}

ExprId quantize(Region& region, const Node& node, std::size_t output, const Index& index, ExprId guard) {
  ExprPool& pool = region.pool;
  const DType to = region.type_of(node.outputs[output]);
  const DType type = DType::kFloat32;
  const ExprId x = pool.cast(type, region.operand(node, 0, index, guard));
  const ExprId scale = pool.cast(type, parameter(region, node, 1, index, guard));
  // Powers of two divide exactly as they multiply, as long as their reciprocal is a number.
  int exponent = 0;
  const bool is_power =
      pool.is_constant(scale) && std::frexp(pool.expr(scale).number, &exponent) == 0.5 && exponent > -126;
  const ExprId scaled = is_power ? pool.binary(Op::kMul, x, pool.number(type, std::ldexp(1.0, 1 - exponent)))
                                 : pool.binary(Op::kDiv, x, scale);
  if (to == DType::kFloat8E4M3Fn) {
    if (node.int_attribute("saturate", 1) == 0) region.unsupported(node, "a quantisation that does not saturate");
    ExprId moved = scaled;
    if (region.has_input(node, 2)) {
      const ExprId zero = pool.cast(type, parameter(region, node, 2, index, guard));
      if (!pool.is_constant(zero) || pool.expr(zero).number != 0) moved = pool.binary(Op::kAdd, scaled, zero);
    }
    return pool.unary(Op::kRoundE4m3, moved);
  }
  double low = 0;
  double high = 0;
  switch (to) {
    case DType::kInt8: low = -128, high = 127; break;
    case DType::kUint8: high = 255; break;
    case DType::kInt16: low = -32768, high = 32767; break;
    case DType::kUint16: high = 65535; break;
    default: region.unsupported(node, std::string("quantisation to ") + to_string(to));
  }
  ExprId rounded = pool.unary(Op::kRound, scaled);
  if (region.has_input(node, 2)) {
    rounded = pool.binary(Op::kAdd, rounded, pool.cast(type, parameter(region, node, 2, index, guard)));
  }
  return pool.cast(to, clamp_of(region, rounded, low, high));
}

ExprId batch_normalization(Region& region, const Node& node, std::size_t output, const Index& index, ExprId guard) {
  ExprPool& pool = region.pool;
  if (output != 0 || node.int_attribute("training_mode", 0) != 0) region.unsupported(node, "training");
  const ExprId x = region.operand(node, 0, index, guard);
  const DType type = pool.expr(x).type;
  const auto of = [&](std::size_t input) { return pool.cast(type, region.at(node.inputs[input], {index[1]}, guard)); };
  const ExprId spread = pool.binary(Op::kAdd, of(4), pool.number(type, node.float_attribute("epsilon", 1e-5F)));
  const ExprId factor = pool.binary(Op::kMul, of(1), pool.unary(Op::kRsqrt, spread));
  return pool.binary(Op::kAdd, pool.binary(Op::kMul, pool.binary(Op::kSub, x, of(3)), factor), of(2));
}

}  // namespace

void add_pointwise_formulas(OperatorTable& table) {
  const auto add = [&](const char* name, Formula formula, bool is_cheap = true) {
    table[name] = {formula, OperatorClass::kPointwise, is_cheap};
  };
  add("Add", binary<Op::kAdd>);
  add("Sub", binary<Op::kSub>);
  add("Mul", binary<Op::kMul>);
  add("Div", binary<Op::kDiv>, false);
  add("Mod", modulo, false);
  add("Pow", power, false);
  add("Min", variadic<Op::kMin>);
  add("Max", variadic<Op::kMax>);
  add("Sum", variadic<Op::kAdd>);
  add("Mean", mean);
  add("Equal", binary<Op::kEqual>);
  add("Less", binary<Op::kLess>);
  add("LessOrEqual", binary<Op::kLessOrEqual>);
  add("Greater", greater<false>);
  add("GreaterOrEqual", greater<true>);
  add("And", binary<Op::kAnd>);
  add("Or", binary<Op::kOr>);
  add("Xor", binary<Op::kXor>);
  add("BitwiseAnd", binary<Op::kBitAnd>);
  add("BitwiseOr", binary<Op::kBitOr>);
  add("BitwiseXor", binary<Op::kBitXor>);
  add("BitShift", shift);
  add("Where", where);
}

void add_activation_formulas(OperatorTable& table) {
  const auto add = [&](const char* name, Formula formula, bool is_cheap = false) {
    table[name] = {formula, OperatorClass::kPointwise, is_cheap};
  };
  add("Abs", unary<Op::kAbs>, true);
  add("Neg", unary<Op::kNegate>, true);
  add("Sign", unary<Op::kSign>, true);
  add("Exp", unary<Op::kExp>);
  add("Log", unary<Op::kLog>);
  add("Sqrt", unary<Op::kSqrt>);
  add("Sin", unary<Op::kSin>);
  add("Cos", unary<Op::kCos>);
  add("Tan", unary<Op::kTan>);
  add("Asin", unary<Op::kAsin>);
  add("Acos", unary<Op::kAcos>);
  add("Atan", unary<Op::kAtan>);
  add("Sinh", unary<Op::kSinh>);
  add("Cosh", unary<Op::kCosh>);
  add("Tanh", unary<Op::kTanh>);
  add("Asinh", unary<Op::kAsinh>);
  add("Acosh", unary<Op::kAcosh>);
  add("Atanh", unary<Op::kAtanh>);
  add("Erf", unary<Op::kErf>);
  add("Floor", unary<Op::kFloor>, true);
  add("Ceil", unary<Op::kCeil>, true);
  add("Round", unary<Op::kRound>, true);
  add("Not", unary<Op::kNot>, true);
  add("BitwiseNot", unary<Op::kBitNot>, true);
  add("IsNaN", unary<Op::kIsNan>, true);
  add("IsInf", activation<Kind::kIsInf>, true);
  add("Relu", activation<Kind::kRelu>, true);
  add("Sigmoid", activation<Kind::kSigmoid>);
  add("Softplus", activation<Kind::kSoftplus>);
  add("Softsign", activation<Kind::kSoftsign>);
  add("Mish", activation<Kind::kMish>);
  add("HardSwish", activation<Kind::kHardSwish>, true);
  add("HardSigmoid", activation<Kind::kHardSigmoid>, true);
  add("Elu", activation<Kind::kElu>);
  add("Celu", activation<Kind::kCelu>);
  add("Selu", activation<Kind::kSelu>);
  add("LeakyRelu", activation<Kind::kLeakyRelu>, true);
  add("PRelu", activation<Kind::kPRelu>, true);
  add("ThresholdedRelu", activation<Kind::kThresholdedRelu>, true);
  add("Shrink", activation<Kind::kShrink>, true);
  add("Gelu", activation<Kind::kGelu>);
  add("Swish", activation<Kind::kSwish>);
  add("Reciprocal", activation<Kind::kReciprocal>);
  add("Clip", clip, true);
  add("BatchNormalization", batch_normalization, true);
}

void add_cast_formulas(OperatorTable& table) {
  table["Cast"] = {cast, OperatorClass::kPointwise, true};
  table["CastLike"] = {cast, OperatorClass::kPointwise, true};
  table["QuantizeLinear"] = {quantize, OperatorClass::kPointwise, true};
  table["DequantizeLinear"] = {dequantize, OperatorClass::kPointwise, true};
}

}  // namespace pajamas::cuda::loops
