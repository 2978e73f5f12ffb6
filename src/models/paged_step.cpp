// See paged_step.h.
#include "models/paged_step.h"

#include "graph/operator_table.h"

namespace pajamas {

PagedStep add_paged_step(GraphBuilder& graph) {
  const Dimension tokens = Dimension::named("num_tokens"), sequences = Dimension::named("num_sequences");
  const Dimension bounds = Dimension::named("num_sequences + 1");
  PagedStep step;
  step.input_ids = graph.input("input_ids", DType::kInt64, {tokens});
  step.position_ids = graph.input("position_ids", DType::kInt64, {tokens});
  step.past_lens = graph.input("past_lens", DType::kInt32, {sequences});
  step.subsequence_begins = graph.input("subsequence_begins", DType::kInt32, {bounds});
  step.block_indices = graph.input("block_indices", DType::kInt32, {Dimension::named("num_blocks")});
  step.block_indices_begins = graph.input("block_indices_begins", DType::kInt32, {bounds});
  step.max_context_len = graph.input("max_context_len", DType::kInt32, {});
  step.logit_rows = graph.input("logit_rows", DType::kInt64, {Dimension::named("num_rows")});
  return step;
}

GraphValue paged_attention(GraphBuilder& graph, const PagedStep& step, const GraphValue& query, const GraphValue& key,
                           const GraphValue& value, const PagedAttentionFacts& facts) {
  return graph.node_of_domain(kPajamasDomain, 1, "PagedAttention",
                              {query, key, value, step.past_lens, step.subsequence_begins, step.block_indices,
                               step.block_indices_begins, step.max_context_len},
                              {{"layer_index", facts.layer_index},
                               {"num_heads", facts.num_heads},
                               {"num_kv_heads", facts.num_kv_heads},
                               {"head_dim", facts.head_dim},
                               {"scale", facts.scale},
                               {"sliding_window", facts.sliding_window},
                               {"softcap", facts.softcap}});
}

}  // namespace pajamas
