// Picture inputs and outputs of a model. See model_interface.h.
#include "models/model_interface.h"

#include <algorithm>
#include <array>
#include <set>

namespace pajamas {
namespace {

std::optional<std::int64_t> known_extent(const Dimension& dimension) {
  // Some exporters write 0 or -1 for an extent that varies.
  if (!dimension.is_known() || dimension.extent() <= 0) return std::nullopt;
  return dimension.extent();
}

std::optional<ImageTensor> image_tensor_of(const ValueInfo& input) {
  if (!input.type || input.type->kind != ValueType::Kind::kTensor || !input.type->shape) return std::nullopt;
  const DType dtype = input.type->dtype;
  if (!is_floating_point(dtype) && dtype != DType::kUint8) return std::nullopt;
  const auto& dims = *input.type->shape;
  const std::size_t batch_axes = dims.size() == 4 ? 1 : 0;
  if (dims.size() != 3 && dims.size() != 4) return std::nullopt;
  const auto is_channels = [&](std::size_t axis) { return known_extent(dims[axis]) == 3; };
  ImageTensor image;
  image.name = input.name;
  image.has_batch = batch_axes == 1;
  const std::size_t first = batch_axes;
  // Where both ends are 3 (a picture 3 pixels wide) the usual layout is meant.
  if (is_channels(first)) {
    image.height_px = known_extent(dims[first + 1]);
    image.width_px = known_extent(dims[first + 2]);
  } else if (batch_axes == 1 && is_channels(first + 2)) {
    image.is_nhwc = true;
    image.height_px = known_extent(dims[first]);
    image.width_px = known_extent(dims[first + 1]);
  } else if (batch_axes == 1 && !known_extent(dims[first]) && !known_extent(dims[first + 2]) &&
             (input.name == "pixel_values" || input.name == "images")) {
    // Exports that leave every axis open, under the names that transformers and Ultralytics use.
  } else {
    return std::nullopt;
  }
  return image;
}

/// Operators that move values without changing them, by their first input (Concat: all).
bool moves_data(const Node& node) {
  static constexpr std::array<std::string_view, 12> kMoving{"Transpose", "Concat",  "Reshape",   "Flatten",
                                                            "Identity",  "Squeeze", "Unsqueeze", "Slice",
                                                            "Cast",      "Dropout", "Split",     "Gather"};
  return std::any_of(kMoving.begin(), kMoving.end(), [&](std::string_view type) { return node.is(type); });
}

}  // namespace

bool OutputTensor::is_float() const { return is_floating_point(dtype); }

std::optional<std::int64_t> OutputTensor::extent(int axis) const {
  if (!extents) return std::nullopt;
  const int index = axis < 0 ? axis + rank() : axis;
  if (index < 0 || index >= rank()) return std::nullopt;
  return (*extents)[static_cast<std::size_t>(index)];
}

const OutputTensor* ModelInterface::find_output(std::string_view name) const {
  for (const OutputTensor& output : outputs) {
    if (output.name == name) return &output;
  }
  return nullptr;
}

std::string ModelInterface::describe_outputs() const {
  std::string text;
  for (const OutputTensor& output : outputs) {
    text += (text.empty() ? "" : ", ") + output.name + " " + to_string(output.dtype);
    if (!output.extents) {
      text += "[?]";
      continue;
    }
    text += "[";
    for (std::size_t axis = 0; axis < output.extents->size(); ++axis) {
      const auto& extent = (*output.extents)[axis];
      text += (axis == 0 ? "" : ", ") + (extent ? std::to_string(*extent) : std::string("?"));
    }
    text += "]";
  }
  return text.empty() ? "none" : text;
}

ModelInterface interface_of(const Model& model) {
  ModelInterface result;
  int num_images = 0;
  for (const ValueInfo* input : model.graph.required_inputs()) {
    auto image = image_tensor_of(*input);
    if (image && ++num_images == 1) {
      result.image = std::move(image);
    } else {
      result.other_inputs.push_back(input->name);
    }
  }
  if (num_images > 1) result.image.reset();
  for (const ValueInfo& value : model.graph.outputs) {
    OutputTensor output;
    output.name = value.name;
    if (value.type && value.type->kind == ValueType::Kind::kTensor) {
      output.dtype = value.type->dtype;
      if (value.type->shape) {
        output.extents.emplace();
        for (const Dimension& dimension : *value.type->shape) output.extents->push_back(known_extent(dimension));
      }
    }
    result.outputs.push_back(std::move(output));
  }
  return result;
}

bool has_operator(const Graph& graph, std::string_view op_type) {
  return std::any_of(graph.nodes.begin(), graph.nodes.end(), [&](const Node& node) { return node.is(op_type); });
}

OutputOrigin origin_of(const Graph& graph, const std::string& output) {
  struct Step {
    std::string value;
    bool is_behind_sigmoid = false;
  };
  const ValueUses uses(graph);
  std::vector<Step> pending{{output}};
  std::set<std::pair<std::string, bool>> seen;
  bool has_softmax = false, has_sigmoid = false, has_bare = false;  // What the values end in.
  bool has_convolution = false, has_arithmetic = false;             // What lies behind.
  while (!pending.empty()) {
    const Step step = std::move(pending.back());
    pending.pop_back();
    if (!seen.emplace(step.value, step.is_behind_sigmoid).second) continue;
    const int index = uses.producer(step.value);
    if (index < 0) continue;
    const Node& node = graph.nodes[static_cast<std::size_t>(index)];
    if (moves_data(node)) {
      const std::size_t count = node.is("Concat") ? node.inputs.size() : std::min<std::size_t>(1, node.inputs.size());
      for (std::size_t i = 0; i < count; ++i) pending.push_back({node.inputs[i], step.is_behind_sigmoid});
    } else if (node.is("Sigmoid") && !step.is_behind_sigmoid && !node.inputs.empty()) {
      has_sigmoid = true;
      pending.push_back({node.inputs[0], true});
    } else if (node.is("Softmax") && !step.is_behind_sigmoid) {
      has_softmax = true;
    } else {
      (node.is("Conv") ? has_convolution : has_arithmetic) = true;
      if (!step.is_behind_sigmoid) has_bare = true;
    }
  }
  if (has_convolution && !has_arithmetic && !has_softmax) return OutputOrigin::kConvolution;
  if (has_bare || (has_softmax && has_sigmoid)) return OutputOrigin::kComputed;
  if (has_softmax) return OutputOrigin::kSoftmax;
  return has_sigmoid ? OutputOrigin::kSigmoid : OutputOrigin::kUnknown;
}

}  // namespace pajamas
