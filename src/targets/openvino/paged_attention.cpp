// See paged_attention.h.
#include "targets/openvino/paged_attention.h"

#include <openvino/op/assign.hpp>
#include <openvino/op/broadcast.hpp>
#include <openvino/op/concat.hpp>
#include <openvino/op/constant.hpp>
#include <openvino/op/gather.hpp>
#include <openvino/op/parameter.hpp>
#include <openvino/op/read_value.hpp>
#include <openvino/op/reshape.hpp>
#include <openvino/op/result.hpp>
#include <openvino/op/scaled_dot_product_attention.hpp>
#include <openvino/op/shape_of.hpp>
#include <openvino/op/transpose.hpp>
#include <openvino/op/unsqueeze.hpp>
#include <openvino/op/util/variable.hpp>
#include <openvino/pass/manager.hpp>
#include <openvino/pass/sdpa_to_paged_attention.hpp>
#include <set>

#include "pajamas/error.h"
#include "targets/openvino/openvino_library.h"

namespace pajamas::openvino {

namespace {

using ov::op::v0::Constant;
using ov::op::v0::Parameter;

/// Inputs of OpenVINO's operator that are given here; those behind max_context_len turn on what is not used (score
/// aggregation, cache rotation, sparse attention, sinks), and stay what the pass put there: empty.
enum PagedInput : std::size_t {
  kQuery,
  kKey,
  kValue,
  kKeyCache,
  kValueCache,
  kPastLens,
  kSubsequenceBegins,
  kBlockIndices,
  kBlockIndicesBegins,
  kScale,
  kSlidingWindow,
  kAlibiSlopes,
  kMaxContextLen,
  kFewestInputs
};

std::shared_ptr<Constant> integers(const std::vector<std::int64_t>& values) {
  return Constant::create(ov::element::i64, ov::Shape{values.size()}, values);
}

std::shared_ptr<Constant> integer(std::int64_t value) {
  return Constant::create(ov::element::i64, ov::Shape{}, {value});
}

std::shared_ptr<Parameter> named_input(const ov::element::Type& type, const ov::PartialShape& shape, const char* name) {
  auto input = std::make_shared<Parameter>(type, shape);
  input->set_friendly_name(name);
  input->output(0).set_names({name});
  return input;
}

/// Attention of one head of width 1 with a state, in the form that SDPAToPagedAttention looks for.
std::shared_ptr<ov::Model> stateful_attention() {
  const auto input_ids = named_input(ov::element::i64, {-1, -1}, "input_ids");
  const auto position_ids = named_input(ov::element::i64, {-1, -1}, "position_ids");
  const auto mask = named_input(ov::element::i64, {-1, -1}, "attention_mask");
  const auto beam = named_input(ov::element::i32, {-1}, "beam_idx");
  const auto table = Constant::create(ov::element::f32, ov::Shape{1, 1}, {1.0F});
  const auto embedded = std::make_shared<ov::op::v8::Gather>(table, input_ids, integer(0));
  const auto head = [&] {
    const auto split = std::make_shared<ov::op::v1::Reshape>(embedded, integers({0, 0, 1, 1}), true);
    return std::make_shared<ov::op::v1::Transpose>(split, integers({0, 2, 1, 3}));
  };
  const auto batch =
      std::make_shared<ov::op::v8::Gather>(std::make_shared<ov::op::v3::ShapeOf>(input_ids), integers({0}), integer(0));
  const auto nothing = std::make_shared<ov::op::v3::Broadcast>(
      Constant::create(ov::element::f32, ov::Shape{}, {0.0F}),
      std::make_shared<ov::op::v0::Concat>(ov::OutputVector{batch, integers({1}), integers({0}), integers({1})}, 0));
  ov::SinkVector sinks;
  const auto remembered = [&](const char* name) {
    const auto variable = std::make_shared<ov::op::util::Variable>(
        ov::op::util::VariableInfo{ov::PartialShape{-1, 1, -1, 1}, ov::element::f32, name});
    const auto past = std::make_shared<ov::op::v8::Gather>(std::make_shared<ov::op::v6::ReadValue>(nothing, variable),
                                                           beam, integer(0));
    const auto all = std::make_shared<ov::op::v0::Concat>(ov::OutputVector{past, head()}, 2);
    sinks.push_back(std::make_shared<ov::op::v6::Assign>(all, variable));
    return all;
  };
  const auto keys = remembered("past_key_values.0.key");
  const auto values = remembered("past_key_values.0.value");
  const auto length =
      std::make_shared<ov::op::v8::Gather>(std::make_shared<ov::op::v3::ShapeOf>(keys), integers({2}), integer(0));
  const auto bias = std::make_shared<ov::op::v3::Broadcast>(
      Constant::create(ov::element::f32, ov::Shape{}, {0.0F}),
      std::make_shared<ov::op::v0::Concat>(ov::OutputVector{integers({1}), integers({1}), integers({1}), length}, 0));
  const auto attention = std::make_shared<ov::op::v13::ScaledDotProductAttention>(
      head(), keys, values, bias, Constant::create(ov::element::f32, ov::Shape{}, {1.0F}), false);
  const auto joined = std::make_shared<ov::op::v1::Reshape>(
      std::make_shared<ov::op::v1::Transpose>(attention, integers({0, 2, 1, 3})), integers({0, 0, -1}), true);
  return std::make_shared<ov::Model>(ov::ResultVector{std::make_shared<ov::op::v0::Result>(joined)}, sinks,
                                     ov::ParameterVector{input_ids, position_ids, mask, beam});
}

/// OpenVINO's operator as its own pass makes it, with all inputs that this version wants.
std::shared_ptr<ov::Node> make_prototype() {
  const std::shared_ptr<ov::Model> model = stateful_attention();
  ov::pass::Manager passes;
  passes.register_pass<ov::pass::SDPAToPagedAttention>();
  passes.run_passes(model);
  for (const std::shared_ptr<ov::Node>& node : model->get_ordered_ops()) {
    if (std::string_view(node->get_type_name()) != "PagedAttentionExtension") continue;
    const bool is_known = node->get_input_size() >= kFewestInputs &&
                          node->get_input_partial_shape(kMaxContextLen).is_static() &&
                          dynamic_cast<const Parameter*>(node->get_input_node_ptr(kKeyCache)) != nullptr &&
                          dynamic_cast<const Constant*>(node->get_input_node_ptr(kScale)) != nullptr &&
                          dynamic_cast<const Constant*>(node->get_input_node_ptr(kSlidingWindow)) != nullptr;
    if (!is_known) break;
    return node;
  }
  throw Error(ErrorKind::kInternal,
              "this OpenVINO (" + library_version() + ") has another paged attention than the target knows", {},
              "use the OpenVINO that ./dev setup installs");
}

}  // namespace

PagedAttentionMark::PagedAttentionMark(const ov::OutputVector& inputs, const PagedAttentionAttributes& attributes)
    : Op(inputs), attributes_(attributes) {
  constructor_validate_and_infer_types();
}

void PagedAttentionMark::validate_and_infer_types() {
  const ov::PartialShape& query = get_input_partial_shape(0);
  const ov::PartialShape& value = get_input_partial_shape(2);
  OPENVINO_ASSERT(attributes_.num_heads > 0 && attributes_.num_kv_heads > 0 &&
                      attributes_.num_heads % attributes_.num_kv_heads == 0 && attributes_.head_dim > 0,
                  "PagedAttention has ", attributes_.num_heads, " heads over ", attributes_.num_kv_heads,
                  " of keys, of width ", attributes_.head_dim);
  OPENVINO_ASSERT(query.rank().compatible(2) && value.rank().compatible(2) && value.rank().is_static() &&
                      value[1].is_static() && value[1].get_length() % attributes_.num_kv_heads == 0,
                  "PagedAttention takes query, key and value of rank 2 and known width");
  value_dim_ = value[1].get_length() / attributes_.num_kv_heads;
  ov::PartialShape output{query.rank().is_static() ? query[0] : ov::Dimension::dynamic(),
                          attributes_.num_heads * value_dim_};
  set_output_type(0, get_input_element_type(0), output);
}

std::shared_ptr<ov::Node> PagedAttentionMark::clone_with_new_inputs(const ov::OutputVector& inputs) const {
  return std::make_shared<PagedAttentionMark>(inputs, attributes_);
}

bool PagedAttentionMark::visit_attributes(ov::AttributeVisitor& visitor) {
  visitor.on_attribute("layer_index", attributes_.layer_index);
  visitor.on_attribute("num_heads", attributes_.num_heads);
  visitor.on_attribute("num_kv_heads", attributes_.num_kv_heads);
  visitor.on_attribute("head_dim", attributes_.head_dim);
  visitor.on_attribute("scale", attributes_.scale);
  visitor.on_attribute("sliding_window", attributes_.sliding_window);
  return true;
}

std::string key_cache_name(std::int64_t layer_index) { return "key_cache." + std::to_string(layer_index); }

std::string value_cache_name(std::int64_t layer_index) { return "value_cache." + std::to_string(layer_index); }

void insert_paged_attention(const std::shared_ptr<ov::Model>& model) {
  static const std::shared_ptr<ov::Node> kPrototype = make_prototype();
  ov::ParameterVector caches;
  std::set<std::int64_t> layers;
  for (const std::shared_ptr<ov::Node>& node : model->get_ordered_ops()) {
    const auto mark = std::dynamic_pointer_cast<PagedAttentionMark>(node);
    if (mark == nullptr) continue;
    const PagedAttentionAttributes& attributes = mark->attributes();
    if (!layers.insert(attributes.layer_index).second) {
      throw Error(ErrorKind::kUnsupported,
                  "two PagedAttention nodes use cache layer " + std::to_string(attributes.layer_index),
                  "node '" + mark->get_friendly_name() + "'", "number the layers of the graph from 0");
    }
    const auto cache = [&](const std::string& name) {
      caches.push_back(named_input(ov::element::dynamic, ov::PartialShape::dynamic(ov::Rank(4)), name.c_str()));
      return caches.back();
    };
    ov::OutputVector inputs = kPrototype->input_values();
    inputs[kQuery] = mark->input_value(0);
    inputs[kKey] = mark->input_value(1);
    inputs[kValue] = mark->input_value(2);
    inputs[kKeyCache] = cache(key_cache_name(attributes.layer_index));
    inputs[kValueCache] = cache(value_cache_name(attributes.layer_index));
    inputs[kPastLens] = mark->input_value(3);
    inputs[kSubsequenceBegins] = mark->input_value(4);
    inputs[kBlockIndices] = mark->input_value(5);
    inputs[kBlockIndicesBegins] = mark->input_value(6);
    inputs[kMaxContextLen] = mark->input_value(7);
    inputs[kScale] = Constant::create(ov::element::f32, ov::Shape{}, {attributes.scale});
    inputs[kSlidingWindow] =
        Constant::create(ov::element::i32, ov::Shape{}, {static_cast<std::int32_t>(attributes.sliding_window)});
    const std::shared_ptr<ov::Node> attention = kPrototype->clone_with_new_inputs(inputs);
    // The plugin reads the shape of the caches' blocks from these.
    attention->get_rt_info()["num_k_heads"] = static_cast<std::size_t>(attributes.num_kv_heads);
    attention->get_rt_info()["num_v_heads"] = static_cast<std::size_t>(attributes.num_kv_heads);
    attention->get_rt_info()["k_head_size"] = static_cast<std::size_t>(attributes.head_dim);
    attention->get_rt_info()["v_head_size"] = static_cast<std::size_t>(mark->value_dim());
    attention->set_friendly_name(mark->get_friendly_name());
    mark->output(0).replace(attention->output(0));
  }
  if (!layers.empty() && *layers.rbegin() + 1 != static_cast<std::int64_t>(layers.size())) {
    throw Error(ErrorKind::kUnsupported,
                "the graph has " + std::to_string(layers.size()) + " cache layers, but one is numbered " +
                    std::to_string(*layers.rbegin()),
                {}, "number the layers of the graph from 0 without gaps");
  }
  model->add_parameters(caches);
  model->validate_nodes_and_infer_types();
}

}  // namespace pajamas::openvino
