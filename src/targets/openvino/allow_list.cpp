// The table of operators and the walk over the model. See allow_list.h and operator_rules.h.
#include "targets/openvino/allow_list.h"

#include <algorithm>
#include <set>
#include <sstream>

#include "targets/openvino/operator_rules.h"

namespace pajamas::openvino {

namespace {

/// An operator that may pass, with the attributes it may carry (separated by blanks) and its rule, if any.
struct AllowedOperator {
  std::string_view name;
  std::string_view attributes;
  OperatorRule rule;
};

/// Opsets of the default domain that the conformance cases cover; OpenVINO's importer takes newer ones silently, as if
/// nothing had changed.
constexpr std::int64_t kMinOpset = 7;
constexpr std::int64_t kMaxOpset = 28;

/// A chain of 20,000 nodes takes 25 s to compile (2 busy cores), one of 3,000 takes 1 s. Large real models have 10,000.
constexpr std::size_t kMaxNodes = 30'000;

/// Sorted by name (ASCII).
constexpr AllowedOperator kOperators[] = {
    {"Abs", "", nullptr},
    {"Acos", "", nullptr},
    {"Acosh", "", nullptr},
    {"Add", "axis broadcast", nullptr},
    {"AffineGrid", "align_corners", nullptr},
    {"And", "axis broadcast", nullptr},
    {"ArgMax", "axis keepdims select_last_index", nullptr},
    {"ArgMin", "axis keepdims select_last_index", nullptr},
    {"Asin", "", nullptr},
    {"Asinh", "", nullptr},
    {"Atan", "", nullptr},
    {"Atanh", "", nullptr},
    {"Attention",
     "is_causal kv_num_heads left_window_size q_num_heads qk_matmul_output_mode right_window_size scale softcap "
     "softmax_precision",
     check_attention},
    {"AveragePool", "auto_pad ceil_mode count_include_pad dilations kernel_shape pads strides", check_pooling},
    {"BatchNormalization", "epsilon is_test momentum spatial training_mode", check_batch_normalization},
    {"BitShift", "direction", check_bit_shift},
    {"BitwiseAnd", "", nullptr},
    {"BitwiseNot", "", nullptr},
    {"BitwiseOr", "", nullptr},
    {"BitwiseXor", "", nullptr},
    {"BlackmanWindow", "output_datatype periodic", nullptr},
    {"Cast", "round_mode saturate to", check_cast},
    {"CastLike", "round_mode saturate", check_cast_like},
    {"Ceil", "", nullptr},
    {"Celu", "alpha", nullptr},
    {"CenterCropPad", "axes", nullptr},
    {"Clip", "max min", nullptr},
    {"Col2Im", "dilations pads strides", nullptr},
    {"Compress", "axis", nullptr},
    {"Concat", "axis", nullptr},
    {"Constant", "sparse_value value value_float value_floats value_int value_ints value_string value_strings",
     nullptr},
    {"ConstantOfShape", "value", nullptr},
    {"Conv", "auto_pad dilations group kernel_shape pads strides", nullptr},
    {"ConvInteger", "auto_pad dilations group kernel_shape pads strides", nullptr},
    {"ConvTranspose", "auto_pad dilations group kernel_shape output_padding output_shape pads strides", nullptr},
    {"Cos", "", nullptr},
    {"Cosh", "", nullptr},
    {"CumSum", "exclusive reverse", nullptr},
    {"DepthToSpace", "blocksize mode", nullptr},
    {"DequantizeLinear", "axis block_size output_dtype", nullptr},
    {"Div", "axis broadcast", nullptr},
    {"Dropout", "is_test ratio seed", check_dropout},
    {"Einsum", "equation", nullptr},
    {"Elu", "alpha", nullptr},
    {"Equal", "axis broadcast", nullptr},
    {"Erf", "", nullptr},
    {"Exp", "", nullptr},
    {"Expand", "", nullptr},
    {"EyeLike", "dtype k", nullptr},
    {"Flatten", "axis", nullptr},
    {"Floor", "", nullptr},
    {"GRU",
     "activation_alpha activation_beta activations clip direction hidden_size layout linear_before_reset "
     "output_sequence",
     check_recurrent},
    {"Gather", "axis", nullptr},
    {"GatherElements", "axis", nullptr},
    {"GatherND", "batch_dims", nullptr},
    {"Gelu", "approximate", nullptr},
    {"Gemm", "alpha beta broadcast transA transB", nullptr},
    {"GlobalAveragePool", "", nullptr},
    {"GlobalMaxPool", "", nullptr},
    {"Greater", "axis broadcast", nullptr},
    {"GreaterOrEqual", "", nullptr},
    {"GridSample", "align_corners mode padding_mode", nullptr},
    {"GroupNormalization", "epsilon num_groups stash_type", nullptr},
    {"HammingWindow", "output_datatype periodic", nullptr},
    {"HannWindow", "output_datatype periodic", nullptr},
    {"HardSigmoid", "alpha beta", nullptr},
    {"HardSwish", "", nullptr},
    {"Hardmax", "axis", nullptr},
    {"Identity", "", nullptr},
    {"If", "else_branch then_branch", nullptr},
    {"InstanceNormalization", "epsilon", nullptr},
    {"IsInf", "detect_negative detect_positive", nullptr},
    {"IsNaN", "", nullptr},
    {"LRN", "alpha beta bias size", nullptr},
    {"LSTM",
     "activation_alpha activation_beta activations clip direction hidden_size input_forget layout output_sequence",
     check_recurrent},
    {"LayerNormalization", "axis epsilon stash_type", nullptr},
    {"LeakyRelu", "alpha", nullptr},
    {"Less", "axis broadcast", nullptr},
    {"LessOrEqual", "", nullptr},
    {"Log", "", nullptr},
    {"LogSoftmax", "axis", nullptr},
    {"Loop", "body", nullptr},
    {"LpNormalization", "axis p", nullptr},
    {"LpPool", "auto_pad ceil_mode dilations kernel_shape p pads strides", check_pooling},
    {"MatMul", "", nullptr},
    {"MatMulInteger", "", nullptr},
    {"Max", "", nullptr},
    {"MaxPool", "auto_pad ceil_mode dilations kernel_shape pads storage_order strides", check_pooling},
    {"Mean", "", nullptr},
    {"MeanVarianceNormalization", "axes", nullptr},
    {"Min", "", nullptr},
    {"Mish", "", nullptr},
    {"Mod", "fmod", nullptr},
    {"Mul", "axis broadcast", nullptr},
    {"Neg", "", nullptr},
    {"NegativeLogLikelihoodLoss", "ignore_index reduction", nullptr},
    {"NonMaxSuppression", "center_point_box", nullptr},
    {"NonZero", "", nullptr},
    {"Not", "", nullptr},
    {"OneHot", "axis", nullptr},
    {"Or", "axis broadcast", nullptr},
    {"PRelu", "", nullptr},
    {"Pad", "mode paddings pads value", nullptr},
    {"Pow", "axis broadcast", nullptr},
    {"QLinearConv", "auto_pad dilations group kernel_shape pads strides", nullptr},
    {"QLinearMatMul", "", nullptr},
    {"QuantizeLinear", "axis block_size output_dtype precision saturate", check_quantize},
    {"RMSNormalization", "axis epsilon stash_type", nullptr},
    {"RNN", "activation_alpha activation_beta activations clip direction hidden_size layout output_sequence",
     check_recurrent},
    {"Range", "stash_type", nullptr},
    {"Reciprocal", "", nullptr},
    {"ReduceL1", "axes keepdims noop_with_empty_axes", nullptr},
    {"ReduceL2", "axes keepdims noop_with_empty_axes", nullptr},
    {"ReduceLogSum", "axes keepdims noop_with_empty_axes", nullptr},
    {"ReduceLogSumExp", "axes keepdims noop_with_empty_axes", nullptr},
    {"ReduceMax", "axes keepdims noop_with_empty_axes", nullptr},
    {"ReduceMean", "axes keepdims noop_with_empty_axes", nullptr},
    {"ReduceMin", "axes keepdims noop_with_empty_axes", nullptr},
    {"ReduceProd", "axes keepdims noop_with_empty_axes", nullptr},
    {"ReduceSum", "axes keepdims noop_with_empty_axes", nullptr},
    {"ReduceSumSquare", "axes keepdims noop_with_empty_axes", nullptr},
    {"Relu", "", nullptr},
    {"Reshape", "allowzero shape", nullptr},
    {"Resize",
     "antialias axes coordinate_transformation_mode cubic_coeff_a exclude_outside extrapolation_value "
     "keep_aspect_ratio_policy mode nearest_mode",
     check_resize},
    {"ReverseSequence", "batch_axis time_axis", nullptr},
    {"RoiAlign", "coordinate_transformation_mode mode output_height output_width sampling_ratio spatial_scale",
     check_roi_align},
    {"RotaryEmbedding", "interleaved num_heads rotary_embedding_dim", nullptr},
    {"Round", "", nullptr},
    {"Scan",
     "body directions num_scan_inputs scan_input_axes scan_input_directions scan_output_axes scan_output_directions",
     nullptr},
    {"Scatter", "axis", nullptr},
    {"ScatterElements", "axis reduction", nullptr},
    {"ScatterND", "reduction", nullptr},
    {"Selu", "alpha gamma", nullptr},
    {"Shape", "end start", nullptr},
    {"Shrink", "bias lambd", nullptr},
    {"Sigmoid", "", nullptr},
    {"Sign", "", nullptr},
    {"Sin", "", nullptr},
    {"Sinh", "", nullptr},
    {"Size", "", nullptr},
    {"Slice", "axes ends starts", nullptr},
    {"Softmax", "axis", nullptr},
    {"SoftmaxCrossEntropyLoss", "ignore_index reduction", nullptr},
    {"Softplus", "", nullptr},
    {"Softsign", "", nullptr},
    {"SpaceToDepth", "blocksize mode", check_space_to_depth},
    {"Split", "axis num_outputs split", nullptr},
    {"Sqrt", "", nullptr},
    {"Squeeze", "axes", nullptr},
    {"Sub", "axis broadcast", nullptr},
    {"Sum", "", nullptr},
    {"Swish", "alpha", nullptr},
    {"Tan", "", nullptr},
    {"Tanh", "", nullptr},
    {"ThresholdedRelu", "alpha", nullptr},
    {"Tile", "", check_tile},
    {"TopK", "axis k largest sorted", nullptr},
    {"Transpose", "perm", nullptr},
    {"Trilu", "upper", nullptr},
    {"Unique", "axis sorted", nullptr},
    {"Unsqueeze", "axes", nullptr},
    {"Upsample", "height_scale mode scales width_scale", nullptr},
    {"Where", "", nullptr},
    {"Xor", "axis broadcast", nullptr},
};

const AllowedOperator* find_operator(std::string_view name) {
  const auto found =
      std::lower_bound(std::begin(kOperators), std::end(kOperators), name,
                       [](const AllowedOperator& entry, std::string_view key) { return entry.name < key; });
  return found != std::end(kOperators) && found->name == name ? found : nullptr;
}

bool is_listed(std::string_view attributes, std::string_view name) {
  while (!attributes.empty()) {
    const std::size_t end = attributes.find(' ');
    if (attributes.substr(0, end) == name) return true;
    if (end == std::string_view::npos) break;
    attributes.remove_prefix(end + 1);
  }
  return false;
}

Support refuse(const Node& node, const std::string& reason, std::string remedy) {
  return Support::no(node.describe() + ": " + reason, std::move(remedy));
}

Support check_node(const Node& node, const ValueScope& scope, std::int64_t opset) {
  const char* other_target = "export the model without it, or build for another target";
  if (node.domain == "pajamas" && node.op_type == "PagedAttention") {
    for (const Attribute& attribute : node.attributes) {
      if (!is_listed("head_dim layer_index num_heads num_kv_heads scale sliding_window softcap", attribute.name)) {
        return refuse(node, "the attribute '" + attribute.name + "' is not known to OpenVINO's target", other_target);
      }
    }
    if (const Refusal refusal = check_paged_attention({node, scope, opset}))
      return refuse(node, *refusal, other_target);
    return Support::yes();
  }
  if (!node.domain.empty() && node.domain != "ai.onnx") {
    return refuse(node, "operators of the domain '" + node.domain + "' are not known to OpenVINO's target",
                  other_target);
  }
  const AllowedOperator* allowed = find_operator(node.op_type);
  if (allowed == nullptr) {
    return refuse(node, "the operator is not on the list of those that OpenVINO is proven to compute as ONNX says",
                  other_target);
  }
  for (const Attribute& attribute : node.attributes) {
    if (!is_listed(allowed->attributes, attribute.name)) {
      return refuse(node, "the attribute '" + attribute.name + "' is not known to OpenVINO's target", other_target);
    }
  }
  if (allowed->rule != nullptr) {
    if (const Refusal refusal = allowed->rule({node, scope, opset})) return refuse(node, *refusal, other_target);
  }
  return Support::yes();
}

/// Operators whose bfloat16 results depend on where one rounds.
bool is_rounding_operator(const Node& node) {
  static constexpr std::string_view kNames[] = {"Attention", "Conv",   "ConvTranspose", "Einsum",    "GRU", "Gemm",
                                                "LSTM",      "MatMul", "ReduceMean",    "ReduceSum", "RNN", "Softmax"};
  return std::any_of(std::begin(kNames), std::end(kNames), [&](std::string_view name) { return node.is(name); });
}

/// Whether an input of the model is bfloat16, or a weight that is used as it is: one that is converted first is exact.
bool has_bfloat16(const Graph& graph) {
  const auto is_declared = [](const ValueInfo& info) { return info.type && info.type->dtype == DType::kBfloat16; };
  if (std::any_of(graph.inputs.begin(), graph.inputs.end(), is_declared)) return true;
  std::set<std::string_view> weights;
  for (const Initializer& initializer : graph.initializers) {
    if (initializer.tensor.dtype() == DType::kBfloat16) weights.insert(initializer.name);
  }
  if (weights.empty()) return false;
  return std::any_of(graph.nodes.begin(), graph.nodes.end(), [&](const Node& node) {
    if (node.is("Cast")) return false;
    return std::any_of(node.inputs.begin(), node.inputs.end(),
                       [&](const std::string& input) { return weights.count(input) != 0; });
  });
}

Support check_graph(const Graph& graph, const ValueScope* outer, std::int64_t opset) {
  if (!graph.sparse_initializers.empty()) {
    return Support::no(
        "sparse initializer '" + graph.sparse_initializers.front().name + "': OpenVINO has no sparse tensors",
        "export the model with dense weights");
  }
  const ValueScope scope(graph, outer);
  for (const Node& node : graph.nodes) {
    if (Support support = check_node(node, scope, opset); !support) return support;
    for (const Attribute& attribute : node.attributes) {
      if (const auto* body = std::get_if<std::shared_ptr<Graph>>(&attribute.value); body != nullptr && *body) {
        if (Support support = check_graph(**body, &scope, opset); !support) return support;
      }
    }
  }
  return Support::yes();
}

}  // namespace

Support check_operators(const Model& model) {
  const std::int64_t opset = model.opset_of("").value_or(0);
  if (opset < kMinOpset || opset > kMaxOpset) {
    return Support::no("the model is of opset " + std::to_string(opset) + "; this target is proven for " +
                           std::to_string(kMinOpset) + " to " + std::to_string(kMaxOpset),
                       "export the model with an opset in that range");
  }
  if (!model.functions.empty()) {
    return Support::no("the model has local functions ('" + model.functions.front().name + "')",
                       "inline them (onnx.inliner), or build for another target");
  }
  if (model.graph.nodes.size() > kMaxNodes) {
    return Support::no("the model has " + std::to_string(model.graph.nodes.size()) +
                           " nodes; OpenVINO's time to compile grows with their square",
                       "simplify the model to at most " + std::to_string(kMaxNodes) + " nodes");
  }
  if (has_bfloat16(model.graph)) {
    const auto found = std::find_if(model.graph.nodes.begin(), model.graph.nodes.end(), is_rounding_operator);
    if (found != model.graph.nodes.end()) {
      return refuse(
          *found,
          "the model is written in bfloat16, and OpenVINO rounds between its operators at other places than ONNX",
          "export the model in float32 and build with --precision bf16");
    }
  }
  return check_graph(model.graph, nullptr, opset);
}

}  // namespace pajamas::openvino
