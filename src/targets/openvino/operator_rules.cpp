// See operator_rules.h. Where a rule would need a value that only the run knows, it refuses what it cannot prove.
#include "targets/openvino/operator_rules.h"

#include <algorithm>

namespace pajamas::openvino {

namespace {

/// Types that a Cast may produce: those that OpenVINO computes with their own range and rounding.
bool is_cast_target(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
    case DType::kFloat16:
    case DType::kBfloat16:
    case DType::kUint8:
    case DType::kInt8:
    case DType::kUint16:
    case DType::kInt16:
    case DType::kInt32:
    case DType::kInt64:
    case DType::kUint32:
    case DType::kBool: return true;
    default: return false;
  }
}

Refusal check_cast_target(DType dtype) {
  if (is_cast_target(dtype)) return std::nullopt;
  if (dtype == DType::kFloat64) return "OpenVINO computes float64 in float32, and turns infinities into 3.4e38";
  return "OpenVINO does not convert to " + std::string(to_string(dtype)) + " as ONNX says";
}

}  // namespace

ValueScope::ValueScope(const Graph& graph, const ValueScope* outer) : outer_(outer) {
  for (const auto* infos : {&graph.value_infos, &graph.outputs, &graph.inputs}) {
    for (const ValueInfo& info : *infos) {
      if (info.type && info.type->kind == ValueType::Kind::kTensor) types_[info.name] = &*info.type;
    }
  }
  for (const Initializer& initializer : graph.initializers) constants_[initializer.name] = &initializer.tensor;
  for (const Node& node : graph.nodes) {
    if (!node.is("Constant") || node.outputs.empty()) continue;
    const Attribute* value = node.find_attribute("value");
    if (value == nullptr) continue;
    if (const auto* tensor = std::get_if<Tensor>(&value->value)) constants_[node.outputs[0]] = tensor;
  }
}

const Tensor* ValueScope::constant(std::string_view name) const {
  const auto found = constants_.find(name);
  if (found != constants_.end()) return found->second;
  return outer_ != nullptr ? outer_->constant(name) : nullptr;
}

DType ValueScope::dtype(std::string_view name) const {
  const auto constant = constants_.find(name);
  if (constant != constants_.end()) return constant->second->dtype();
  const auto type = types_.find(name);
  if (type != types_.end()) return type->second->dtype;
  return outer_ != nullptr ? outer_->dtype(name) : DType::kUndefined;
}

const std::vector<Dimension>* ValueScope::shape(std::string_view name) const {
  const auto type = types_.find(name);
  if (type != types_.end()) return type->second->shape ? &*type->second->shape : nullptr;
  return outer_ != nullptr ? outer_->shape(name) : nullptr;
}

Refusal check_attention(const RuleContext& context) {
  for (const char* name : {"left_window_size", "right_window_size"}) {
    if (context.node.int_attribute(name, -1) >= 0)
      return "OpenVINO ignores the local window (" + std::string(name) + ")";
  }
  // Grouped heads: OpenVINO needs to see how many there are.
  const auto* query = context.has_input(0) ? context.scope.shape(context.node.inputs[0]) : nullptr;
  const auto* key = context.has_input(1) ? context.scope.shape(context.node.inputs[1]) : nullptr;
  const bool has_head_counts = context.node.int_attribute("q_num_heads", 0) > 0;
  const auto is_head_known = [](const auto* shape) {
    return shape != nullptr && shape->size() == 4 && (*shape)[1].is_known();
  };
  if (!has_head_counts && !(is_head_known(query) && is_head_known(key))) {
    return "the numbers of heads are not declared, and OpenVINO computes grouped heads of open number wrongly";
  }
  constexpr std::size_t kMask = 3;
  constexpr std::size_t kPastKey = 4;
  if (context.node.int_attribute("is_causal", 0) != 0 && context.has_input(kPastKey) && context.has_input(kMask)) {
    return "OpenVINO computes is_causal with a mask and past keys wrongly";
  }
  return std::nullopt;
}

Refusal check_batch_normalization(const RuleContext& context) {
  if (context.node.int_attribute("training_mode", 0) != 0) return "training mode is not for inference";
  if (context.node.int_attribute("spatial", 1) != 1) return "OpenVINO has no per-activation statistics (spatial = 0)";
  return std::nullopt;
}

