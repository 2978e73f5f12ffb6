// See transposed_convolution.h. Output block q, of `stride` samples, is the sum over taps m of input q - m times the
// weights m * stride to (m + 1) * stride: a convolution of kernel / stride taps with stride * channels outputs.
#include "targets/openvino/transposed_convolution.h"

#include <cstdint>
#include <limits>
#include <openvino/core/graph_util.hpp>
#include <openvino/core/rt_info.hpp>
#include <openvino/op/constant.hpp>
#include <openvino/op/convolution.hpp>
#include <openvino/op/reshape.hpp>
#include <openvino/op/slice.hpp>
#include <openvino/op/transpose.hpp>
#include <vector>

namespace pajamas::openvino {
namespace {

using ov::op::v0::Constant;

std::shared_ptr<Constant> integers(const std::vector<std::int64_t>& values) {
  return Constant::create(ov::element::i64, ov::Shape{values.size()}, values);
}

void replace(const std::shared_ptr<ov::op::v1::ConvolutionBackpropData>& node) {
  if (node->get_input_size() != 2 || node->get_auto_pad() != ov::op::PadType::EXPLICIT) return;
  const auto constant = std::dynamic_pointer_cast<Constant>(node->get_input_node_shared_ptr(1));
  if (constant == nullptr || constant->get_element_type() != ov::element::f32) return;
  const ov::Shape shape = constant->get_shape();
  if (shape.size() != 3) return;
  const std::size_t num_inputs = shape[0], num_outputs = shape[1], kernel = shape[2];
  const std::size_t stride = node->get_strides().at(0);
  const std::ptrdiff_t pad_begin = node->get_pads_begin().at(0), pad_end = node->get_pads_end().at(0);
  if (stride < 2 || kernel == 0 || kernel % stride != 0 || node->get_dilations().at(0) != 1 ||
      node->get_output_padding().at(0) != 0 || pad_begin < 0 || pad_end < 0) {
    return;
  }
  const std::size_t num_taps = kernel / stride;
  const std::vector<float> weights = constant->cast_vector<float>();
  std::vector<float> plain(weights.size());
  for (std::size_t input = 0; input < num_inputs; ++input) {
    for (std::size_t output = 0; output < num_outputs; ++output) {
      for (std::size_t i = 0; i < kernel; ++i) {
        const std::size_t row = (i % stride) * num_outputs + output, tap = num_taps - 1 - i / stride;
        plain[(row * num_inputs + input) * num_taps + tap] = weights[(input * num_outputs + output) * kernel + i];
      }
    }
  }
  const auto taps = Constant::create(ov::element::f32, ov::Shape{stride * num_outputs, num_inputs, num_taps}, plain);
  const auto border = static_cast<std::ptrdiff_t>(num_taps - 1);
  const auto convolution =
      std::make_shared<ov::op::v1::Convolution>(node->input_value(0), taps, ov::Strides{1}, ov::CoordinateDiff{border},
                                                ov::CoordinateDiff{border}, ov::Strides{1});
  const auto swapped = std::make_shared<ov::op::v1::Transpose>(convolution, integers({0, 2, 1}));
  const auto samples = std::make_shared<ov::op::v1::Reshape>(
      swapped, integers({0, -1, static_cast<std::int64_t>(num_outputs)}), /*special_zero=*/true);
  const std::int64_t stop =
      pad_end > 0 ? -static_cast<std::int64_t>(pad_end) : std::numeric_limits<std::int64_t>::max();
  const auto kept = std::make_shared<ov::op::v8::Slice>(samples, integers({pad_begin}), integers({stop}), integers({1}),
                                                        integers({1}));
  const auto result = std::make_shared<ov::op::v1::Transpose>(kept, integers({0, 2, 1}));
  ov::copy_runtime_info(node, {convolution, swapped, samples, kept, result});
  convolution->set_friendly_name(node->get_friendly_name() + "/plain");
  result->set_friendly_name(node->get_friendly_name());
  ov::replace_node(node, result);
}

}  // namespace

void replace_transposed_convolutions(const std::shared_ptr<ov::Model>& model) {
  for (const std::shared_ptr<ov::Node>& node : model->get_ordered_ops()) {
    if (const auto transposed = std::dynamic_pointer_cast<ov::op::v1::ConvolutionBackpropData>(node)) {
      replace(transposed);
    }
  }
}

}  // namespace pajamas::openvino
