// Wav2Vec2Config: the sizes and variants of a Wav2Vec2 (Baevski et al. 2020, arXiv 2006.11477) or HuBERT (Hsu et al.
// 2021, arXiv 2106.07447) model, from transformers' config.json.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json_reader.h"
#include "models/layers.h"

namespace pajamas {

/// One convolution over samples or over the output of the one before.
struct Wav2Vec2Convolution {
  std::int64_t channels = 512, kernel = 3, stride = 2;
};

struct Wav2Vec2Config {
  std::string prefix;  ///< Of the network's tensors: "wav2vec2.", "hubert."
  std::vector<Wav2Vec2Convolution> convolutions;
  bool is_group_norm = true;  ///< Norm over time behind the first convolution; else over channels behind each.
  bool has_convolution_bias = false;
  ActivationFunction feature_activation = ActivationFunction::kGelu;
  bool has_projection_norm = true;
  std::int64_t hidden_dim = 768, intermediate_dim = 3072, num_layers = 12, num_heads = 12, vocab_size = 32;
  ActivationFunction activation = ActivationFunction::kGelu;
  std::int64_t position_kernel = 128, position_groups = 16;
  bool has_position_batch_norm = false;  ///< In place of weight norm.
  bool is_norm_first = false;            ///< do_stable_layer_norm: norms before attention and feed-forward.
  double epsilon = 1e-5;

  std::int64_t head_dim() const { return hidden_dim / num_heads; }
  /// Samples between the beginnings of two frames, and those that one frame hears.
  std::int64_t samples_per_frame() const;
  std::int64_t frame_samples() const;
};

/// `prefix` as Wav2Vec2Config::prefix. Throws Error{kBadInput} naming the key for sizes that are absurd or contradict
/// each other, Error{kUnsupported} for adapters, quantised weights and other activations and norms.
Wav2Vec2Config read_wav2vec2_config(const JsonReader& json, std::string prefix);

}  // namespace pajamas
