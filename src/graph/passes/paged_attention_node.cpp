// See paged_attention_node.h.
#include "graph/passes/paged_attention_node.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "graph/operator_table.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

/// Takes the graph inputs of these names away.
void remove_inputs(Graph& graph, const std::set<std::string>& names) {
  for (const Node& node : graph.nodes) {
    for (const std::string& input : node.inputs) {
      if (!names.contains(input)) continue;
      throw Error(ErrorKind::kBadInput, "uses '" + input + "', which describes the cache", node.describe());
    }
  }
  std::erase_if(graph.inputs, [&](const ValueInfo& input) { return names.contains(input.name); });
}

}  // namespace

bool is_paged_attention(const Node& node) { return node.domain == kPajamasDomain && node.op_type == "PagedAttention"; }

PagedAttentionNode read_paged_attention(const Node& node) {
  PagedAttentionNode call;
  call.layer_index = node.int_attribute("layer_index", 0);
  call.num_heads = node.int_attribute("num_heads", 0);
  call.num_kv_heads = node.int_attribute("num_kv_heads", 0);
  call.head_dim = node.int_attribute("head_dim", 0);
  call.sliding_window = node.int_attribute("sliding_window", 0);
  call.scale = node.float_attribute("scale", 1);
  call.softcap = node.float_attribute("softcap", 0);
  const bool is_whole = call.num_heads >= 1 && call.num_kv_heads >= 1 && call.head_dim >= 1 &&
                        call.num_heads % call.num_kv_heads == 0 && call.sliding_window >= 0 && call.softcap >= 0;
  if (!is_whole) throw Error(ErrorKind::kBadInput, "has attributes out of range", node.describe());
  if (node.inputs.size() != 8) throw Error(ErrorKind::kBadInput, "should have 8 inputs", node.describe());
  return call;
}

PassReport replace_paged_attention(Model& model, const char* pass,
                                   const std::function<void(const Node&, const PagedAttentionNode&)>& expand) {
  PassReport report;
  report.pass = pass;
  std::set<std::string> cache_inputs;
  std::vector<Node> nodes = std::move(model.graph.nodes);
  model.graph.nodes.clear();
  for (Node& node : nodes) {
    if (!is_paged_attention(node)) {
      model.graph.nodes.push_back(std::move(node));
      continue;
    }
    expand(node, read_paged_attention(node));
    cache_inputs.insert(node.inputs.begin() + kNumPagedTokenInputs, node.inputs.end());
    report.count("PagedAttention");
  }
  remove_inputs(model.graph, cache_inputs);
  const bool is_needed = std::any_of(model.graph.nodes.begin(), model.graph.nodes.end(),
                                     [](const Node& node) { return node.domain == kPajamasDomain; });
  if (!is_needed) {
    std::erase_if(model.opset_imports, [](const auto& import) { return import.first == kPajamasDomain; });
  }
  return report;
}

}  // namespace pajamas
