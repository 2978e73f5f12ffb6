// See whisper_config.h.
#include "models/whisper/whisper_config.h"

#include "models/checkpoint.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

constexpr std::int64_t kMaxLayers = 1024;

void check(const WhisperConfig& config, const std::string& where) {
  const auto fail = [&](const std::string& message) { throw Error(ErrorKind::kBadInput, message, where); };
  for (const std::int64_t heads : {config.num_encoder_heads, config.num_decoder_heads}) {
    if (heads < 1 || config.hidden_dim % heads != 0) {
      fail("has " + std::to_string(heads) + " heads, which do not divide its width of " +
           std::to_string(config.hidden_dim));
    }
  }
  if (config.num_encoder_layers > kMaxLayers || config.num_decoder_layers > kMaxLayers) {
    fail("has " + std::to_string(std::max(config.num_encoder_layers, config.num_decoder_layers)) + " layers");
  }
}

std::int64_t count_layers(const WeightSource& weights, const std::string& prefix) {
  std::int64_t count = 0;
  while (count < kMaxLayers && weights.has(prefix + std::to_string(count) + ".fc1.weight")) ++count;
  return count;
}

}  // namespace

WhisperConfig read_whisper_config(const JsonReader& json) {
  WhisperConfig config;
  config.num_mels = read_size(json, "num_mel_bins", 80);
  config.num_positions = read_size(json, "max_source_positions", 1500);
  config.context_length = read_size(json, "max_target_positions", 448);
  config.vocab_size = read_size(json, "vocab_size", 51865);
  config.hidden_dim = read_size(json, "d_model", 384);
  config.num_encoder_layers = read_size(json, "encoder_layers", 4);
  config.num_decoder_layers = read_size(json, "decoder_layers", 4);
  config.num_encoder_heads = read_size(json, "encoder_attention_heads", 6);
  config.num_decoder_heads = read_size(json, "decoder_attention_heads", 6);
  config.encoder_intermediate_dim = read_size(json, "encoder_ffn_dim", 1536);
  config.decoder_intermediate_dim = read_size(json, "decoder_ffn_dim", 1536);
  config.activation = read_activation(json, "activation_function", "gelu");
  config.is_tied = json.boolean_or("tie_word_embeddings", true);
  check(config, json.where());
  return config;
}

WhisperConfig whisper_config_of(const WeightSource& weights, std::int64_t num_encoder_heads,
                                std::int64_t num_decoder_heads) {
  const auto extent = [&](const char* name, std::size_t rank, std::size_t axis) {
    const Shape& shape = weights.shape_of(name);
    if (shape.rank() == rank && shape[axis] >= 1) return shape[axis];
    throw Error(ErrorKind::kBadInput, std::string("tensor '") + name + "' has the shape " + shape.to_string(),
                weights.where(), "the file is no Whisper model, or it is damaged");
  };
  WhisperConfig config;
  config.num_mels = extent("model.encoder.conv1.weight", 3, 1);
  config.hidden_dim = extent("model.encoder.conv1.weight", 3, 0);
  config.num_positions = extent("model.encoder.embed_positions.weight", 2, 0);
  config.context_length = extent("model.decoder.embed_positions.weight", 2, 0);
  config.vocab_size = extent("model.decoder.embed_tokens.weight", 2, 0);
  config.num_encoder_layers = count_layers(weights, "model.encoder.layers.");
  config.num_decoder_layers = count_layers(weights, "model.decoder.layers.");
  config.encoder_intermediate_dim = extent("model.encoder.layers.0.fc1.weight", 2, 0);
  config.decoder_intermediate_dim = extent("model.decoder.layers.0.fc1.weight", 2, 0);
  config.num_encoder_heads = num_encoder_heads;
  config.num_decoder_heads = num_decoder_heads;
  check(config, weights.where());
  return config;
}

}  // namespace pajamas
