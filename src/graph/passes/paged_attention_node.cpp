// See paged_attention_node.h.
#include "graph/passes/paged_attention_node.h"

#include "graph/operator_table.h"
#include "pajamas/error.h"

namespace pajamas {

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

void remove_paged_inputs(Graph& graph, const std::set<std::string>& names) {
  for (const Node& node : graph.nodes) {
    for (const std::string& input : node.inputs) {
      if (!names.contains(input)) continue;
      throw Error(ErrorKind::kBadInput, "uses '" + input + "', which describes the cache", node.describe());
    }
  }
  std::erase_if(graph.inputs, [&](const ValueInfo& input) { return names.contains(input.name); });
}

}  // namespace pajamas
