// Llama 2, 3, 3.1, 3.2, and what is published in its form (SmolLM2, many fine-tunes).
#include "models/language/language_family.h"

namespace pajamas {
namespace {

DecoderConfig read_llama(const JsonReader& config, const DecoderHints& hints) {
  DecoderDefaults defaults;
  defaults.architecture = "llama";
  DecoderConfig result = read_decoder_config(config, hints, defaults);
  result.has_qkv_bias = result.has_attention_out_bias = config.boolean_or("attention_bias", false);
  result.has_mlp_bias = config.boolean_or("mlp_bias", false);
  return result;
}

}  // namespace

const ModelDefinition& llama_definition() {
  static const LanguageFamily definition({"llama", {"llama"}, {"LlamaForCausalLM"}, read_llama});
  return definition;
}

}  // namespace pajamas
