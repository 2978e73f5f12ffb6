// The inputs of one step of a decoder with a paged cache, and the operator that uses them (docs/language.md: "The graph
// of a language model"). What every decoder has in common, whatever its layers are.
#pragma once

#include <cstdint>

#include "graph/graph_builder.h"

namespace pajamas {

/// Inputs of the graph under construction, declared by add_paged_step.
struct PagedStep {
  GraphValue input_ids, position_ids;  ///< int64 [num_tokens]
  GraphValue past_lens, subsequence_begins, block_indices, block_indices_begins, max_context_len;  ///< int32
  GraphValue logit_rows;                                                                           ///< int64 [num_rows]
};
/// Declares all of them. Throws Error{kInternal} when the graph has an input of one of these names.
PagedStep add_paged_step(GraphBuilder& graph);

struct PagedAttentionFacts {
  std::int64_t layer_index = 0;  ///< Of the cache, from 0 without gaps.
  std::int64_t num_heads = 0, num_kv_heads = 0, head_dim = 0;
  float scale = 1;                  ///< Factor on scores.
  std::int64_t sliding_window = 0;  ///< Tokens seen, itself included; 0: all.
  float softcap = 0;                ///< 0: none.
};
/// query [num_tokens, num_heads * head_dim], key and value [num_tokens, num_kv_heads * head_dim] to [num_tokens,
/// num_heads * head_dim], all float32: key and value are appended to the cache, then each token sees its own sequence
/// up to itself.
GraphValue paged_attention(GraphBuilder& graph, const PagedStep& step, const GraphValue& query, const GraphValue& key,
                           const GraphValue& value, const PagedAttentionFacts& facts);

}  // namespace pajamas
