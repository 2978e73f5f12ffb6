// See language_import.h.
#include "targets/openvino/language_import.h"

#include <algorithm>
#include <cmath>
#include <openvino/core/graph_util.hpp>
#include <openvino/frontend/manager.hpp>
#include <openvino/frontend/onnx/extension/conversion.hpp>
#include <openvino/op/add.hpp>
#include <openvino/op/concat.hpp>
#include <openvino/op/constant.hpp>
#include <openvino/op/convert.hpp>
#include <openvino/op/divide.hpp>
#include <openvino/op/gather.hpp>
#include <openvino/op/matmul.hpp>
#include <openvino/op/multiply.hpp>
#include <openvino/op/power.hpp>
#include <openvino/op/reduce_mean.hpp>
#include <openvino/op/reshape.hpp>
#include <openvino/op/sqrt.hpp>
#include <openvino/op/subtract.hpp>
#include <openvino/op/unsqueeze.hpp>
#include <openvino/op/variadic_split.hpp>
#include <optional>
#include <vector>

#include "targets/openvino/paged_attention.h"

namespace pajamas::openvino {

namespace {

using ov::frontend::NodeContext;
using ov::op::v0::Constant;
using ov::op::v0::Convert;
using ov::op::v1::Multiply;
using ov::op::v1::Reshape;
using Value = ov::Output<ov::Node>;

std::shared_ptr<Constant> integers(const std::vector<std::int64_t>& values) {
  return Constant::create(ov::element::i64, ov::Shape{values.size()}, values);
}

std::shared_ptr<Constant> integer(std::int64_t value) {
  return Constant::create(ov::element::i64, ov::Shape{}, {value});
}

std::shared_ptr<Constant> real(const ov::element::Type& type, double value) {
  return Constant::create(type, ov::Shape{}, {value});
}

ov::OutputVector convert_paged_attention(const NodeContext& node) {
  PagedAttentionAttributes attributes;
  attributes.layer_index = node.get_attribute<std::int64_t>("layer_index");
  attributes.num_heads = node.get_attribute<std::int64_t>("num_heads");
  attributes.num_kv_heads = node.get_attribute<std::int64_t>("num_kv_heads");
  attributes.head_dim = node.get_attribute<std::int64_t>("head_dim");
  attributes.scale = node.get_attribute<float>("scale");
  attributes.sliding_window = node.get_attribute<std::int64_t>("sliding_window", 0);
  ov::OutputVector inputs;
  for (std::size_t i = 0; i < node.get_input_size(); ++i) inputs.push_back(node.get_input(static_cast<int>(i)));
  return {std::make_shared<PagedAttentionMark>(inputs, attributes)->output(0)};
}

/// alpha · A · B + beta · C. OpenVINO's own import multiplies and adds even where there is nothing to.
ov::OutputVector convert_gemm(const NodeContext& node) {
  const Value a = node.get_input(0);
  Value result =
      std::make_shared<ov::op::v0::MatMul>(a, node.get_input(1), node.get_attribute<std::int64_t>("transA", 0) != 0,
                                           node.get_attribute<std::int64_t>("transB", 0) != 0);
  const float alpha = node.get_attribute<float>("alpha", 1.0F);
  const float beta = node.get_attribute<float>("beta", 1.0F);
  const ov::element::Type type = a.get_element_type();
  if (alpha != 1.0F) result = std::make_shared<Multiply>(result, real(type, alpha));
  if (node.get_input_size() > 2) {
    Value sum = node.get_input(2);
    if (beta != 1.0F) sum = std::make_shared<Multiply>(sum, real(type, beta));
    result = std::make_shared<ov::op::v1::Add>(result, sum);
  }
  return {result};
}

/// x / sqrt(mean(x²) + ε) · scale, in the form that the plugin fuses.
ov::OutputVector convert_rms_normalization(const NodeContext& node) {
  const Value x = node.get_input(0);
  const Value scale = node.get_input(1);
  const auto axis = node.get_attribute<std::int64_t>("axis", -1);
  const auto rank = static_cast<std::int64_t>(x.get_partial_shape().rank().get_length());
  std::vector<std::int64_t> axes;
  for (std::int64_t i = axis < 0 ? axis : axis - rank; i < 0; ++i) axes.push_back(i);
  const ov::element::Type type = x.get_element_type();
  const auto square = std::make_shared<ov::op::v1::Power>(x, real(type, 2.0));
  const auto mean = std::make_shared<ov::op::v1::ReduceMean>(square, integers(axes), true);
  const auto raised = std::make_shared<ov::op::v1::Add>(mean, real(type, node.get_attribute<float>("epsilon", 1e-5F)));
  const auto root = std::make_shared<ov::op::v0::Sqrt>(raised);
  const auto factor = std::make_shared<ov::op::v1::Divide>(real(type, 1.0), root);
  const auto normal = std::make_shared<Multiply>(x, factor);
  return {std::make_shared<Multiply>(normal, scale)->output(0)};
}

/// X [1, num_tokens, num_heads * head_dim] by cosines and sines [1, num_tokens, rotary_dim / 2]. Every token is a batch
/// of one position to OpenVINO, so that nothing has to be transposed.
ov::OutputVector convert_rotary_embedding(const NodeContext& node) {
  const Value x = node.get_input(0);
  const auto num_heads = node.get_attribute<std::int64_t>("num_heads", 0);
  const ov::PartialShape& shape = x.get_partial_shape();
  OPENVINO_ASSERT(node.get_input_size() == 3 && node.get_attribute<std::int64_t>("interleaved", 0) == 0,
                  "RotaryEmbedding beside PagedAttention takes neither position_ids nor interleaved halves");
  OPENVINO_ASSERT(
      shape.rank() == ov::Rank(3) && shape[2].is_static() && num_heads > 0 && shape[2].get_length() % num_heads == 0,
      "RotaryEmbedding takes X of shape [1, num_tokens, num_heads * head_dim] here");
  const std::int64_t head_dim = shape[2].get_length() / num_heads;
  auto rotary_dim = node.get_attribute<std::int64_t>("rotary_embedding_dim", 0);
  if (rotary_dim == 0) rotary_dim = head_dim;
  OPENVINO_ASSERT(rotary_dim % 2 == 0 && rotary_dim <= head_dim, "RotaryEmbedding turns ", rotary_dim, " of ", head_dim,
                  " dimensions");
  // [num_tokens, 1, 1, rotary_dim]: both halves of a head turn by the same angles.
  const auto both_halves = [&](int input) -> Value {
    const auto half = std::make_shared<Reshape>(node.get_input(input), integers({-1, 1, 1, rotary_dim / 2}), false);
    return std::make_shared<ov::op::v0::Concat>(ov::OutputVector{half, half}, -1);
  };
  const Value cosine = both_halves(1);
  const Value sine = both_halves(2);
  const auto heads = std::make_shared<Reshape>(x, integers({-1, num_heads, 1, head_dim}), false);
  Value turned = heads;
  Value rest;
  if (rotary_dim != head_dim) {
    const auto parts =
        std::make_shared<ov::op::v1::VariadicSplit>(heads, integer(3), integers({rotary_dim, head_dim - rotary_dim}));
    turned = parts->output(0);
    rest = parts->output(1);
  }
  const auto halves =
      std::make_shared<ov::op::v1::VariadicSplit>(turned, integer(3), integers({rotary_dim / 2, rotary_dim / 2}));
  const auto minus = std::make_shared<Multiply>(halves->output(1), real(x.get_element_type(), -1.0));
  const auto crossed = std::make_shared<ov::op::v0::Concat>(ov::OutputVector{minus, halves->output(0)}, -1);
  Value result = std::make_shared<ov::op::v1::Add>(std::make_shared<Multiply>(turned, cosine),
                                                   std::make_shared<Multiply>(crossed, sine));
  if (rest.get_node() != nullptr) {
    result = std::make_shared<ov::op::v0::Concat>(ov::OutputVector{result, rest}, -1);
  }
  return {std::make_shared<Reshape>(result, integers({1, -1, num_heads * head_dim}), false)->output(0)};
}

/// The same storage under another shape, without a Reshape where the value is a constant.
Value reshaped(const Value& value, const ov::Shape& shape) {
  if (const auto constant = std::dynamic_pointer_cast<Constant>(value.get_node_shared_ptr())) {
    return std::make_shared<Constant>(*constant, shape);
  }
  return std::make_shared<Reshape>(value, integers({shape.begin(), shape.end()}), false);
}

/// (q - zero_point) · scale in the form that the plugin keeps compressed: groups are an axis of their own.
ov::OutputVector convert_dequantize(const NodeContext& node) {
  const Value q = node.get_input(0);
  const Value scale = node.get_input(1);
  const bool has_zero_point = node.get_input_size() > 2;
  const ov::PartialShape& open_shape = q.get_partial_shape();
  OPENVINO_ASSERT(open_shape.is_static() && scale.get_partial_shape().is_static(),
                  "DequantizeLinear takes constant weights here");
  const ov::Shape shape = open_shape.to_shape();
  const ov::Shape scale_shape = scale.get_shape();
  auto axis = node.get_attribute<std::int64_t>("axis", 1);
  if (axis < 0) axis += static_cast<std::int64_t>(shape.size());
  const auto block_size = node.get_attribute<std::int64_t>("block_size", 0);
  const auto place = static_cast<std::size_t>(axis);
  ov::Shape grouped = shape;
  ov::Shape factors(shape.size(), 1);
  if (block_size > 0) {
    OPENVINO_ASSERT(place < shape.size() && shape[place] % static_cast<std::size_t>(block_size) == 0,
                    "DequantizeLinear has blocks of ", block_size, " along an axis of ", shape[place]);
    const std::size_t num_groups = shape[place] / static_cast<std::size_t>(block_size);
    factors = shape;
    factors[place] = num_groups;
    OPENVINO_ASSERT(factors == scale_shape, "DequantizeLinear has scales of shape ", scale_shape, ", expected ",
                    factors);
    grouped[place] = num_groups;
    const auto behind = static_cast<std::ptrdiff_t>(place) + 1;
    grouped.insert(grouped.begin() + behind, static_cast<std::size_t>(block_size));
    factors.insert(factors.begin() + behind, 1);
  } else if (ov::shape_size(scale_shape) != 1) {
    OPENVINO_ASSERT(place < shape.size() && scale_shape.size() == 1 && scale_shape[0] == shape[place],
                    "DequantizeLinear has scales of shape ", scale_shape, " for weights of shape ", shape);
    factors[place] = shape[place];
  } else {
    factors.clear();
  }
  const ov::element::Type type = scale.get_element_type();
  Value result = std::make_shared<Convert>(reshaped(q, grouped), type);
  if (has_zero_point) {
    const Value zero_point = std::make_shared<Convert>(reshaped(node.get_input(2), factors), type);
    result = std::make_shared<ov::op::v1::Subtract>(result, zero_point);
  }
  result = std::make_shared<Multiply>(result, reshaped(scale, factors));
  if (grouped != shape) {
    result = std::make_shared<Reshape>(result, integers({shape.begin(), shape.end()}), false);
  }
  return {result};
}

/// `value` [rows, ...] at `rows`, gathered where it is stored, so that only the rows wanted are converted.
Value gathered(const Value& value, const Value& rows, std::size_t num_rows) {
  const std::shared_ptr<ov::Node> node = value.get_node_shared_ptr();
  const auto gather = [&] { return std::make_shared<ov::op::v8::Gather>(value, rows, integer(0))->output(0); };
  if (const auto constant = std::dynamic_pointer_cast<Constant>(node)) {
    const ov::Shape& shape = value.get_shape();
    if (shape.empty() || shape[0] != num_rows || num_rows == 1) return value;
    if (value.get_element_type() == ov::element::u4 || value.get_element_type() == ov::element::i4) {
      // The plugin gathers 4-bit values wrongly where they have zero points or are the weight of a product too.
      const auto bytes = Constant::create(ov::element::i8, shape, constant->cast_vector<std::int8_t>());
      return std::make_shared<ov::op::v8::Gather>(bytes, rows, integer(0));
    }
    return gather();
  }
  if (std::dynamic_pointer_cast<Convert>(node) != nullptr) {
    return std::make_shared<Convert>(gathered(node->input_value(0), rows, num_rows), node->get_element_type());
  }
  const bool is_pairwise = std::dynamic_pointer_cast<ov::op::v1::Subtract>(node) != nullptr ||
                           std::dynamic_pointer_cast<ov::op::v1::Add>(node) != nullptr ||
                           std::dynamic_pointer_cast<Multiply>(node) != nullptr;
  if (is_pairwise) {
    return node->clone_with_new_inputs(
        {gathered(node->input_value(0), rows, num_rows), gathered(node->input_value(1), rows, num_rows)});
  }
  if (std::dynamic_pointer_cast<Reshape>(node) != nullptr && value.get_partial_shape().is_static() &&
      node->get_input_partial_shape(0).is_static() && node->get_input_shape(0)[0] == num_rows) {
    std::vector<std::int64_t> shape(value.get_shape().begin(), value.get_shape().end());
    shape[0] = -1;
    return std::make_shared<Reshape>(gathered(node->input_value(0), rows, num_rows), integers(shape), false);
  }
  return gather();
}

bool is_computed_from_constants(const Value& value) {
  const ov::Node* node = value.get_node();
  if (dynamic_cast<const Constant*>(node) != nullptr) return true;
  if (node->get_input_size() == 0) return false;
  for (const Value& input : node->input_values()) {
    if (!is_computed_from_constants(input)) return false;
  }
  return true;
}

/// An embedding table that is stored in another form than it is used in would be converted whole, into memory.
void gather_stored_rows(const std::shared_ptr<ov::Model>& model) {
  for (const std::shared_ptr<ov::Node>& node : model->get_ordered_ops()) {
    const auto gather = std::dynamic_pointer_cast<ov::op::util::GatherBase>(node);
    if (gather == nullptr || gather->get_batch_dims() != 0) continue;
    const auto axis = std::dynamic_pointer_cast<Constant>(gather->get_input_node_shared_ptr(2));
    const Value table = gather->input_value(0);
    const Value rows = gather->input_value(1);
    if (axis == nullptr || axis->cast_vector<std::int64_t>().at(0) != 0 || rows.get_partial_shape().rank() != 1 ||
        std::dynamic_pointer_cast<Constant>(table.get_node_shared_ptr()) != nullptr ||
        !table.get_partial_shape().is_static() || !is_computed_from_constants(table)) {
      continue;
    }
    const Value result = gathered(table, rows, table.get_shape()[0]);
    result.get_node()->set_friendly_name(gather->get_friendly_name());
    gather->output(0).replace(result);
  }
}

/// The numbers of a constant, also through a Convert; nothing for other values.
std::optional<std::vector<float>> numbers_of(const Value& value) {
  const ov::Node* node = value.get_node();
  if (dynamic_cast<const Convert*>(node) != nullptr) node = node->get_input_node_ptr(0);
  const auto* constant = dynamic_cast<const Constant*>(node);
  if (constant == nullptr || !constant->get_element_type().is_real()) return std::nullopt;
  return constant->cast_vector<float>();
}

/// q · d + m becomes (q + m / d) · d: the plugin multiplies by weights as they are stored when a zero point is
/// subtracted, a float one too, but unpacks them into floats, for good, when a minimum is added (seen in 2026.4: a
/// product of Q4_1 then takes eight times the memory and four times the time). Equal but for rounding of |m| · 2^-24.
void turn_minimums_into_zero_points(const std::shared_ptr<ov::Model>& model) {
  for (const std::shared_ptr<ov::Node>& node : model->get_ordered_ops()) {
    if (std::dynamic_pointer_cast<ov::op::v1::Add>(node) == nullptr) continue;
    const auto minimums = numbers_of(node->input_value(1));
    Value matrix = node->input_value(0);
    while (std::dynamic_pointer_cast<Reshape>(matrix.get_node_shared_ptr()) != nullptr) {
      matrix = matrix.get_node()->input_value(0);
    }
    const auto product = std::dynamic_pointer_cast<Multiply>(matrix.get_node_shared_ptr());
    if (!minimums || product == nullptr || product->get_output_partial_shape(0) != node->get_output_partial_shape(0)) {
      continue;
    }
    const auto quantised = std::dynamic_pointer_cast<Convert>(product->get_input_node_shared_ptr(0));
    Value scale = product->input_value(1);
    if (std::dynamic_pointer_cast<Reshape>(scale.get_node_shared_ptr()) != nullptr) {
      scale = scale.get_node()->input_value(0);
    }
    auto scales = numbers_of(scale);
    if (quantised == nullptr || !scales || scales->size() != minimums->size() ||
        std::dynamic_pointer_cast<Constant>(quantised->get_input_node_shared_ptr(0)) == nullptr) {
      continue;
    }
    const ov::Shape shape = node->get_input_shape(1);
    if (ov::shape_size(shape) != scales->size() || product->get_input_shape(1) != shape) continue;
    std::vector<float> zero_points(scales->size());
    for (std::size_t i = 0; i < zero_points.size(); ++i) {
      float& factor = (*scales)[i];
      const float minimum = (*minimums)[i];
      // A group of one value: beside a zero point of 2^30 the integers, below 2^6, are lost in rounding.
      if (std::fabs(minimum) > std::fabs(factor) * 0x1p24F) factor = minimum * 0x1p-30F;
      if (minimum != 0) zero_points[i] = -minimum / factor;
    }
    const ov::element::Type type = product->get_output_element_type(0);
    const auto shifted = std::make_shared<ov::op::v1::Subtract>(quantised, Constant::create(type, shape, zero_points));
    const auto result = std::make_shared<Multiply>(shifted, Constant::create(type, shape, *scales));
    result->set_friendly_name(node->get_friendly_name());
    node->output(0).replace(result->output(0));
  }
}

}  // namespace

std::int64_t num_table_rows(const ov::Model& model, const std::string& input) {
  std::int64_t result = 0;
  for (const std::shared_ptr<ov::Node>& node : model.get_ordered_ops()) {
    const auto gather = std::dynamic_pointer_cast<ov::op::util::GatherBase>(node);
    if (gather == nullptr || gather->get_input_tensor(1).get_names().count(input) == 0) continue;
    const ov::PartialShape& table = gather->get_input_partial_shape(0);
    if (table.rank().is_dynamic() || table.size() == 0 || table[0].is_dynamic()) continue;
    const std::int64_t num_rows = table[0].get_length();
    if (result == 0 || num_rows < result) result = num_rows;
  }
  return result;
}

std::shared_ptr<ov::Model> read_language_model(const std::filesystem::path& path) {
  using ov::frontend::onnx::ConversionExtension;
  // A front end of its own: extensions of the Core would hold for all models.
  ov::frontend::FrontEndManager manager;
  const ov::frontend::FrontEnd::Ptr importer = manager.load_by_framework("onnx");
  importer->add_extension(std::make_shared<ConversionExtension>("PagedAttention", "pajamas", convert_paged_attention));
  importer->add_extension(std::make_shared<ConversionExtension>("RMSNormalization", convert_rms_normalization));
  importer->add_extension(std::make_shared<ConversionExtension>("RotaryEmbedding", convert_rotary_embedding));
  importer->add_extension(std::make_shared<ConversionExtension>("Gemm", convert_gemm));
  importer->add_extension(std::make_shared<ConversionExtension>("DequantizeLinear", convert_dequantize));
  constexpr bool kIsMapped = true;
  const std::shared_ptr<ov::Model> model = importer->convert(importer->load(path.string(), kIsMapped));
  gather_stored_rows(model);
  turn_minimums_into_zero_points(model);
  insert_paged_attention(model);
  return model;
}

}  // namespace pajamas::openvino
