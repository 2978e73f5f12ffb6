// Qwen3, dense: norms over each head of queries and keys, no biases.
#include "models/language/language_family.h"
#include "models/language/qwen.h"

namespace pajamas {
namespace {

DecoderConfig read_qwen3(const JsonReader& config, const DecoderHints& hints) {
  DecoderDefaults defaults;
  defaults.architecture = "qwen3";
  defaults.intermediate_dim = 22016;
  defaults.vocab_size = 151936;
  defaults.num_kv_heads = 32;
  defaults.head_dim = 128;
  defaults.max_position_embeddings = 32768;
  DecoderConfig result = read_decoder_config(config, hints, defaults);
  result.has_query_key_norms = true;
  result.has_qkv_bias = result.has_attention_out_bias = config.boolean_or("attention_bias", false);
  read_qwen_windows(config, 28, result);
  return result;
}

}  // namespace

const ModelDefinition& qwen3_definition() {
  static const LanguageFamily definition({"qwen3", {"qwen3"}, {"Qwen3ForCausalLM"}, read_qwen3});
  return definition;
}

}  // namespace pajamas
