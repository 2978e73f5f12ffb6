// WhisperConfig: the sizes of a Whisper model (Radford et al. 2022, arXiv 2212.04356), whatever container says them.
#pragma once

#include <cstdint>
#include <string>

#include "base/json_reader.h"
#include "models/layers.h"
#include "models/weight_source.h"

namespace pajamas {

struct WhisperConfig {
  std::int64_t num_mels = 80;
  std::int64_t num_positions = 1500;  ///< Of the encoder: half the frames of a chunk.
  std::int64_t context_length = 448;  ///< Most tokens of the decoder.
  std::int64_t vocab_size = 51865;    ///< Columns of the logits.
  std::int64_t hidden_dim = 0;
  std::int64_t num_encoder_layers = 0, num_decoder_layers = 0;
  std::int64_t num_encoder_heads = 0, num_decoder_heads = 0;
  std::int64_t encoder_intermediate_dim = 0, decoder_intermediate_dim = 0;
  ActivationFunction activation = ActivationFunction::kGelu;
  bool is_tied = true;  ///< The output layer is the embedding table.

  std::int64_t encoder_head_dim() const { return hidden_dim / num_encoder_heads; }
  std::int64_t decoder_head_dim() const { return hidden_dim / num_decoder_heads; }
};

/// From transformers' config.json. Throws Error{kBadInput} naming the key for sizes that are absurd or contradict each
/// other, Error{kUnsupported} for another activation.
WhisperConfig read_whisper_config(const JsonReader& config);
/// From the shapes of the tensors, for containers that have no config.json: sizes, and layers by counting. Heads cannot
/// be seen in shapes. Throws Error{kBadInput} when a tensor is missing or the heads do not divide the width.
WhisperConfig whisper_config_of(const WeightSource& weights, std::int64_t num_encoder_heads,
                                std::int64_t num_decoder_heads);

}  // namespace pajamas
