// The Graphs of Whisper, as docs/audio.md describes them: encoder, decoder step with a paged cache, and the decoder
// over a whole text that gives the attention of the alignment heads. Activations are float32, weights as they are
// stored.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "graph/graph.h"
#include "models/weight_source.h"
#include "models/whisper/whisper_config.h"

namespace pajamas {

/// `features` [num_chunks, num_mels, 2 * num_positions] to `cross_key.i` [num_chunks, num_heads, head_dim,
/// num_positions] and `cross_value.i` [num_chunks, num_heads, num_positions, head_dim] of each decoder layer. Throws as
/// GraphWeights, as do the others.
Model build_whisper_encoder(const WhisperConfig& config, const WeightSource& weights);

/// The inputs of paged_step.h and the encoder's outputs to `logits` [num_rows, vocab_size]. The tokens are those of
/// `num_chunks` chunks of audio, one chunk after another, equally many of each.
Model build_whisper_decoder(const WhisperConfig& config, const WeightSource& weights);

/// A decoder (whatever was done to its weights) as a graph over one whole text of one chunk: `input_ids`,
/// `position_ids` int64 [num_tokens] and the encoder's outputs to `alignment` float32 [num_alignment_heads, num_tokens,
/// num_positions], the softmax of the cross attention of `heads` (layer, head), ordered by layer. Throws
/// Error{kInternal} for a graph that build_whisper_decoder did not make, Error{kBadInput} for a head that is not there.
Model build_whisper_aligner(const Model& decoder, std::vector<std::array<std::int64_t, 2>> heads);

}  // namespace pajamas
