// DecoderConfig: a decoder-only transformer as data. Families differ in how they fill it in (llama.cpp, qwen3.cpp,
// ...); decoder_builder.h turns any of it into a Graph.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json_reader.h"
#include "models/language/rope.h"
#include "models/layers.h"

namespace pajamas {

/// One layer's own ways.
struct DecoderLayer {
  std::int64_t sliding_window = 0;  ///< Tokens seen, itself included; 0: all.
  std::size_t rope = 0;             ///< Index into DecoderConfig::ropes.
  bool has_experts = false;         ///< A mixture of experts in place of one feed-forward network.
};

/// A mixture of experts (Shazeer et al. 2017, arXiv 1701.06538): each token goes to `num_experts_per_token` of them.
struct ExpertsConfig {
  std::int64_t num_experts = 0;
  std::int64_t num_experts_per_token = 0;
  std::int64_t intermediate_dim = 0;
  bool is_normalised = false;  ///< The chosen experts' weights are divided by their sum.
};

struct DecoderConfig {
  std::string architecture;  ///< Family name, for reports.
  std::int64_t hidden_dim = 0;
  std::int64_t num_heads = 0;
  std::int64_t num_kv_heads = 0;  ///< Divides num_heads.
  std::int64_t head_dim = 0;
  std::int64_t intermediate_dim = 0;
  std::int64_t vocab_size = 0;
  double norm_epsilon = 1e-6;
  ActivationFunction activation = ActivationFunction::kSilu;
  bool has_qkv_bias = false;
  bool has_attention_out_bias = false;
  bool has_mlp_bias = false;
  bool has_query_key_norms = false;        ///< RMSNorm over each head before positions are put in.
  bool has_sandwich_norms = false;         ///< Norms after attention and feed-forward too, as Gemma has them.
  bool has_norm_weights_plus_one = false;  ///< Norm weights are stored less one.
  bool has_fused_projections = false;      ///< qkv_proj and gate_up_proj in one matrix each.
  bool is_tied = false;                    ///< The output layer is the embedding table.
  float embedding_scale = 1;
  float attention_scale = 1;    ///< Factor on scores.
  float attention_softcap = 0;  ///< cap * tanh(score / cap); 0: none.
  float logit_softcap = 0;
  std::vector<Rope> ropes;
  std::vector<DecoderLayer> layers;
  ExpertsConfig experts;
  std::int64_t context_length = 0;  ///< Most tokens of a sequence.
};

/// What the user wants of it.
struct DecoderHints {
  std::int64_t context_length = 0;  ///< 0: the model's own.
};

/// What most families share, read with transformers' defaults: sizes, activation, tie, one set of frequencies and
/// layers that see everything. Families correct it afterwards.
struct DecoderDefaults {
  std::string architecture;
  std::int64_t hidden_dim = 4096, num_layers = 32, num_heads = 32, intermediate_dim = 11008, vocab_size = 32000;
  std::optional<std::int64_t> num_kv_heads;  ///< Empty: num_heads.
  std::optional<std::int64_t> head_dim;      ///< Empty: hidden_dim / num_heads.
  std::int64_t max_position_embeddings = 2048;
  double norm_epsilon = 1e-6;
  const char* activation_key = "hidden_act";
  const char* activation = "silu";
  bool is_tied = false;
  double partial_rotary_factor = 1;
};
/// Throws Error{kBadInput} naming the key for sizes that are absurd or contradict each other, and for a context length
/// (Error{kUsage}) past what the model was made for; Error{kUnsupported} for activations and position embeddings that
/// are not known.
DecoderConfig read_decoder_config(const JsonReader& config, const DecoderHints& hints, const DecoderDefaults& defaults);

/// Whether the key is there and not null.
bool has_value(const JsonReader& config, const char* key);
/// "sliding_window", 0 for null or none; a window of the context's length or more is none.
std::int64_t read_sliding_window(const JsonReader& config, std::int64_t fallback, std::int64_t context_length);
/// Whether each layer's entry in "layer_types" is "sliding_attention"; empty when the key is missing. Throws
/// Error{kUnsupported} for other kinds of layers, Error{kBadInput} for a wrong count.
std::vector<bool> read_sliding_layers(const JsonReader& config, std::size_t num_layers);

}  // namespace pajamas
