// Attention over a whole sequence, written out in ONNX's operators. See expand_paged_attention.h.
#include "graph/passes/expand_paged_attention.h"

#include <algorithm>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "graph/passes/node_writer.h"
#include "graph/passes/paged_attention_node.h"

namespace pajamas {
namespace {

class Expander : private NodeWriter {
 public:
  explicit Expander(Model& model) : NodeWriter(model.graph), model_(model) {}

  PassReport run() {
    return replace_paged_attention(model_, "expand_paged_attention",
                                   [&](const Node& node, const PagedAttentionNode& call) { expand(node, call); });
  }

 private:
  /// float32 [num_tokens, num_tokens]: 0 where row may see column, else the lowest number. One for each window.
  const std::string& mask(const std::string& query, std::int64_t window) {
    const auto known = mask_by_window_.find(window);
    if (known != mask_by_window_.end()) return known->second;
    const std::string num_tokens = add("Squeeze", {add("Gather", {add("Shape", {query}), integers({0})})});
    const std::string token = add(
        "Range", {constant(Tensor::scalar<std::int64_t>(0)), num_tokens, constant(Tensor::scalar<std::int64_t>(1))});
    const std::string age =
        add("Sub", {add("Unsqueeze", {token, integers({1})}), add("Unsqueeze", {token, integers({0})})});
    std::string is_seen = add("GreaterOrEqual", {age, constant(Tensor::scalar<std::int64_t>(0))});
    if (window > 0) {
      is_seen = add("And", {is_seen, add("Less", {age, constant(Tensor::scalar<std::int64_t>(window))})});
    }
    // Finite, so that no row of a runtime that masks in another order turns into NaN; a token always sees itself.
    const std::string result = add("Where", {is_seen, constant(Tensor::scalar(0.0F)),
                                             constant(Tensor::scalar(std::numeric_limits<float>::lowest() / 2))});
    return mask_by_window_.emplace(window, result).first->second;
  }

  void expand(const Node& node, const PagedAttentionNode& a) {
    scope_ = node.name.empty() ? node.outputs.at(0) : node.name;
    const std::int64_t group = a.num_heads / a.num_kv_heads;
    // Heads that share a key stand next to each other, so the query splits into (kv head, member of its group).
    const auto axes = [](std::initializer_list<std::int64_t> order) { return std::vector<std::int64_t>(order); };
    const std::string query =
        add("Transpose", {add("Reshape", {node.inputs[0], integers({0, a.num_kv_heads, group, a.head_dim})})},
            {{"perm", axes({1, 2, 0, 3})}});
    const std::string key =
        add("Transpose", {add("Reshape", {node.inputs[1], integers({0, a.num_kv_heads, 1, a.head_dim})})},
            {{"perm", axes({1, 2, 3, 0})}});
    const std::string value = add("Transpose", {add("Reshape", {node.inputs[2], integers({0, a.num_kv_heads, 1, -1})})},
                                  {{"perm", axes({1, 2, 0, 3})}});
    std::string scores = add("Mul", {add("MatMul", {query, key}), constant(Tensor::scalar(a.scale))});
    if (a.softcap > 0) {
      const std::string cap = constant(Tensor::scalar(a.softcap));
      scores = add("Mul", {add("Tanh", {add("Div", {scores, cap})}), cap});
    }
    const std::string weights =
        add("Softmax", {add("Add", {scores, mask(node.inputs[0], a.sliding_window)})}, {{"axis", std::int64_t{-1}}});
    const std::string mixed = add("Transpose", {add("MatMul", {weights, value})}, {{"perm", axes({2, 0, 1, 3})}});
    add("Reshape", {mixed, integers({0, -1})});
    graph_.nodes.back().outputs = node.outputs;
  }

  Model& model_;
  std::map<std::int64_t, std::string> mask_by_window_;
};

}  // namespace

bool has_paged_attention(const Model& model) {
  return std::any_of(model.graph.nodes.begin(), model.graph.nodes.end(), is_paged_attention);
}

PassReport expand_paged_attention(Model& model) { return Expander(model).run(); }

}  // namespace pajamas
