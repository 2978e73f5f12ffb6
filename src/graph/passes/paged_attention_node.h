// pajamas.PagedAttention as the passes that replace it read it: its attributes, checked, and the removal of the inputs
// that describe the cache. What the operator means: docs/language.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <set>
#include <string>

#include "graph/graph.h"

namespace pajamas {

/// query, key, value; the inputs behind them describe the cache.
inline constexpr std::size_t kNumPagedTokenInputs = 3;

struct PagedAttentionNode {
  std::int64_t layer_index = 0;
  std::int64_t num_heads = 0;
  std::int64_t num_kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t sliding_window = 0;  ///< 0: none.
  float scale = 1;
  float softcap = 0;  ///< 0: none.
};

bool is_paged_attention(const Node& node);
/// Throws Error{kBadInput} naming the node for attributes out of range and another number of inputs.
PagedAttentionNode read_paged_attention(const Node& node);
/// Takes the graph inputs of these names away. Throws Error{kBadInput} naming a node that uses one.
void remove_paged_inputs(Graph& graph, const std::set<std::string>& names);

}  // namespace pajamas
