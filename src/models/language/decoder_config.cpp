// What the families' configurations have in common. See decoder_config.h.
#include "models/language/decoder_config.h"

#include <cmath>

#include "models/checkpoint.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

/// Longer contexts exist nowhere, and positions must stay exact in float32 arithmetic of targets.
constexpr std::int64_t kMaxContext = std::int64_t{1} << 24;
constexpr std::int64_t kMaxLayers = 1024;

std::int64_t size_or(const JsonReader& config, const char* key, std::int64_t fallback) {
  return has_value(config, key) ? read_size(config, key, fallback) : fallback;
}

}  // namespace

bool has_value(const JsonReader& config, const char* key) {
  return config.has(key) && !config.member(key).json().is_null();
}

DecoderConfig read_decoder_config(const JsonReader& config, const DecoderHints& hints,
                                  const DecoderDefaults& defaults) {
  DecoderConfig result;
  result.architecture = defaults.architecture;
  result.hidden_dim = read_size(config, "hidden_size", defaults.hidden_dim);
  const std::int64_t num_layers = read_size(config, "num_hidden_layers", defaults.num_layers);
  if (num_layers > kMaxLayers) config.member("num_hidden_layers").fail("must be at most " + std::to_string(kMaxLayers));
  result.num_heads = read_size(config, "num_attention_heads", defaults.num_heads);
  result.num_kv_heads = size_or(config, "num_key_value_heads", defaults.num_kv_heads.value_or(result.num_heads));
  if (result.num_heads % result.num_kv_heads != 0) {
    config.fail("num_key_value_heads " + std::to_string(result.num_kv_heads) + " does not divide num_attention_heads " +
                std::to_string(result.num_heads));
  }
  if (has_value(config, "head_dim")) {
    result.head_dim = read_size(config, "head_dim", 0);
  } else if (defaults.head_dim) {
    result.head_dim = *defaults.head_dim;
  } else {
    if (result.hidden_dim % result.num_heads != 0) {
      config.fail("num_attention_heads " + std::to_string(result.num_heads) + " does not divide hidden_size " +
                  std::to_string(result.hidden_dim));
    }
    result.head_dim = result.hidden_dim / result.num_heads;
  }
  result.intermediate_dim = read_size(config, "intermediate_size", defaults.intermediate_dim);
  result.vocab_size = read_size(config, "vocab_size", defaults.vocab_size);
  result.norm_epsilon = config.number_or("rms_norm_eps", defaults.norm_epsilon);
  if (!(result.norm_epsilon >= 0)) config.member("rms_norm_eps").fail("must not be negative");
  result.activation = read_activation(config, defaults.activation_key, defaults.activation);
  result.is_tied = has_value(config, "tie_word_embeddings") ? config.boolean("tie_word_embeddings") : defaults.is_tied;
  result.attention_scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(result.head_dim)));

  const std::int64_t max_position = read_size(config, "max_position_embeddings", defaults.max_position_embeddings);
  const auto section = rope_section(config);
  const std::int64_t longest = std::min(longest_context(section, max_position), kMaxContext);
  result.context_length = hints.context_length > 0 ? hints.context_length : std::min(max_position, kMaxContext);
  if (result.context_length > longest) {
    throw Error(ErrorKind::kUsage,
                "wants " + std::to_string(result.context_length) + " tokens, but the model was made for " +
                    std::to_string(longest),
                "--context", "give at most " + std::to_string(longest));
  }
  RopeContext context;
  context.head_dim = result.head_dim;
  context.max_position_embeddings = max_position;
  context.context_length = result.context_length;
  context.partial_rotary_factor = has_value(config, "partial_rotary_factor") ? config.number("partial_rotary_factor")
                                                                             : defaults.partial_rotary_factor;
  const bool is_by_kind = section && (section->has("full_attention") || section->has("sliding_attention"));
  if (!is_by_kind) result.ropes.push_back(read_rope(config, section, context));
  result.layers.resize(static_cast<std::size_t>(num_layers));
  return result;
}

std::int64_t read_sliding_window(const JsonReader& config, std::int64_t fallback, std::int64_t context_length) {
  std::int64_t window = fallback;
  if (config.has("sliding_window")) {
    window = has_value(config, "sliding_window") ? config.integer("sliding_window", 1) : 0;
  }
  return window >= context_length ? 0 : window;
}

std::vector<bool> read_sliding_layers(const JsonReader& config, std::size_t num_layers) {
  if (!has_value(config, "layer_types")) return {};
  const JsonReader list = config.member("layer_types");
  std::vector<bool> result;
  for (const JsonReader& entry : list.elements()) {
    const std::string kind = entry.as_string();
    if (kind != "sliding_attention" && kind != "full_attention") {
      throw Error(ErrorKind::kUnsupported, "layers of the kind '" + kind + "' are not known", config.where(),
                  "the known ones are full_attention and sliding_attention");
    }
    result.push_back(kind == "sliding_attention");
  }
  if (result.size() != num_layers) {
    list.fail("has " + std::to_string(result.size()) + " entries for " + std::to_string(num_layers) + " layers");
  }
  return result;
}

}  // namespace pajamas
