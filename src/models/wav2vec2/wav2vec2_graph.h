// The Graph of Wav2Vec2 and HuBERT with a CTC head, as docs/audio.md describes it. Activations are float32, weights as
// they are stored.
#pragma once

#include "graph/graph.h"
#include "models/wav2vec2/wav2vec2_config.h"
#include "models/weight_source.h"

namespace pajamas {

/// `samples` float32 [batch, num_samples] to `logits` float32 [batch, num_frames, vocab_size]. Throws as GraphWeights,
/// and Error{kBadInput} for tensors of the network that the configuration has no place for.
Model build_wav2vec2(const Wav2Vec2Config& config, const WeightSource& weights);

}  // namespace pajamas
