// Shape rules of operators that work element by element, and of type changes.
#include <algorithm>

#include "graph/shape_inference/rules.h"

namespace pajamas::shape_rules {
namespace {

void same_shape(Site& site) {
  if (const Extents* shape = site.shape(0)) site.set_shape(0, *shape);
}

void broadcast_all(Site& site) {
  Extents result;
  for (std::size_t i = 0; i < site.node.inputs.size(); ++i) {
    const Extents* shape = site.shape(i);
    if (shape == nullptr) return;
    result = i == 0 ? *shape : broadcast(site, result, *shape);
  }
  site.set_shape(0, std::move(result));
}

/// Arithmetic on tracked integers, elementwise with a scalar broadcast.
template <typename Op>
void arithmetic(Site& site, const Op& op) {
  broadcast_all(site);
  const Extents* a = site.elements(0);
  const Extents* b = site.elements(1);
  if (a == nullptr || b == nullptr || !site.outputs[0].shape) return;
  if (a->size() != b->size() && a->size() != 1 && b->size() != 1) return;
  Extents result;
  const std::size_t count = a->empty() || b->empty() ? 0 : std::max(a->size(), b->size());
  for (std::size_t i = 0; i < count; ++i) {
    const auto value = op((*a)[a->size() == 1 ? 0 : i], (*b)[b->size() == 1 ? 0 : i]);
    if (!value) return;
    result.push_back(*value);
  }
  site.outputs[0].elements = std::move(result);
}

using Result = std::optional<Extent>;

void add(Site& site) {
  arithmetic(site, [](const Extent& a, const Extent& b) { return Result(a + b); });
}
void subtract(Site& site) {
  arithmetic(site, [](const Extent& a, const Extent& b) { return Result(a - b); });
}
void multiply(Site& site) {
  arithmetic(site, [](const Extent& a, const Extent& b) { return Result(a * b); });
}
void divide(Site& site) {
  // ONNX truncates where floor_divide rounds down: the same for values that are not negative.
  arithmetic(site, [](const Extent& a, const Extent& b) -> Result {
    if (!a.is_surely_non_negative() || !b.is_known() || b.value() <= 0) return std::nullopt;
    return floor_divide(a, b);
  });
}
template <bool is_max>
void extreme(Site& site) {
  if (site.node.inputs.size() != 2) return broadcast_all(site);
  arithmetic(site, [](const Extent& a, const Extent& b) -> Result {
    if (a == b) return a;
    if (!a.is_known() || !b.is_known()) return std::nullopt;
    return Extent(is_max ? std::max(a.value(), b.value()) : std::min(a.value(), b.value()));
  });
}

/// Of a boolean only what later picks between extents needs it (Where): 0 or 1 where that follows from the extents.
void equal(Site& site) {
  arithmetic(site, [](const Extent& a, const Extent& b) -> Result {
    const Extent difference = a - b;
    if (difference.is_known()) return Extent(difference.value() == 0 ? 1 : 0);
    const auto is_negative = [](const Extent& extent) { return extent.is_known() && extent.value() < 0; };
    const bool is_apart =
        (a.is_surely_non_negative() && is_negative(b)) || (b.is_surely_non_negative() && is_negative(a));
    return is_apart ? Result(Extent(0)) : std::nullopt;
  });
}

void where(Site& site) {
  broadcast_all(site);
  const auto conditions = site.constants(0);
  const Extents* a = site.elements(1);
  const Extents* b = site.elements(2);
  if (!conditions || a == nullptr || b == nullptr || conditions->empty() || a->empty() || b->empty()) return;
  const std::size_t count = std::max({conditions->size(), a->size(), b->size()});
  Extents result;
  for (std::size_t i = 0; i < count; ++i) {
    const auto at = [&](const auto& list) { return list.size() == 1 ? 0 : i; };
    if (at(*conditions) >= conditions->size() || at(*a) >= a->size() || at(*b) >= b->size()) return;
    result.push_back((*conditions)[at(*conditions)] != 0 ? (*a)[at(*a)] : (*b)[at(*b)]);
  }
  site.outputs[0].elements = std::move(result);
}

void identity(Site& site) {
  if (site.input(0) == nullptr || site.outputs.empty()) return;
  site.outputs[0] = *site.input(0);
}

void dropout(Site& site) {
  same_shape(site);
  if (site.outputs.size() > 1) {
    if (const Extents* shape = site.shape(0)) site.set_shape(1, *shape);
    site.set_dtype(1, site.opset >= 10 ? DType::kBool : site.outputs[0].dtype);
  }
}

void set_cast(Site& site, DType dtype) {
  same_shape(site);
  site.set_dtype(0, dtype);
  const bool is_integer = dtype == DType::kInt64 || dtype == DType::kInt32;
  const ValueFact* in = site.input(0);
  const bool from_integer = in != nullptr && (in->dtype == DType::kInt64 || in->dtype == DType::kInt32);
  if (is_integer && from_integer && in->elements) site.outputs[0].elements = in->elements;
}

void cast(Site& site) { set_cast(site, static_cast<DType>(site.node.int_attribute("to", 0))); }
void cast_like(Site& site) { set_cast(site, site.input(1) != nullptr ? site.input(1)->dtype : DType::kUndefined); }

void quantize(Site& site) {
  same_shape(site);
  const auto wanted = static_cast<DType>(site.node.int_attribute("output_dtype", 0));
  if (wanted != DType::kUndefined) {
    site.set_dtype(0, wanted);
  } else {
    const ValueFact* zero_point = site.input(2);
    site.set_dtype(0, zero_point != nullptr ? zero_point->dtype : site.is_given(2) ? DType::kUndefined : DType::kUint8);
  }
}

void dequantize(Site& site) {
  same_shape(site);
  const auto wanted = static_cast<DType>(site.node.int_attribute("output_dtype", 0));
  if (wanted != DType::kUndefined) {
    site.set_dtype(0, wanted);
  } else if (site.input(1) != nullptr) {
    site.set_dtype(0, site.input(1)->dtype);
  }
}

void dynamic_quantize(Site& site) {
  same_shape(site);
  site.set_shape(1, {});
  site.set_shape(2, {});
}

void random_like(Site& site) {
  same_shape(site);
  const auto dtype = static_cast<DType>(site.node.int_attribute("dtype", 0));
  site.set_dtype(0, dtype != DType::kUndefined ? dtype
                    : site.input(0) != nullptr ? site.input(0)->dtype
                                               : DType::kUndefined);
}

}  // namespace

void add_elementwise_rules(RuleTable& table) {
  for (const char* name : {"Abs",
                           "Acos",
                           "Acosh",
                           "Asin",
                           "Asinh",
                           "Atan",
                           "Atanh",
                           "Ceil",
                           "Celu",
                           "Clip",
                           "Cos",
                           "Cosh",
                           "CumSum",
                           "Elu",
                           "Erf",
                           "Exp",
                           "Floor",
                           "Gelu",
                           "HardSwish",
                           "Hardmax",
                           "IsInf",
                           "IsNaN",
                           "LRN",
                           "HardSigmoid",
                           "LeakyRelu",
                           "Log",
                           "LogSoftmax",
                           "LpNormalization",
                           "MeanVarianceNormalization",
                           "Mish",
                           "Neg",
                           "Not",
                           "PRelu",
                           "BitwiseNot",
                           "Reciprocal",
                           "Relu",
                           "Round",
                           "Selu",
                           "Shrink",
                           "Sigmoid",
                           "Sign",
                           "Sin",
                           "Sinh",
                           "Softmax",
                           "Softplus",
                           "Softsign",
                           "Sqrt",
                           "Swish",
                           "Tan",
                           "Tanh",
                           "ThresholdedRelu",
                           "Trilu",
                           "InstanceNormalization",
                           "GroupNormalization",
                           "RMSNormalization",
                           "RotaryEmbedding",
                           "Scatter",
                           "ScatterElements",
                           "ScatterND",
                           "ReverseSequence"}) {
    table[name] = same_shape;
  }
  for (const char* name : {"And", "Or", "Xor", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Pow", "Mod", "Sum",
                           "Mean", "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor"}) {
    table[name] = broadcast_all;
  }
  table["Add"] = add;
  table["Sub"] = subtract;
  table["Mul"] = multiply;
  table["Div"] = divide;
  table["Max"] = extreme<true>;
  table["Min"] = extreme<false>;
  table["Identity"] = identity;
  table["Dropout"] = dropout;
  table["Cast"] = cast;
  table["CastLike"] = cast_like;
  table["Equal"] = equal;
  table["Where"] = where;
  table["QuantizeLinear"] = quantize;
  table["DequantizeLinear"] = dequantize;
  table["DynamicQuantizeLinear"] = dynamic_quantize;
  table["EyeLike"] = random_like;
  table["Bernoulli"] = random_like;
  table["RandomNormalLike"] = random_like;
  table["RandomUniformLike"] = random_like;
}

}  // namespace pajamas::shape_rules
