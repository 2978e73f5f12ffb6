// Qwen3 with mixtures of experts (30B-A3B, 235B-A22B).
#include <algorithm>

#include "models/checkpoint.h"
#include "models/language/language_family.h"

namespace pajamas {
namespace {

DecoderConfig read_qwen3_moe(const JsonReader& config, const DecoderHints& hints) {
  DecoderDefaults defaults;
  defaults.architecture = "qwen3_moe";
  defaults.hidden_dim = 2048;
  defaults.num_layers = 24;
  defaults.intermediate_dim = 6144;
  defaults.vocab_size = 151936;
  defaults.num_kv_heads = 4;
  defaults.max_position_embeddings = 32768;
  DecoderConfig result = read_decoder_config(config, hints, defaults);
  result.has_query_key_norms = true;
  result.has_qkv_bias = result.has_attention_out_bias = config.boolean_or("attention_bias", false);
  if (config.boolean_or("use_sliding_window", false)) {
    const std::int64_t window = read_sliding_window(config, 4096, result.context_length);
    for (DecoderLayer& layer : result.layers) layer.sliding_window = window;
  }
  // Transformers 5 knows the number under both names.
  const char* count_key = has_value(config, "num_experts") ? "num_experts" : "num_local_experts";
  result.experts.num_experts = config.integer_or(count_key, 128, 0, 4096);
  result.experts.num_experts_per_token = read_size(config, "num_experts_per_tok", 8);
  result.experts.intermediate_dim = read_size(config, "moe_intermediate_size", 768);
  result.experts.is_normalised = config.boolean_or("norm_topk_prob", false);
  if (result.experts.num_experts > 0 && result.experts.num_experts_per_token > result.experts.num_experts) {
    config.member("num_experts_per_tok").fail("is more than num_experts " + std::to_string(result.experts.num_experts));
  }
  // Every decoder_sparse_step-th layer has experts, but those that mlp_only_layers lists.
  const std::int64_t step = read_size(config, "decoder_sparse_step", 1);
  std::vector<std::int64_t> plain;
  if (has_value(config, "mlp_only_layers")) {
    for (const JsonReader& entry : config.member("mlp_only_layers").elements()) plain.push_back(entry.as_integer(0));
  }
  for (std::size_t i = 0; i < result.layers.size(); ++i) {
    const auto index = static_cast<std::int64_t>(i);
    result.layers[i].has_experts = result.experts.num_experts > 0 && (index + 1) % step == 0 &&
                                   std::find(plain.begin(), plain.end(), index) == plain.end();
  }
  return result;
}

}  // namespace

const ModelDefinition& qwen3_moe_definition() {
  static const LanguageFamily definition({"qwen3_moe", {"qwen3_moe"}, {"Qwen3MoeForCausalLM"}, read_qwen3_moe});
  return definition;
}

}  // namespace pajamas
