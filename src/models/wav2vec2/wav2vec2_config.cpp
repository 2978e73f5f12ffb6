// See wav2vec2_config.h. Defaults are those of transformers, which files leave out.
#include "models/wav2vec2/wav2vec2_config.h"

#include <utility>

#include "models/checkpoint.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

constexpr std::int64_t kMaxLayers = 1024;
/// Of the convolutions; the published models have 7.
constexpr std::size_t kMaxConvolutions = 32;
/// A frame of more than a minute is none.
constexpr std::int64_t kMaxFrameSamples = 1 << 20;

std::vector<std::int64_t> read_list(const JsonReader& json, const char* key, std::vector<std::int64_t> fallback) {
  if (!json.has(key)) return fallback;
  std::vector<std::int64_t> values;
  for (const JsonReader& element : json.member(key).elements()) values.push_back(element.as_integer(1, 1 << 16));
  return values;
}

std::vector<Wav2Vec2Convolution> read_convolutions(const JsonReader& json) {
  const auto channels = read_list(json, "conv_dim", {512, 512, 512, 512, 512, 512, 512});
  const auto strides = read_list(json, "conv_stride", {5, 2, 2, 2, 2, 2, 2});
  const auto kernels = read_list(json, "conv_kernel", {10, 3, 3, 3, 3, 2, 2});
  if (channels.empty() || channels.size() > kMaxConvolutions || strides.size() != channels.size() ||
      kernels.size() != channels.size()) {
    throw Error(ErrorKind::kBadInput,
                "conv_dim, conv_stride and conv_kernel have " + std::to_string(channels.size()) + ", " +
                    std::to_string(strides.size()) + " and " + std::to_string(kernels.size()) +
                    " entries; they need one for each convolution, at most " + std::to_string(kMaxConvolutions),
                json.where(), "fetch the folder again");
  }
  std::vector<Wav2Vec2Convolution> convolutions;
  std::int64_t stride = 1, samples = 1;
  for (std::size_t i = 0; i < channels.size(); ++i) {
    convolutions.push_back({channels[i], kernels[i], strides[i]});
    samples += (kernels[i] - 1) * stride;
    stride *= strides[i];
    if (samples > kMaxFrameSamples || stride > kMaxFrameSamples) {
      json.member("conv_kernel").fail("and conv_stride make frames of more than a million samples");
    }
  }
  return convolutions;
}

void refuse(bool is_given, const JsonReader& json, const std::string& what, const std::string& remedy) {
  if (is_given) throw Error(ErrorKind::kUnsupported, what, json.where(), remedy);
}

}  // namespace

std::int64_t Wav2Vec2Config::samples_per_frame() const {
  std::int64_t stride = 1;
  for (const Wav2Vec2Convolution& convolution : convolutions) stride *= convolution.stride;
  return stride;
}

std::int64_t Wav2Vec2Config::frame_samples() const {
  std::int64_t stride = 1, samples = 1;
  for (const Wav2Vec2Convolution& convolution : convolutions) {
    samples += (convolution.kernel - 1) * stride;
    stride *= convolution.stride;
  }
  return samples;
}

Wav2Vec2Config read_wav2vec2_config(const JsonReader& json, std::string prefix) {
  refuse(json.boolean_or("add_adapter", false), json,
         "add_adapter is true: convolutions behind the encoder are not read", "take a checkpoint without an adapter");
  refuse(json.has("adapter_attn_dim") && !json.member("adapter_attn_dim").json().is_null(), json,
         "adapter_attn_dim is set: adapters for languages, as MMS has them, are not read",
         "take a checkpoint of one language without adapters");
  refuse(json.has("quantization_config"), json, "quantization_config is set: its weights were quantised elsewhere",
         "take the checkpoint before quantisation and build with --precision int8");
  Wav2Vec2Config config;
  config.prefix = std::move(prefix);
  config.convolutions = read_convolutions(json);
  const std::string norm = json.string_or("feat_extract_norm", "group");
  if (norm != "group" && norm != "layer") {
    throw Error(ErrorKind::kUnsupported, "feat_extract_norm is '" + norm + "', which is not known", json.where(),
                "the known ones are group and layer");
  }
  config.is_group_norm = norm == "group";
  config.has_convolution_bias = json.boolean_or("conv_bias", false);
  config.feature_activation = read_activation(json, "feat_extract_activation", "gelu");
  config.has_projection_norm = json.boolean_or("feat_proj_layer_norm", true);
  config.hidden_dim = read_size(json, "hidden_size", 768);
  config.intermediate_dim = read_size(json, "intermediate_size", 3072);
  config.num_layers = read_size(json, "num_hidden_layers", 12);
  config.num_heads = read_size(json, "num_attention_heads", 12);
  config.vocab_size = read_size(json, "vocab_size", 32);
  config.activation = read_activation(json, "hidden_act", "gelu");
  config.position_kernel = read_size(json, "num_conv_pos_embeddings", 128);
  config.position_groups = read_size(json, "num_conv_pos_embedding_groups", 16);
  config.has_position_batch_norm = json.boolean_or("conv_pos_batch_norm", false);
  config.is_norm_first = json.boolean_or("do_stable_layer_norm", false);
  config.epsilon = json.number_or("layer_norm_eps", 1e-5);
  const auto fail = [&](const std::string& message) { throw Error(ErrorKind::kBadInput, message, json.where()); };
  if (config.hidden_dim % config.num_heads != 0) {
    fail("has " + std::to_string(config.num_heads) + " heads, which do not divide its width of " +
         std::to_string(config.hidden_dim));
  }
  if (config.hidden_dim % config.position_groups != 0) {
    fail("has " + std::to_string(config.position_groups) +
         " groups of positions (num_conv_pos_embedding_groups), which do not divide its width of " +
         std::to_string(config.hidden_dim));
  }
  if (config.num_layers > kMaxLayers) fail("has " + std::to_string(config.num_layers) + " layers");
  if (!(config.epsilon > 0 && config.epsilon < 1)) fail("layer_norm_eps is not within 0..1");
  return config;
}

}  // namespace pajamas
