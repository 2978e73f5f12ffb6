// pajamas.PagedAttention as the passes that replace it read it: its attributes, checked, and what is the same whatever
// takes its place. What the operator means: docs/language.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "graph/graph.h"
#include "graph/passes/pass.h"

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
/// Replaces each call by what `expand` appends to the graph, and takes away the inputs that describe the cache and,
/// where no node is left that needs it, the import of the project's operators. Throws as read_paged_attention and
/// `expand`, and Error{kBadInput} naming a node that uses one of those inputs.
PassReport replace_paged_attention(Model& model, const char* pass,
                                   const std::function<void(const Node&, const PagedAttentionNode&)>& expand);

}  // namespace pajamas
