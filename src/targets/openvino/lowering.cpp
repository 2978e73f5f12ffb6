// See lowering.h.
#include "targets/openvino/lowering.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <openvino/core/graph_util.hpp>
#include <openvino/op/constant.hpp>
#include <openvino/op/convert.hpp>
#include <openvino/op/convert_like.hpp>
#include <openvino/op/divide.hpp>
#include <openvino/op/equal.hpp>
#include <openvino/op/fake_quantize.hpp>
#include <openvino/op/greater.hpp>
#include <openvino/op/matmul.hpp>
#include <openvino/op/maximum.hpp>
#include <openvino/op/multiply.hpp>
#include <openvino/op/non_max_suppression.hpp>
#include <openvino/op/prelu.hpp>
#include <openvino/op/range.hpp>
#include <openvino/op/reduce_max.hpp>
#include <openvino/op/reduce_min.hpp>
#include <openvino/op/select.hpp>
#include <openvino/op/softmax.hpp>
#include <openvino/op/split.hpp>
#include <openvino/op/topk.hpp>
#include <openvino/op/util/multi_subgraph_base.hpp>
#include <openvino/op/util/op_types.hpp>
#include <string>
#include <unordered_map>

#include "pajamas/error.h"

namespace pajamas::openvino {

namespace {

using ov::op::v0::Constant;

/// ONNX: "given two equivalent values, the lower index comes first". OpenVINO's default algorithm promises no order,
/// its stable one costs 9 ms instead of 0.1 ms for 300 of 8,400 (measured on 2 cores of a Sapphire Rapids).
void make_stable(const std::shared_ptr<ov::op::util::TopKBase>& top_k) {
  const auto newest = std::dynamic_pointer_cast<ov::op::v11::TopK>(top_k);
  if (newest != nullptr && newest->get_stable()) return;
  using Sort = ov::op::TopKSortType;
  // Unsorted results (sorted = 0) may come in any order; the stable algorithm needs one.
  const Sort sort = top_k->get_sort_type() == Sort::NONE ? Sort::SORT_VALUES : top_k->get_sort_type();
  const auto stable =
      std::make_shared<ov::op::v11::TopK>(top_k->input_value(0), top_k->input_value(1), top_k->get_provided_axis(),
                                          top_k->get_mode(), sort, top_k->get_index_element_type(), /*stable=*/true);
  stable->set_friendly_name(top_k->get_friendly_name());
  ov::replace_node(top_k, stable);
}

/// A scalar of any floating-point type; Constant::create refuses infinities of the 16-bit types.
std::shared_ptr<Constant> scalar(const ov::element::Type& type, float value) {
  if (type == ov::element::f16) {
    const ov::float16 half(value);
    return std::make_shared<Constant>(type, ov::Shape{}, &half);
  }
  if (type == ov::element::bf16) {
    const ov::bfloat16 half(value);
    return std::make_shared<Constant>(type, ov::Shape{}, &half);
  }
  return Constant::create(type, ov::Shape{}, {value});
}

/// OpenVINO starts from the largest finite number, so that the maximum of an all-masked row is not -inf. Where a
/// maximum over 0 (infinite element) and 1 (any other) finds no 1, the result is that infinity.
template <typename Reduction>
void keep_infinity(const std::shared_ptr<Reduction>& reduction, float start) {
  const ov::Output<ov::Node> data = reduction->input_value(0);
  const ov::Output<ov::Node> axes = reduction->input_value(1);
  const ov::element::Type type = data.get_element_type();
  if (!type.is_real()) return;
  const auto infinity = scalar(type, start);
  const auto zero = scalar(type, 0.0F);
  const auto is_infinite = std::make_shared<ov::op::v1::Equal>(data, infinity);
  const auto marks = std::make_shared<ov::op::v1::Select>(is_infinite, zero, scalar(type, 1.0F));
  const auto has_mark = std::make_shared<ov::op::v1::ReduceMax>(marks, axes, reduction->get_keep_dims());
  const auto has_other = std::make_shared<ov::op::v1::Greater>(has_mark, zero);
  const auto again = std::make_shared<Reduction>(data, axes, reduction->get_keep_dims());
  const auto result = std::make_shared<ov::op::v1::Select>(has_other, again, infinity);
  again->set_friendly_name(reduction->get_friendly_name() + "/finite");
  result->set_friendly_name(reduction->get_friendly_name());
  ov::replace_node(reduction, result);
}

/// ONNX suppresses a box whose overlap is larger than the threshold, OpenVINO one that is not smaller: the next larger
/// float makes them agree. At least FLT_MIN, because smaller ones count as zero on the CPU.
void exclude_threshold(const std::shared_ptr<ov::Node>& suppression) {
  constexpr std::size_t kIouThreshold = 3;
  if (suppression->get_input_size() <= kIouThreshold) return;
  const ov::Output<ov::Node> threshold = suppression->input_value(kIouThreshold);
  if (threshold.get_element_type() != ov::element::f32) return;
  if (const auto constant = std::dynamic_pointer_cast<Constant>(threshold.get_node_shared_ptr())) {
    const float value = constant->cast_vector<float>().at(0);
    const float next =
        std::max(std::nextafter(value, std::numeric_limits<float>::infinity()), std::numeric_limits<float>::min());
    suppression->input(kIouThreshold)
        .replace_source_output(Constant::create(ov::element::f32, constant->get_shape(), {next}));
    return;
  }
  const auto factor = Constant::create(ov::element::f32, ov::Shape{}, {1.0F + std::numeric_limits<float>::epsilon()});
  const auto smallest = Constant::create(ov::element::f32, ov::Shape{}, {std::numeric_limits<float>::min()});
  const auto next = std::make_shared<ov::op::v1::Multiply>(threshold, factor);
  suppression->input(kIouThreshold).replace_source_output(std::make_shared<ov::op::v1::Maximum>(next, smallest));
}

/// What is wrong with a node of open extents; empty when nothing is. Each was found by `conformance --dynamic`.
std::string open_shape_fault(const ov::Node& node) {
  const auto is_open = [&node](std::size_t input) { return node.get_input_partial_shape(input).is_dynamic(); };
  if (const auto* split = dynamic_cast<const ov::op::v1::Split*>(&node)) {
    const ov::PartialShape& shape = node.get_input_partial_shape(0);
    const auto axis = std::dynamic_pointer_cast<Constant>(split->get_input_node_shared_ptr(1));
    if (shape.rank().is_dynamic() || axis == nullptr) return "OpenVINO splits an axis of open extent wrongly";
    std::int64_t index = axis->cast_vector<std::int64_t>().at(0);
    if (index < 0) index += static_cast<std::int64_t>(shape.size());
    if (shape[static_cast<std::size_t>(index)].is_dynamic()) return "OpenVINO splits an axis of open extent wrongly";
  }
  if (dynamic_cast<const ov::op::v0::PRelu*>(&node) != nullptr && is_open(1)) {
    return "OpenVINO computes PRelu wrongly when the extents of the slope are open";
  }
  if (dynamic_cast<const ov::op::v0::FakeQuantize*>(&node) != nullptr && (is_open(1) || is_open(2))) {
    return "OpenVINO quantises wrongly when the number of scales is open";
  }
  const ov::element::Type type = node.get_output_size() > 0 ? node.get_output_element_type(0) : ov::element::dynamic;
  const bool is_output_open = node.get_output_size() > 0 && node.get_output_partial_shape(0).is_dynamic();
  if (dynamic_cast<const ov::op::v1::Divide*>(&node) != nullptr && is_output_open && type.is_integral_number() &&
      type.size() == 1) {
    return "OpenVINO divides 8-bit integers wrongly when the extents are open";
  }
  const bool is_conversion = dynamic_cast<const ov::op::v0::Convert*>(&node) != nullptr ||
                             dynamic_cast<const ov::op::v1::ConvertLike*>(&node) != nullptr;
  if (is_conversion && is_output_open && type == ov::element::bf16) {
    return "OpenVINO truncates to bfloat16, instead of rounding, when the extents are open";
  }
  if (dynamic_cast<const ov::op::v4::Range*>(&node) != nullptr && type == ov::element::bf16) {
    return "OpenVINO dies of ranges of bfloat16";
  }
  return {};
}

}  // namespace

void lower_for_openvino(const std::shared_ptr<ov::Model>& model) {
  for (const std::shared_ptr<ov::Node>& node : model->get_ordered_ops()) {
    if (const auto nested = std::dynamic_pointer_cast<ov::op::util::MultiSubGraphOp>(node)) {
      for (const std::shared_ptr<ov::Model>& body : nested->get_functions()) lower_for_openvino(body);
    } else if (const auto top_k = std::dynamic_pointer_cast<ov::op::util::TopKBase>(node)) {
      make_stable(top_k);
    } else if (const auto maximum = std::dynamic_pointer_cast<ov::op::v1::ReduceMax>(node)) {
      keep_infinity(maximum, -std::numeric_limits<float>::infinity());
    } else if (const auto minimum = std::dynamic_pointer_cast<ov::op::v1::ReduceMin>(node)) {
      keep_infinity(minimum, std::numeric_limits<float>::infinity());
    } else if (std::dynamic_pointer_cast<ov::op::v9::NonMaxSuppression>(node) != nullptr ||
               std::dynamic_pointer_cast<ov::op::v5::NonMaxSuppression>(node) != nullptr) {
      exclude_threshold(node);
    }
  }
}

void check_open_shapes(const std::shared_ptr<ov::Model>& model) {
  for (const std::shared_ptr<ov::Node>& node : model->get_ordered_ops()) {
    if (const auto nested = std::dynamic_pointer_cast<ov::op::util::MultiSubGraphOp>(node)) {
      for (const std::shared_ptr<ov::Model>& body : nested->get_functions()) check_open_shapes(body);
    }
    if (const std::string reason = open_shape_fault(*node); !reason.empty()) {
      throw Error(ErrorKind::kUnsupported, reason, "node '" + node->get_friendly_name() + "'",
                  "build with fixed --shapes, or export the model with fixed extents");
    }
  }
}

std::size_t longest_elementwise_run(const std::shared_ptr<ov::Model>& model) {
  std::unordered_map<const ov::Node*, std::size_t> runs;
  std::size_t longest = 0;
  for (const std::shared_ptr<ov::Node>& node : model->get_ordered_ops()) {
    if (const auto nested = std::dynamic_pointer_cast<ov::op::util::MultiSubGraphOp>(node)) {
      for (const std::shared_ptr<ov::Model>& body : nested->get_functions()) {
        longest = std::max(longest, longest_elementwise_run(body));
      }
    }
    if (!ov::op::util::is_unary_elementwise_arithmetic(node.get()) &&
        !ov::op::util::is_binary_elementwise_arithmetic(node.get()) &&
        !ov::op::util::is_binary_elementwise_comparison(node.get()) &&
        !ov::op::util::is_binary_elementwise_logical(node.get())) {
      continue;
    }
    std::size_t before = 0;
    for (std::size_t i = 0; i < node->get_input_size(); ++i) {
      const auto found = runs.find(node->get_input_node_ptr(i));
      if (found != runs.end()) before = std::max(before, found->second);
    }
    longest = std::max(longest, runs[node.get()] = before + 1);
  }
  return longest;
}

bool has_open_attention(const std::shared_ptr<ov::Model>& model) {
  for (const std::shared_ptr<ov::Node>& node : model->get_ordered_ops()) {
    if (!ov::is_type<ov::op::v1::Softmax>(node) && !ov::is_type<ov::op::v8::Softmax>(node)) continue;
    const ov::PartialShape& shape = node->get_output_partial_shape(0);
    if (shape.rank().is_static() && (shape.size() == 0 || shape[shape.size() - 1].is_static())) continue;
    for (const ov::Input<ov::Node>& use : node->get_output_target_inputs(0)) {
      if (ov::is_type<ov::op::v0::MatMul>(use.get_node())) return true;
    }
  }
  return false;
}

}  // namespace pajamas::openvino
