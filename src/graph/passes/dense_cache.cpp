// Attention over a cache that a step takes and gives. See dense_cache.h.
//
// What is written and what is seen is decided by comparing places, not by scattering or joining: every shape but the
// number of sequences and of tokens is fixed, so a GPU target prepares one form of the step, and the operators (Gather,
// Where, MatMul) are those that every target has.
#include "graph/passes/dense_cache.h"

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "graph/graph_builder.h"
#include "graph/passes/node_writer.h"
#include "graph/passes/paged_attention_node.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

/// Score of a place that is not seen. e^-30000 is 0 in every type, and float16 holds the number.
constexpr float kUnseen = -30000.0F;
/// Input of the tokens of a step (docs/language.md).
constexpr const char* kTokens = "input_ids";

class DenseCacheWriter : private NodeWriter {
 public:
  DenseCacheWriter(Model& model, std::int64_t capacity) : NodeWriter(model.graph), model_(model), capacity_(capacity) {}

  PassReport run() {
    return replace_paged_attention(model_, "dense_cache", [&](const Node& node, const PagedAttentionNode& call) {
      if (!layers_.insert(call.layer_index).second) {
        throw Error(ErrorKind::kBadInput, "has the layer_index of another call", node.describe());
      }
      declare_step();
      expand(node, call);
    });
  }

 private:
  std::string transposed(const std::string& value, std::vector<std::int64_t> order) {
    return add("Transpose", {value}, {{"perm", std::move(order)}});
  }

  /// The inputs that all layers share, once.
  void declare_step() {
    if (!step_shape_.empty()) return;
    scope_ = "dense_cache";
    if (graph_.find_input(kTokens) == nullptr) {
      throw Error(ErrorKind::kBadInput, "the decoder has no input 'input_ids'", {}, "give a graph of docs/language.md");
    }
    graph_.inputs.push_back(tensor_value("past_len", DType::kInt64, {Dimension::known(1)}));
    graph_.inputs.push_back(tensor_value("parents", DType::kInt64, {Dimension::named("num_sequences")}));
    // How the tokens divide is worked out from the inputs alone: a -1 in each layer would have a target that must bound
    // all shapes (TensorRT) multiply its bounds from layer to layer.
    const std::string by_sequence =
        add("Concat", {add("Shape", {"parents"}), integers({-1})}, {{"axis", std::int64_t{0}}});
    step_shape_ = add("Shape", {add("Reshape", {kTokens, by_sequence})});
    std::vector<std::int64_t> places(static_cast<std::size_t>(capacity_));
    for (std::size_t i = 0; i < places.size(); ++i) places[i] = static_cast<std::int64_t>(i);
    places_ = integers(places);
  }

  /// [num_tokens, heads * head_dim] to [num_sequences, tokens of each, extents...].
  std::string split(const std::string& value, std::vector<std::int64_t> extents) {
    return add("Reshape", {value, add("Concat", {step_shape_, integers(extents)}, {{"axis", std::int64_t{0}}})});
  }

  /// From the number of tokens that each sequence brings: which places are new, and which of the new tokens goes there.
  void find_places() {
    scope_ = "dense_cache";
    const std::string one = integers({1}), zero = integers({0});
    const std::string num_new = add("Gather", {step_shape_, one});  // [1]
    const std::string age = add("Sub", {places_, "past_len"});      // [capacity], of the first new token 0
    const std::string is_new = add("And", {add("GreaterOrEqual", {age, zero}), add("Less", {age, num_new})});
    is_new_ = add("Unsqueeze", {is_new, one});
    // Places that are not new take any token: Where drops it.
    token_at_ = add("Min", {add("Max", {age, zero}), add("Sub", {num_new, one})});
    const std::string scalar_zero = constant(Tensor::scalar<std::int64_t>(0));
    const std::string scalar_one = constant(Tensor::scalar<std::int64_t>(1));
    const std::string token = add("Range", {scalar_zero, add("Squeeze", {num_new, zero}), scalar_one});
    place_of_token_ = add("Unsqueeze", {add("Add", {token, "past_len"}), one});  // [tokens of each, 1]
  }

  /// bool [tokens of each, capacity]. One for each window.
  const std::string& seen(std::int64_t window) {
    const auto known = seen_by_window_.find(window);
    if (known != seen_by_window_.end()) return known->second;
    scope_ = "dense_cache";
    std::string is_seen = add("LessOrEqual", {places_, place_of_token_});
    if (window > 0) {
      is_seen = add("And", {is_seen, add("Greater", {places_, add("Sub", {place_of_token_, integers({window})})})});
    }
    return seen_by_window_.emplace(window, is_seen).first->second;
  }

