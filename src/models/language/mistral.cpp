// Mistral 7B and its kin: Llama with a sliding window over all layers.
#include "models/language/language_family.h"

namespace pajamas {
namespace {

DecoderConfig read_mistral(const JsonReader& config, const DecoderHints& hints) {
  DecoderDefaults defaults;
  defaults.architecture = "mistral";
  defaults.intermediate_dim = 14336;
  defaults.num_kv_heads = 8;
  defaults.max_position_embeddings = 4096 * 32;
  DecoderConfig result = read_decoder_config(config, hints, defaults);
  const std::int64_t window = read_sliding_window(config, 4096, result.context_length);
  for (DecoderLayer& layer : result.layers) layer.sliding_window = window;
  return result;
}

}  // namespace

const ModelDefinition& mistral_definition() {
  static const LanguageFamily definition({"mistral", {"mistral"}, {"MistralForCausalLM"}, read_mistral});
  return definition;
}

}  // namespace pajamas
