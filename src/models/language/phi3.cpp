// Phi-3, Phi-3.5 and Phi-4-mini: fused projections, long RoPE, a window, a part of each head that turns.
#include "models/language/language_family.h"

namespace pajamas {
namespace {

DecoderConfig read_phi3(const JsonReader& config, const DecoderHints& hints) {
  DecoderDefaults defaults;
  defaults.architecture = "phi3";
  defaults.hidden_dim = 3072;
  defaults.intermediate_dim = 8192;
  defaults.vocab_size = 32064;
  defaults.max_position_embeddings = 4096;
  defaults.norm_epsilon = 1e-5;
  DecoderConfig result = read_decoder_config(config, hints, defaults);
  result.has_fused_projections = true;
  const std::int64_t window = read_sliding_window(config, 0, result.context_length);
  for (DecoderLayer& layer : result.layers) layer.sliding_window = window;
  return result;
}

}  // namespace

const ModelDefinition& phi3_definition() {
  static const LanguageFamily definition({"phi3", {"phi3"}, {"Phi3ForCausalLM"}, read_phi3});
  return definition;
}

}  // namespace pajamas