Refusal check_bit_shift(const RuleContext& context) {
  switch (context.scope.dtype(context.node.inputs.empty() ? "" : context.node.inputs[0])) {
    case DType::kUint8:
    case DType::kUint16:
    case DType::kUint32: return std::nullopt;
    default: return "OpenVINO shifts signed, 64-bit and undeclared integers wrongly";
  }
}

Refusal check_cast(const RuleContext& context) {
  return check_cast_target(static_cast<DType>(context.node.int_attribute("to", 0)));
}

Refusal check_cast_like(const RuleContext& context) {
  if (!context.has_input(1)) return std::nullopt;
  const DType dtype = context.scope.dtype(context.node.inputs[1]);
  return dtype == DType::kUndefined ? std::nullopt : check_cast_target(dtype);
}

Refusal check_dropout(const RuleContext& context) {
  constexpr std::size_t kTrainingMode = 2;
  if (context.opset < 7 && context.node.int_attribute("is_test", 0) == 0) return "training mode is not for inference";
  if (!context.has_input(kTrainingMode)) return std::nullopt;
  const Tensor* mode = context.constant(kTrainingMode);
  if (mode == nullptr) return "whether it trains is decided at run time";
  if (!mode->bytes().empty() && mode->bytes()[0] != std::byte{0}) return "training mode is not for inference";
  return std::nullopt;
}

Refusal check_paged_attention(const RuleContext& context) {
  const Node& node = context.node;
  if (node.float_attribute("softcap", 0.0F) != 0.0F) return "OpenVINO's paged attention has no softcap";
  static constexpr std::string_view kSequences[] = {"past_lens", "subsequence_begins", "block_indices",
                                                    "block_indices_begins", "max_context_len"};
  constexpr std::size_t kFirst = 3;
  if (node.inputs.size() != kFirst + std::size(kSequences)) {
    return "it has " + std::to_string(node.inputs.size()) + " inputs, not 8";
  }
  for (std::size_t i = 0; i < std::size(kSequences); ++i) {
    if (node.inputs[kFirst + i] != kSequences[i]) {
      return "its input " + std::to_string(kFirst + i) + " must be the graph's input '" + std::string(kSequences[i]) +
             "', not '" + node.inputs[kFirst + i] + "'";
    }
  }
  for (const char* name : {"num_heads", "num_kv_heads", "head_dim"}) {
    if (node.int_attribute(name, 0) < 1) return "the attribute '" + std::string(name) + "' must be 1 or more";
  }
  if (node.int_attribute("num_heads", 0) % node.int_attribute("num_kv_heads", 1) != 0) {
    return "its number of heads is no multiple of num_kv_heads";
  }
  if (node.int_attribute("layer_index", -1) < 0) return "the attribute 'layer_index' must be 0 or more";
  if (node.int_attribute("sliding_window", 0) < 0) return "the attribute 'sliding_window' must be 0 or more";
  return std::nullopt;
}

Refusal check_pooling(const RuleContext& context) {
  const Node& node = context.node;
  if (node.op_type == "MaxPool" && node.int_attribute("storage_order", 0) != 0) {
    return "OpenVINO ignores the storage order of the indices";
  }
  if (node.int_attribute("ceil_mode", 0) == 0) return std::nullopt;
  if (node.string_attribute("auto_pad", "NOTSET") != "NOTSET") return "ceil_mode together with auto_pad is ambiguous";
  if (node.op_type == "AveragePool") return std::nullopt;
  // A window that starts in the padding at the end is not counted by ONNX but is by OpenVINO. The last window starts
  // there only if stride > kernel - padding at the end.
  const auto kernel = node.ints_attribute("kernel_shape");
  const auto strides = node.ints_attribute("strides");
  const auto dilations = node.ints_attribute("dilations");
  const auto pads = node.ints_attribute("pads");
  for (std::size_t axis = 0; axis < kernel.size(); ++axis) {
    const std::int64_t dilation = axis < dilations.size() ? dilations[axis] : 1;
    const std::int64_t extent = (kernel[axis] - 1) * dilation + 1;
    const std::int64_t stride = axis < strides.size() ? strides[axis] : 1;
    const std::int64_t pad_end = kernel.size() + axis < pads.size() ? pads[kernel.size() + axis] : 0;
    if (stride > extent - pad_end) {
      return "with ceil_mode OpenVINO counts windows that start in the padding (stride " + std::to_string(stride) +
             ", kernel " + std::to_string(extent) + ", padding " + std::to_string(pad_end) + ")";
    }
  }
  return std::nullopt;
}

