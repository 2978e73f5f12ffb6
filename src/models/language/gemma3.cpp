// Gemma 3, text: windows in most layers with frequencies of their own, norms on both sides of attention and
// feed-forward, norm weights stored less one, scaled embeddings. Checkpoints with a picture encoder are not read.
#include <cmath>

#include "models/checkpoint.h"
#include "models/language/language_family.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

constexpr double kGlobalTheta = 1e6, kLocalTheta = 1e4;

float softcap(const JsonReader& config, const char* key) {
  if (!has_value(config, key)) return 0;
  const double cap = config.number(key);
  if (!(cap > 0)) config.member(key).fail("must be more than 0");
  return static_cast<float>(cap);
}

/// Frequencies of layers that see everything, then of those with a window.
std::vector<Rope> read_ropes(const JsonReader& config, const DecoderConfig& decoder, std::int64_t max_position) {
  RopeContext context;
  context.head_dim = decoder.head_dim;
  context.max_position_embeddings = max_position;
  context.context_length = decoder.context_length;
  context.default_theta = kGlobalTheta;
  std::vector<Rope> ropes{read_rope(config, rope_section(config, "full_attention"), context)};
  // rope_theta of the configuration is the other layers': this set has a key of its own.
  const auto section = rope_section(config, "sliding_attention");
  nlohmann::json local = {{"rope_theta", config.number_or("rope_local_base_freq", kLocalTheta)}};
  ropes.push_back(read_rope(JsonReader(local, config.where()), section, context));
  return ropes;
}

DecoderConfig read_gemma3(const JsonReader& config, const DecoderHints& hints) {
  if (config.string("model_type") == "gemma3") {
    throw Error(ErrorKind::kUnsupported, "Gemma 3 with a picture encoder (model_type 'gemma3') is not read",
                config.where(), "take a checkpoint of the text model alone (model_type 'gemma3_text')");
  }
  if (has_value(config, "use_bidirectional_attention") && config.boolean("use_bidirectional_attention")) {
    throw Error(ErrorKind::kUnsupported, "use_bidirectional_attention makes it an encoder, which generates no text",
                config.where(), "take a checkpoint that attends causally");
  }
  DecoderDefaults defaults;
  defaults.architecture = "gemma3";
  defaults.hidden_dim = 2304;
  defaults.num_layers = 26;
  defaults.num_heads = 8;
  defaults.num_kv_heads = 4;
  defaults.head_dim = 256;
  defaults.intermediate_dim = 9216;
  defaults.vocab_size = 262208;
  defaults.max_position_embeddings = 131072;
  defaults.activation_key = "hidden_activation";
  defaults.activation = "gelu_pytorch_tanh";
  defaults.is_tied = true;
  DecoderConfig result = read_decoder_config(config, hints, defaults);
  result.has_query_key_norms = true;
  result.has_sandwich_norms = true;
  result.has_norm_weights_plus_one = true;
  result.has_qkv_bias = result.has_attention_out_bias = config.boolean_or("attention_bias", false);
  result.embedding_scale = static_cast<float>(std::sqrt(static_cast<double>(result.hidden_dim)));
  const double scalar = config.number_or("query_pre_attn_scalar", 256);
  if (!(scalar > 0)) config.member("query_pre_attn_scalar").fail("must be more than 0");
  result.attention_scale = static_cast<float>(1 / std::sqrt(scalar));
  result.attention_softcap = softcap(config, "attn_logit_softcapping");
  result.logit_softcap = softcap(config, "final_logit_softcapping");
  result.ropes = read_ropes(config, result, read_size(config, "max_position_embeddings", 131072));

  const std::int64_t window = read_sliding_window(config, 4096, result.context_length);
  const std::vector<bool> is_sliding = read_sliding_layers(config, result.layers.size());
  // Without layer_types, every sliding_window_pattern-th layer sees everything.
  const std::int64_t pattern = read_size(config, "sliding_window_pattern", 6);
  for (std::size_t i = 0; i < result.layers.size(); ++i) {
    const bool has_window = is_sliding.empty() ? (static_cast<std::int64_t>(i) + 1) % pattern != 0 : is_sliding[i];
    if (!has_window) continue;
    result.layers[i].sliding_window = window;
    result.layers[i].rope = 1;
  }
  return result;
}

}  // namespace

const ModelDefinition& gemma3_definition() {
  static const LanguageFamily definition(
      {"gemma3", {"gemma3_text", "gemma3"}, {"Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"}, read_gemma3});
  return definition;
}

}  // namespace pajamas
