// Qwen2 and Qwen2.5: biases on queries, keys and values.
#include "models/language/language_family.h"
#include "models/language/qwen.h"

namespace pajamas {

void read_qwen_windows(const JsonReader& config, std::int64_t default_max_window_layers, DecoderConfig& result) {
  if (!config.boolean_or("use_sliding_window", false)) return;
  const std::int64_t window = read_sliding_window(config, 4096, result.context_length);
  const std::vector<bool> is_sliding = read_sliding_layers(config, result.layers.size());
  const std::int64_t first =
      has_value(config, "max_window_layers") ? config.integer("max_window_layers", 0) : default_max_window_layers;
  for (std::size_t i = 0; i < result.layers.size(); ++i) {
    const bool has_window = is_sliding.empty() ? static_cast<std::int64_t>(i) >= first : is_sliding[i];
    if (has_window) result.layers[i].sliding_window = window;
  }
}

namespace {

DecoderConfig read_qwen2(const JsonReader& config, const DecoderHints& hints) {
  DecoderDefaults defaults;
  defaults.architecture = "qwen2";
  defaults.intermediate_dim = 22016;
  defaults.vocab_size = 151936;
  defaults.num_kv_heads = 32;
  defaults.max_position_embeddings = 32768;
  DecoderConfig result = read_decoder_config(config, hints, defaults);
  result.has_qkv_bias = true;
  read_qwen_windows(config, 28, result);
  return result;
}

}  // namespace

const ModelDefinition& qwen2_definition() {
  static const LanguageFamily definition({"qwen2", {"qwen2"}, {"Qwen2ForCausalLM"}, read_qwen2});
  return definition;
}

}  // namespace pajamas
