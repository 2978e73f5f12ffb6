// pajamas.PagedAttention as plain ONNX over a cache of fixed capacity that comes in and goes out with each step: the
// decoder of a target that has no paged attention (docs/audio.md, "The dense cache"). The graph for a whole sequence
// without a cache, which proofs compare with, is expand_paged_attention.h's. Not part of the pipeline (pipeline.h).
#pragma once

#include <cstdint>

#include "graph/passes/pass.h"

namespace pajamas {

/// Whether the model has the inputs that use_dense_cache makes.
bool has_dense_cache(const Model& model);

/// Replaces each call of PagedAttention. A step takes the same number of tokens of each of its sequences: `input_ids`
/// and `position_ids` are those of the first sequence, of the second, ... The inputs that describe a paged cache go; in
/// their place come, with i the layer_index of the call:
///   past_len      int64 [1]              tokens that each sequence has in the cache, 0 to capacity - tokens of a step
///   parents       int64 [num_sequences]  the row of the cache that each sequence continues
///   past_key.i, past_value.i    float32 [num_past_sequences, num_kv_heads, capacity, head_dim]
/// and behind the other outputs
///   present_key.i, present_value.i  float32 [num_sequences, num_kv_heads, capacity, head_dim], what the next step
///   takes. Places from past_len on are not read, but must be finite.
/// Throws Error{kUsage} for a capacity below 1, Error{kBadInput} naming the node for attributes out of range, two calls
/// of one layer_index, and a cache input that something else uses too.
PassReport use_dense_cache(Model& model, std::int64_t capacity);

}  // namespace pajamas
