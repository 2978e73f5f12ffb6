// Plain ONNX in place of pajamas.PagedAttention: the graph of a language model for one sequence without a past, which
// any ONNX runtime computes. The reference that proofs and tests hold an engine with a cache to; never what a target
// compiles. Not part of the pipeline (pipeline.h).
#pragma once

#include "graph/passes/pass.h"

namespace pajamas {

/// Whether the main graph calls pajamas.PagedAttention.
bool has_paged_attention(const Model& model);

/// Replaces each call by Reshape, MatMul, Softmax and their like: token i attends to tokens max(0, i - sliding_window +
/// 1) .. i of the list. The inputs that describe the cache (past_lens, subsequence_begins, block_indices,
/// block_indices_begins, max_context_len) go; input_ids, position_ids and logit_rows stay. Scores take num_heads *
/// num_tokens^2 floats. Throws Error{kBadInput} naming the node for attributes out of range, and for a cache input that
/// something else uses too.
PassReport expand_paged_attention(Model& model);

}  // namespace pajamas
