// The rules of support.h.
#include "targets/tensorrt/support.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <set>
#include <vector>

#include "pajamas/error.h"
#include "targets/tensorrt/sm.h"

namespace pajamas::tensorrt {
namespace {

struct OperatorRule {
  std::string_view name;  ///< A trailing '*' matches any rest, a leading one any beginning.
  std::string_view remedy;
};

constexpr std::string_view kUseTasks =
    "cut the model before it: pajamas does detection's post-processing itself (export without NMS)";
constexpr std::string_view kQdq = "export quantisation as QuantizeLinear/DequantizeLinear pairs (QDQ format)";
constexpr std::string_view kOtherTarget = "use --target openvino, or export the model without this operator";

// Operators of the default domain for which no case of the onnx package's conformance tests builds.
constexpr std::array kNeverBuilt{
    OperatorRule{"NonMaxSuppression", kUseTasks},
    OperatorRule{"RoiAlign", kUseTasks},
    OperatorRule{"QLinear*", kQdq},
    OperatorRule{"ConvInteger", kQdq},
    OperatorRule{"MatMulInteger", kQdq},
    OperatorRule{"DynamicQuantizeLinear", kQdq},
    OperatorRule{"NonZero", kOtherTarget},
    OperatorRule{"Compress", kOtherTarget},
    OperatorRule{"Unique", kOtherTarget},
    OperatorRule{"DFT", kOtherTarget},
    OperatorRule{"MelWeightMatrix", kOtherTarget},
    OperatorRule{"*Window", kOtherTarget},
    OperatorRule{"Det", kOtherTarget},
    OperatorRule{"DeformConv", kOtherTarget},
    OperatorRule{"Col2Im", kOtherTarget},
    OperatorRule{"MaxUnpool", kOtherTarget},
    OperatorRule{"Bitwise*", kOtherTarget},
    OperatorRule{"BitShift", kOtherTarget},
    OperatorRule{"BitCast", kOtherTarget},
    OperatorRule{"Bernoulli", kOtherTarget},
    OperatorRule{"CumProd", kOtherTarget},
    OperatorRule{"Sequence*", kOtherTarget},
    OperatorRule{"SplitToSequence", kOtherTarget},
    OperatorRule{"ConcatFromSequence", kOtherTarget},
    OperatorRule{"Optional*", kOtherTarget},
    OperatorRule{"String*", kOtherTarget},
    OperatorRule{"RegexFullMatch", kOtherTarget},
    OperatorRule{"TfIdfVectorizer", kOtherTarget},
    OperatorRule{"ImageDecoder", kOtherTarget},
    OperatorRule{"SwiGLU", kOtherTarget},
    OperatorRule{"LinearAttention", kOtherTarget},
    OperatorRule{"CausalConvWithState", kOtherTarget},
};
// com.microsoft has several hundred operators; these are the ones that build.
constexpr std::array<std::string_view, 3> kMicrosoftBuilt{"MultiHeadAttention", "SimplifiedLayerNormalization",
                                                          "SkipSimplifiedLayerNormalization"};
// Beyond this the library refuses TopK.
constexpr std::int64_t kMaxTopK = 3840;

bool matches(std::string_view pattern, std::string_view name) {
  if (pattern.ends_with('*')) return name.starts_with(pattern.substr(0, pattern.size() - 1));
  if (pattern.starts_with('*')) return name.ends_with(pattern.substr(1));
  return pattern == name;
}

bool is_default_domain(const Node& node) { return node.domain.empty() || node.domain == "ai.onnx"; }

/// nullptr when the type can be an input, output or inner value.
const char* refused_dtype(DType dtype) {
  switch (dtype) {
    case DType::kString: return "TensorRT has no strings";
    case DType::kComplex64:
    case DType::kComplex128: return "TensorRT has no complex numbers";
    case DType::kUint16:
    case DType::kInt16:
    case DType::kUint32:
    case DType::kUint64: return "TensorRT has no integers of this type";
    case DType::kFloat8E4M3Fnuz:
    case DType::kFloat8E5M2:
    case DType::kFloat8E5M2Fnuz: return "of the 8-bit floats TensorRT takes float8e4m3fn only";
    case DType::kUint4:
    case DType::kUint2:
    case DType::kInt2: return "of the integers below 8 bits TensorRT takes int4 only";
    default: return nullptr;
  }
}

/// Lowest SM that has the type; 0: all have it.
int first_sm_of(DType dtype) {
  switch (dtype) {
    case DType::kBfloat16:
    case DType::kInt4: return 80;
    case DType::kFloat8E4M3Fn: return 89;
    case DType::kFloat4E2M1:
    case DType::kFloat8E8M0: return 120;
    default: return 0;
  }
}

bool is_matrix_product(const Node& node) {
  static constexpr std::array<std::string_view, 6> kProducts{"MatMul", "Gemm", "Einsum", "LSTM", "GRU", "RNN"};
  return is_default_domain(node) && std::find(kProducts.begin(), kProducts.end(), node.op_type) != kProducts.end();
}

bool is_all_zero(const Tensor& tensor) {
  return std::all_of(tensor.bytes().begin(), tensor.bytes().end(), [](std::byte byte) { return byte == std::byte{0}; });
}

DType dtype_in(const ValueDTypes& dtypes, std::string_view name) {
  const auto found = dtypes.find(name);
  return found == dtypes.end() ? DType::kUndefined : found->second;
}

DType dtype_attribute(const Node& node, std::string_view name, DType fallback) {
  return static_cast<DType>(node.int_attribute(name, static_cast<std::int64_t>(fallback)));
}

/// Element type of a node's first output.
DType output_dtype(const Node& node, const ValueDTypes& dtypes) {
  const auto input = [&](std::size_t i) {
    return i < node.inputs.size() ? dtype_in(dtypes, node.inputs[i]) : DType::kUndefined;
  };
  static const std::set<std::string_view> kBooleans{
      "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "And", "Or", "Xor", "Not", "IsNaN", "IsInf"};
  static const std::set<std::string_view> kIndices{"Shape", "Size", "ArgMax", "ArgMin", "NonZero"};
  const std::string& type = node.op_type;
  if (kBooleans.contains(type)) return DType::kBool;
  if (kIndices.contains(type)) return DType::kInt64;
  if (type == "Cast") return dtype_attribute(node, "to", DType::kUndefined);
  if (type == "Where" || type == "CastLike") return input(1);
  if (type == "QuantizeLinear") {
    const DType zero_point = input(2);
    return zero_point != DType::kUndefined ? zero_point : dtype_attribute(node, "output_dtype", DType::kUint8);
  }
  if (type == "DequantizeLinear") return input(1);
  if (type == "Constant" || type == "ConstantOfShape") {
    const Attribute* value = node.find_attribute("value");
    if (value != nullptr && std::holds_alternative<Tensor>(value->value)) return std::get<Tensor>(value->value).dtype();
    if (node.find_attribute("value_int") || node.find_attribute("value_ints")) return DType::kInt64;
    return DType::kFloat32;
  }
  if (type == "RandomNormal" || type == "RandomUniform" || type == "EyeLike") {
    return dtype_attribute(node, "dtype", DType::kFloat32);
  }
  if (type == "If" || type == "Loop" || type == "Scan") return DType::kUndefined;
  return input(0);
}

class Checker {
 public:
  Checker(const Model& model, std::span<const int> sms) : model_(model), sms_(sms.begin(), sms.end()) {
    for (const Function& function : model.functions) functions_.insert({function.domain, function.name});
  }

  std::optional<Support> check() const {
    for (const auto* values : {&model_.graph.inputs, &model_.graph.outputs}) {
      for (const ValueInfo& value : *values) {
        if (auto no = check_interface(value)) return no;
      }
    }
    if (model_.graph.outputs.empty()) return Support::no("the model has no outputs", "mark at least one output");
    if (auto no = check_graph(model_.graph, {})) return no;
    for (const Function& function : model_.functions) {
      for (const Node& node : function.nodes) {
        if (auto no = check_operator(node)) return no;
      }
    }
    return std::nullopt;
  }

 private:
  std::optional<Support> check_interface(const ValueInfo& value) const {
    if (!value.type) return std::nullopt;
    if (value.type->kind != ValueType::Kind::kTensor) {
      return Support::no("'" + value.name + "' is not a tensor but " + value.type->to_string(),
                         "export the model with tensors as inputs and outputs");
    }
    if (value.type->dtype == DType::kFloat64) {
      return Support::no("'" + value.name + "' is float64, which TensorRT would silently make float32",
                         "export the model with float32 inputs and outputs");
    }
    if (const char* why = refused_dtype(value.type->dtype)) {
      return Support::no("'" + value.name + "' is " + to_string(value.type->dtype) + ": " + why,
                         "export the model with another element type");
    }
    if (value.type->shape && value.type->shape->size() > 8) {
      return Support::no("'" + value.name + "' has " + std::to_string(value.type->shape->size()) +
                             " dimensions and TensorRT takes at most 8",
                         "export the model with fewer dimensions");
    }
    return std::nullopt;
  }

  std::optional<Support> check_graph(const Graph& graph, const ValueDTypes& outer) const {
    const ValueDTypes dtypes = propagate_dtypes(graph, outer);
    for (const Initializer& initializer : graph.initializers) {
      if (const char* why = refused_dtype(initializer.tensor.dtype())) {
        return Support::no(
            "the constant '" + initializer.name + "' is " + to_string(initializer.tensor.dtype()) + ": " + why,
            initializer.tensor.dtype() == DType::kUint4
                ? "of a checkpoint use --precision int8 or fp16; export an ONNX model with int4 without zero points"
                : "export the model with another element type");
      }
      if (auto no = check_sm(initializer.tensor.dtype(), "the constant '" + initializer.name + "'")) return no;
    }
    for (const Node& node : graph.nodes) {
      if (auto no = check_operator(node)) return no;
      if (auto no = check_details(node, graph, dtypes)) return no;
      for (const Attribute& attribute : node.attributes) {
        if (const auto* body = std::get_if<std::shared_ptr<Graph>>(&attribute.value); body != nullptr && *body) {
          if (auto no = check_graph(**body, dtypes)) return no;
        }
      }
    }
    return std::nullopt;
  }

  std::optional<Support> check_operator(const Node& node) const {
    if (functions_.contains({node.domain, node.op_type})) return std::nullopt;
    if (is_default_domain(node)) {
      for (const OperatorRule& rule : kNeverBuilt) {
        if (matches(rule.name, node.op_type)) {
          return Support::no(node.describe() + ": TensorRT for RTX cannot build the operator " + node.op_type,
                             std::string(rule.remedy));
        }
      }
      return std::nullopt;
    }
    if (node.domain == "com.microsoft") {
      if (std::find(kMicrosoftBuilt.begin(), kMicrosoftBuilt.end(), node.op_type) != kMicrosoftBuilt.end()) {
        return std::nullopt;
      }
      return Support::no(node.describe() + ": TensorRT for RTX does not know this operator of com.microsoft",
                         "export the model with standard ONNX operators (no onnxruntime optimisation)");
    }
    return Support::no(node.describe() + ": TensorRT does not know operators of the domain '" + node.domain + "'",
                       "export the model with standard ONNX operators");
  }

  std::optional<Support> check_details(const Node& node, const Graph& graph, const ValueDTypes& dtypes) const {
    const DType first = node.inputs.empty() ? DType::kUndefined : dtype_in(dtypes, node.inputs[0]);
    for (const std::string& output : node.outputs) {
      const DType dtype = dtype_in(dtypes, output);
      // Constants of odd types are cast away in many exports; values that flow are not.
      if (const char* why = node.is("Constant") ? nullptr : refused_dtype(dtype)) {
        return Support::no(node.describe() + " makes " + to_string(dtype) + ": " + why,
                           "export the model with another element type");
      }
      if (auto no = check_sm(dtype, node.describe())) return no;
    }
    if (is_matrix_product(node) && first == DType::kFloat32 && has_sm(75)) {
      return Support::no(node.describe() + " is a float32 matrix product, which TensorRT for RTX cannot build for sm75",
                         "use --precision fp16, or leave sm75 out of --gpu");
    }
    if (node.outputs.empty()) {
      return Support::no(node.describe() + " has no outputs, which crashes TensorRT", "export the model again");
    }
    if (node.is("Conv") || node.is("ConvTranspose")) {
      if (auto no = check_convolution(node, graph)) return no;
    }
    if (node.is("Attention")) {
      if (first == DType::kFloat32) {
        return Support::no(node.describe() + ": TensorRT for RTX builds Attention in float16 and bfloat16 only",
                           "use --precision fp16");
      }
      if (node.float_attribute("softcap", 0.0F) != 0.0F) {
        return Support::no(node.describe() + ": TensorRT for RTX has no Attention with softcap",
                           std::string(kOtherTarget));
      }
    }
    if (node.is("QuantizeLinear") || node.is("DequantizeLinear")) {
      const Initializer* zero_point = node.inputs.size() > 2 ? graph.find_initializer(node.inputs[2]) : nullptr;
      if (zero_point != nullptr && !is_all_zero(zero_point->tensor)) {
        return Support::no(node.describe() + " has a zero point other than 0", "quantise symmetrically (zero point 0)");
      }
    }
    if (node.is("Resize") && node.int_attribute("antialias", 0) != 0) {
      return Support::no(node.describe() + ": TensorRT has no Resize with antialias", std::string(kOtherTarget));
    }
    if (node.is("TopK") && node.inputs.size() > 1) {
      const Initializer* k = graph.find_initializer(node.inputs[1]);
      if (k != nullptr && k->tensor.dtype() == DType::kInt64 && k->tensor.num_elements() == 1 &&
          k->tensor.as<std::int64_t>()[0] > kMaxTopK) {
        return Support::no(node.describe() + " asks for " + std::to_string(k->tensor.as<std::int64_t>()[0]) +
                               " values and TensorRT gives at most " + std::to_string(kMaxTopK),
                           "export the model with a smaller k");
      }
    }
    return std::nullopt;
  }

  /// The library takes weights of a wrong rank without a word and builds something else.
  static std::optional<Support> check_convolution(const Node& node, const Graph& graph) {
    const Initializer* weights = node.inputs.size() > 1 ? graph.find_initializer(node.inputs[1]) : nullptr;
    if (weights == nullptr) return std::nullopt;
    const std::size_t rank = weights->tensor.shape().rank();
    std::string conflict;
    for (const auto* values : {&graph.inputs, &graph.value_infos}) {
      for (const ValueInfo& value : *values) {
        if (value.name != node.inputs[0] || !value.type || !value.type->shape) continue;
        if (value.type->shape->size() != rank)
          conflict = "its input has rank " + std::to_string(value.type->shape->size());
      }
    }
    for (const char* name : {"strides", "dilations", "kernel_shape"}) {
      const std::size_t length = node.ints_attribute(name).size();
      if (length != 0 && length + 2 != rank)
        conflict = std::string(name) + " has " + std::to_string(length) + " values";
    }
    const std::size_t num_pads = node.ints_attribute("pads").size();
    if (num_pads != 0 && num_pads != 2 * (rank - 2)) conflict = "pads has " + std::to_string(num_pads) + " values";
    if (rank >= 3 && conflict.empty()) return std::nullopt;
    return Support::no(node.describe() + ": the weights have rank " + std::to_string(rank) +
                           (conflict.empty() ? ", too few for a convolution" : " and " + conflict),
                       "the model is damaged: export it again");
  }

  bool has_sm(int sm) const { return std::find(sms_.begin(), sms_.end(), sm) != sms_.end(); }

  std::optional<Support> check_sm(DType dtype, const std::string& where) const {
    const int first = first_sm_of(dtype);
    std::vector<int> lacking;
    std::copy_if(sms_.begin(), sms_.end(), std::back_inserter(lacking), [&](int sm) { return sm < first; });
    if (lacking.empty()) return std::nullopt;
    return Support::no(where + " is " + to_string(dtype) + ", which " + sm_names(lacking) + " cannot compute",
                       "build for " + sm_name(first) + " and newer only" +
                           (dtype == DType::kBfloat16 ? ", or use --precision fp16" : ""));
  }

  const Model& model_;
  std::vector<int> sms_;
  std::set<std::pair<std::string, std::string>> functions_;
};

}  // namespace

ValueDTypes propagate_dtypes(const Graph& graph, const ValueDTypes& outer) {
  ValueDTypes dtypes = outer;
  for (const auto* values : {&graph.inputs, &graph.value_infos, &graph.outputs}) {
    for (const ValueInfo& value : *values) {
      if (value.type && value.type->kind == ValueType::Kind::kTensor) dtypes[value.name] = value.type->dtype;
    }
  }
  for (const Initializer& initializer : graph.initializers) dtypes[initializer.name] = initializer.tensor.dtype();
  for (const Node& node : graph.nodes) {
    if (node.outputs.empty() || node.outputs[0].empty()) continue;
    const auto known = dtypes.find(node.outputs[0]);
    if (known != dtypes.end() && known->second != DType::kUndefined) continue;
    const DType dtype = output_dtype(node, dtypes);
    if (dtype != DType::kUndefined) dtypes[node.outputs[0]] = dtype;
    // Split and its like give one type to all; operators with other second outputs (TopK, MaxPool) are left open.
    if (node.is("Split")) {
      for (const std::string& output : node.outputs) dtypes[output] = dtype;
    }
  }
  return dtypes;
}

Support check_support(const Model& model, std::span<const int> sms) {
  if (auto no = Checker(model, sms).check()) return *no;
  return Support::yes();
}

}  // namespace pajamas::tensorrt