Refusal check_quantize(const RuleContext& context) {
  constexpr std::size_t kZeroPoint = 2;
  DType dtype = DType::kUint8;
  if (context.has_input(kZeroPoint)) {
    dtype = context.scope.dtype(context.node.inputs[kZeroPoint]);
  } else if (const std::int64_t output = context.node.int_attribute("output_dtype", 0); output != 0) {
    dtype = static_cast<DType>(output);
  }
  if (dtype != DType::kUint8 && dtype != DType::kInt8) {
    return "OpenVINO quantises to " + std::string(to_string(dtype)) + " with other roundings than ONNX";
  }
  if (context.node.int_attribute("block_size", 0) != 0) return "OpenVINO does not quantise by blocks";
  return std::nullopt;
}

Refusal check_recurrent(const RuleContext& context) {
  if (context.node.int_attribute("layout", 0) != 0) return "OpenVINO ignores layout = 1 (batch first)";
  constexpr std::size_t kPeepholes = 7;
  if (context.node.op_type == "LSTM" && context.has_input(kPeepholes)) return "OpenVINO ignores the peephole weights";
  return std::nullopt;
}

Refusal check_resize(const RuleContext& context) {
  const Node& node = context.node;
  if (node.int_attribute("antialias", 0) != 0) return "OpenVINO's antialiasing differs from ONNX's";
  if (node.int_attribute("exclude_outside", 0) != 0) return "OpenVINO ignores exclude_outside";
  if (node.string_attribute("keep_aspect_ratio_policy", "stretch") != "stretch") {
    return "OpenVINO ignores keep_aspect_ratio_policy";
  }
  const std::string transformation = node.string_attribute("coordinate_transformation_mode", "half_pixel");
  if (transformation == "tf_crop_and_resize" || transformation == "half_pixel_symmetric") {
    return "OpenVINO has no coordinate transformation " + transformation;
  }
  if (transformation != "align_corners") return std::nullopt;
  // With align_corners, OpenVINO maps by the extents, ONNX by the scales. Both agree when enlarging by whole extents.
  constexpr std::size_t kScales = 2;
  constexpr std::size_t kSizes = 3;
  const char* reason =
      "with align_corners OpenVINO maps a smaller picture otherwise than ONNX, and that it is not smaller cannot be "
      "seen";
  if (context.opset < 11) return std::nullopt;
  if (const Tensor* scales = context.constant(kScales);
      scales != nullptr && scales->dtype() == DType::kFloat32 && scales->num_elements() > 0) {
    const auto values = scales->as<float>();
    if (std::all_of(values.begin(), values.end(), [](float scale) { return scale >= 1.0F; })) return std::nullopt;
    return "with align_corners OpenVINO maps a smaller picture otherwise than ONNX";
  }
  if (context.has_input(kSizes)) return std::nullopt;  // sizes give the scales by whole extents: both agree
  return reason;
}

Refusal check_roi_align(const RuleContext& context) {
  if (context.node.string_attribute("mode", "avg") != "avg") return "OpenVINO's mode max differs from ONNX's";
  return std::nullopt;
}

Refusal check_space_to_depth(const RuleContext& context) {
  if (context.node.string_attribute("mode", "DCR") != "DCR") return "OpenVINO ignores mode CRD";
  return std::nullopt;
}

Refusal check_tile(const RuleContext& context) {
  constexpr std::size_t kRepeats = 1;
  if (!context.has_input(kRepeats) || context.constant(kRepeats) != nullptr) return std::nullopt;
  const auto* shape = context.scope.shape(context.node.inputs[0]);
  if (shape != nullptr && shape->size() < 3) return std::nullopt;
  return "OpenVINO repeats three and more axes wrongly when the repeats are computed at run time";
}

}  // namespace pajamas::openvino