  /// The cache with the new tokens in it, as an output of the graph. `fresh`: [num_sequences, heads, tokens, head_dim].
  std::string updated(const char* kind, const PagedAttentionNode& call, const std::string& fresh) {
    const std::string suffix = std::string(kind) + "." + std::to_string(call.layer_index);
    const auto shape = [&](const char* rows) {
      return std::vector<Dimension>{Dimension::named(rows), Dimension::known(call.num_kv_heads),
                                    Dimension::known(capacity_), Dimension::known(call.head_dim)};
    };
    graph_.inputs.push_back(tensor_value("past_" + suffix, DType::kFloat32, shape("num_past_sequences")));
    const std::string kept = add("Gather", {"past_" + suffix, "parents"}, {{"axis", std::int64_t{0}}});
    const std::string placed = add("Gather", {fresh, token_at_}, {{"axis", std::int64_t{2}}});
    add("Where", {is_new_, placed, kept});
    graph_.nodes.back().outputs = {"present_" + suffix};
    graph_.outputs.push_back(tensor_value("present_" + suffix, DType::kFloat32, shape("num_sequences")));
    return "present_" + suffix;
  }

  void expand(const Node& node, const PagedAttentionNode& call) {
    const std::string own_scope = node.name.empty() ? node.outputs.at(0) : node.name;
    const std::int64_t group = call.num_heads / call.num_kv_heads;
    scope_ = own_scope;
    const std::string new_key = transposed(split(node.inputs[1], {call.num_kv_heads, call.head_dim}), {0, 2, 1, 3});
    if (is_new_.empty()) find_places();
    const std::string is_seen = seen(call.sliding_window);
    scope_ = own_scope;
    const std::string new_value = transposed(split(node.inputs[2], {call.num_kv_heads, call.head_dim}), {0, 2, 1, 3});
    std::string key = updated("key", call, new_key);
    std::string value = updated("value", call, new_value);

    // Heads that share a key stand next to each other: (kv head, member of its group), an axis more where there are.
    const bool is_grouped = group > 1;
    std::string query = add("Mul", {node.inputs[0], constant(Tensor::scalar(call.scale))});
    if (is_grouped) {
      query = transposed(split(query, {call.num_kv_heads, group, call.head_dim}), {0, 2, 3, 1, 4});
      key = add("Unsqueeze", {key, integers({2})});
      value = add("Unsqueeze", {value, integers({2})});
      key = transposed(key, {0, 1, 2, 4, 3});
    } else {
      query = transposed(split(query, {call.num_heads, call.head_dim}), {0, 2, 1, 3});
      key = transposed(key, {0, 1, 3, 2});
    }
    std::string scores = add("MatMul", {query, key});
    if (call.softcap > 0) {
      const std::string cap = constant(Tensor::scalar(call.softcap));
      scores = add("Mul", {add("Tanh", {add("Div", {scores, cap})}), cap});
    }
    const std::string masked = add("Where", {is_seen, scores, constant(Tensor::scalar(kUnseen))});
    const std::string shares = add("Softmax", {masked}, {{"axis", std::int64_t{-1}}});
    const std::string mixed =
        transposed(add("MatMul", {shares, value}),
                   is_grouped ? std::vector<std::int64_t>{0, 3, 1, 2, 4} : std::vector<std::int64_t>{0, 2, 1, 3});
    add("Reshape", {mixed, integers({-1, call.num_heads * call.head_dim})});
    graph_.nodes.back().outputs = node.outputs;
  }

  Model& model_;
  std::int64_t capacity_;
  std::string step_shape_;      ///< int64 [2]: sequences, tokens of each
  std::string places_;          ///< int64 [capacity]: 0, 1, ...
  std::string is_new_;          ///< bool [capacity, 1]
  std::string token_at_;        ///< int64 [capacity]
  std::string place_of_token_;  ///< int64 [tokens of each, 1]
  std::map<std::int64_t, std::string> seen_by_window_;
  std::set<std::int64_t> layers_;
};

}  // namespace

bool has_dense_cache(const Model& model) {
  return model.graph.find_input("past_len") != nullptr && model.graph.find_input("parents") != nullptr;
}

PassReport use_dense_cache(Model& model, std::int64_t capacity) {
  if (capacity < 1) {
    throw Error(ErrorKind::kUsage, "a cache of " + std::to_string(capacity) + " tokens holds none", "--context",
                "choose a context of at least one token");
  }
  return DenseCacheWriter(model, capacity).run();
}

}  // namespace pajamas
