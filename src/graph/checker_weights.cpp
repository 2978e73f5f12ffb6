// Weights against the operators that take them. See checker_weights.h.
#include "graph/checker_weights.h"

#include <string>

#include "pajamas/error.h"

namespace pajamas {
namespace {

[[noreturn]] void bad(const Node& node, const std::string& message) {
  throw Error(ErrorKind::kBadInput, message, node.describe(),
              "export the model again: its weights do not fit its operators");
}

std::string text_of(const std::vector<std::int64_t>& extents) {
  std::string text = "[";
  for (std::size_t i = 0; i < extents.size(); ++i) {
    text += (i > 0 ? ", " : "") + (extents[i] < 0 ? std::string("?") : std::to_string(extents[i]));
  }
  return text + "]";
}

KnownShape input_shape(const Node& node, std::size_t index,
                       const std::function<KnownShape(std::string_view)>& shape_of) {
  if (index >= node.inputs.size() || node.inputs[index].empty()) return std::nullopt;
  return shape_of(node.inputs[index]);
}

bool differ(std::int64_t a, std::int64_t b) { return a >= 0 && b >= 0 && a != b; }

void check_lengths(const Node& node, const char* attribute, std::size_t num_spatial, std::size_t per_dimension,
                   std::int64_t lowest) {
  const std::vector<std::int64_t> values = node.ints_attribute(attribute);
  if (values.empty()) return;
  if (values.size() != num_spatial * per_dimension) {
    bad(node, std::string("attribute '") + attribute + "' has " + std::to_string(values.size()) +
                  " values where the weight has " + std::to_string(num_spatial) + " spatial dimensions");
  }
  for (const std::int64_t value : values) {
    if (value < lowest) bad(node, std::string("attribute '") + attribute + "' holds " + std::to_string(value));
  }
}

void check_convolution(const Node& node, const std::function<KnownShape(std::string_view)>& shape_of) {
  const std::int64_t group = node.int_attribute("group", 1);
  if (group < 1) bad(node, "attribute 'group' is " + std::to_string(group));
  const KnownShape weight = input_shape(node, 1, shape_of);
  if (!weight) return;
  const std::string weight_text = "the weight has shape " + text_of(*weight);
  if (weight->size() < 3) bad(node, weight_text + " where a convolution needs 3 or more dimensions");
  const std::size_t num_spatial = weight->size() - 2;
  const std::vector<std::int64_t> kernel = node.ints_attribute("kernel_shape");
  if (!kernel.empty() && kernel.size() != num_spatial) {
    bad(node, weight_text + " but kernel_shape is " + text_of(kernel));
  }
  for (std::size_t i = 0; i < kernel.size(); ++i) {
    if (differ(kernel[i], (*weight)[i + 2])) bad(node, weight_text + " but kernel_shape is " + text_of(kernel));
  }
  check_lengths(node, "strides", num_spatial, 1, 1);
  check_lengths(node, "dilations", num_spatial, 1, 1);
  // ONNX leaves negative padding of a Conv undefined; exporters use it to crop, so only the length is checked.
  check_lengths(node, "pads", num_spatial, 2, INT64_MIN);

  // Conv: [out, in / group, kernel...]; ConvTranspose: [in, out / group, kernel...].
  const bool is_transposed = node.op_type == "ConvTranspose";
  if ((*weight)[0] >= 0 && (*weight)[0] % group != 0) {
    bad(node, weight_text + ", whose first extent is no multiple of group " + std::to_string(group));
  }
  if (const KnownShape input = input_shape(node, 0, shape_of)) {
    if (input->size() != weight->size()) {
      bad(node, weight_text + " but the input has shape " + text_of(*input) + ": both need as many dimensions");
    }
    const std::int64_t per_group = (*weight)[1];
    const std::int64_t channels = is_transposed ? (*weight)[0] : per_group < 0 ? -1 : per_group * group;
    if (differ((*input)[1], channels)) {
      bad(node, weight_text + " and group " + std::to_string(group) + " but the input has shape " + text_of(*input) +
                    ": the channels do not fit");
    }
  }
  if (const KnownShape bias = input_shape(node, 2, shape_of)) {
    const std::int64_t filters = is_transposed ? ((*weight)[1] < 0 ? -1 : (*weight)[1] * group) : (*weight)[0];
    if (bias->size() != 1 || differ((*bias)[0], filters)) {
      bad(node, weight_text + " but the bias has shape " + text_of(*bias));
    }
  }
}

void check_gemm(const Node& node, const std::function<KnownShape(std::string_view)>& shape_of) {
  const KnownShape a = input_shape(node, 0, shape_of);
  const KnownShape b = input_shape(node, 1, shape_of);
  for (const KnownShape* shape : {&a, &b}) {
    if (*shape && (*shape)->size() != 2) bad(node, "a matrix of Gemm has shape " + text_of(**shape));
  }
  if (a && b) {
    const std::int64_t a_inner = (*a)[node.int_attribute("transA", 0) != 0 ? 0 : 1];
    const std::int64_t b_inner = (*b)[node.int_attribute("transB", 0) != 0 ? 1 : 0];
    if (differ(a_inner, b_inner)) {
      bad(node, "the matrices " + text_of(*a) + " and " + text_of(*b) + " cannot be multiplied");
    }
  }
  const KnownShape c = input_shape(node, 2, shape_of);
  if (c && c->size() > 2) bad(node, "the bias of Gemm has shape " + text_of(*c));
}

void check_matmul(const Node& node, const std::function<KnownShape(std::string_view)>& shape_of) {
  const KnownShape a = input_shape(node, 0, shape_of);
  const KnownShape b = input_shape(node, 1, shape_of);
  for (const KnownShape* shape : {&a, &b}) {
    if (*shape && (*shape)->empty()) bad(node, "a matrix of MatMul is a scalar");
  }
  if (a && b && differ(a->back(), (*b)[b->size() >= 2 ? b->size() - 2 : 0])) {
    bad(node, "the matrices " + text_of(*a) + " and " + text_of(*b) + " cannot be multiplied");
  }
}

void check_batch_normalization(const Node& node, const std::function<KnownShape(std::string_view)>& shape_of) {
  const KnownShape input = input_shape(node, 0, shape_of);
  std::int64_t channels = input && input->size() >= 2 ? (*input)[1] : -1;
  for (std::size_t i = 1; i < 5; ++i) {
    const KnownShape shape = input_shape(node, i, shape_of);
    if (!shape) continue;
    if (shape->size() != 1 || differ((*shape)[0], channels)) {
      bad(node, "parameter " + std::to_string(i) + " has shape " + text_of(*shape) +
                    (channels < 0 ? std::string(" where one dimension is needed")
                                  : " where [" + std::to_string(channels) + "] is needed"));
    }
    channels = (*shape)[0];
  }
}

}  // namespace

void check_weight_shapes(const Node& node, const std::function<KnownShape(std::string_view)>& shape_of) {
  if (node.is("Conv") || node.is("ConvTranspose")) {
    check_convolution(node, shape_of);
  } else if (node.is("Gemm")) {
    check_gemm(node, shape_of);
  } else if (node.is("MatMul")) {
    check_matmul(node, shape_of);
  } else if (node.is("BatchNormalization")) {
    check_batch_normalization(node, shape_of);
  }
}

}  // namespace pajamas
