// The layers of a decoder in ONNX operators. See decoder_builder.h; what the inputs mean is in docs/language.md.
#include "models/language/decoder_builder.h"

#include <array>
#include <string>

#include "models/graph_weights.h"
#include "models/language/experts.h"
#include "models/paged_step.h"

namespace pajamas {
namespace {

/// First with RMSNormalization and RotaryEmbedding.
constexpr std::int64_t kOpset = 23;

/// Cosine and sine of one set of frequencies, [1, num_tokens, rotary_dim / 2].
struct Angles {
  GraphValue cosine, sine;
  std::int64_t rotary_dim = 0;
};

class DecoderBuilder {
 public:
  DecoderBuilder(const DecoderConfig& config, const WeightSource& source)
      : config_(config), graph_(config.architecture, kOpset), weights_(graph_, source) {}

  Model build() {
    step_ = add_paged_step(graph_);
    for (std::size_t i = 0; i < config_.ropes.size(); ++i) angles_.push_back(build_angles(step_.position_ids, i));
    GraphValue x = build_embedding(step_.input_ids);
    for (std::size_t i = 0; i < config_.layers.size(); ++i) x = build_layer(i, x);
    const GraphValue logits = build_output(graph_.node("Gather", {x, step_.logit_rows}));
    graph_.output("logits", logits, DType::kFloat32,
                  {Dimension::named("num_rows"), Dimension::known(config_.vocab_size)});
    // Some checkpoints keep what every model computes anew, or both ends of a tie.
    for (std::size_t i = 0; i < config_.layers.size(); ++i)
      weights_.ignore(layer_name(i) + ".self_attn.rotary_emb.inv_freq");
    if (config_.is_tied) weights_.ignore("lm_head.weight");
    // GGUF's frequency factors, which the configuration has already.
    for (const char* name : {"rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"}) {
      weights_.ignore(name);
    }
    weights_.refuse_layers_from(static_cast<std::int64_t>(config_.layers.size()));
    weights_.warn_unused(config_.architecture);
    return graph_.build();
  }

 private:
  static std::string layer_name(std::size_t index) { return "model.layers." + std::to_string(index); }

  Angles build_angles(const GraphValue& positions, std::size_t index) {
    const auto scope = graph_.scope(index == 0 ? "rotary_emb" : "rotary_emb_" + std::to_string(index));
    const Rope& rope = config_.ropes[index];
    const auto half = static_cast<std::int64_t>(rope.inverse_frequencies.size());
    const GraphValue numbers = graph_.node("Cast", {positions}, {{"to", static_cast<std::int64_t>(DType::kFloat32)}});
    const GraphValue column = graph_.node("Reshape", {numbers, graph_.integers({1, -1, 1})});
    const GraphValue angle =
        graph_.node("Mul", {column, graph_.constant(Tensor::of<float>(Shape{1, 1, half}, rope.inverse_frequencies))});
    const auto scaled = [&](const GraphValue& value) {
      if (rope.attention_factor == 1) return value;
      return graph_.node("Mul", {value, graph_.constant(rope.attention_factor)});
    };
    return {scaled(graph_.node("Cos", {angle})), scaled(graph_.node("Sin", {angle})), 2 * half};
  }

  GraphValue build_embedding(const GraphValue& ids) {
    const auto scope = graph_.scope("model.embed_tokens");
    const GraphValue table = weights_.matrix("model.embed_tokens.weight", config_.vocab_size, config_.hidden_dim);
    const GraphValue x = graph_.node("Gather", {table, ids});
    if (config_.embedding_scale == 1) return x;
    return graph_.node("Mul", {x, graph_.constant(config_.embedding_scale)});
  }

  GraphValue norm(const std::string& name, const GraphValue& x, std::int64_t dim) {
    const std::string weight = graph_.scope_path() + "." + name + ".weight";
    const auto scope = graph_.scope(name);
    return graph_.node("RMSNormalization",
                       {x, weights_.vector(weight, dim, config_.has_norm_weights_plus_one ? 1.0F : 0.0F)},
                       {{"axis", std::int64_t{-1}}, {"epsilon", static_cast<float>(config_.norm_epsilon)}});
  }

  GraphValue linear(const std::string& name, const GraphValue& x, std::int64_t in_dim, std::int64_t out_dim,
                    bool has_bias) {
    return weights_.linear(name, graph_.scope_path() + "." + name, x, in_dim, out_dim, has_bias);
  }

  GraphValue build_layer(std::size_t index, const GraphValue& x) {
    const auto scope = graph_.scope(layer_name(index));
    GraphValue attended = build_attention(index, norm("input_layernorm", x, config_.hidden_dim));
    if (config_.has_sandwich_norms) attended = norm("post_attention_layernorm", attended, config_.hidden_dim);
    const GraphValue middle = graph_.node("Add", {x, attended});
    const char* norm_name = config_.has_sandwich_norms ? "pre_feedforward_layernorm" : "post_attention_layernorm";
    GraphValue fed = build_feed_forward(index, norm(norm_name, middle, config_.hidden_dim));
    if (config_.has_sandwich_norms) fed = norm("post_feedforward_layernorm", fed, config_.hidden_dim);
    return graph_.node("Add", {middle, fed});
  }

  /// Queries or keys [num_tokens, heads * head_dim], normalised by head where the family does, turned by position.
  GraphValue place_heads(const GraphValue& x, std::int64_t num_heads, const char* norm_name, const Angles& angles) {
    GraphValue heads = x;
    if (config_.has_query_key_norms) {
      heads = graph_.node("Reshape", {heads, graph_.integers({0, num_heads, config_.head_dim})});
      heads = norm(norm_name, heads, config_.head_dim);
    }
    const GraphValue flat = graph_.node("Reshape", {heads, graph_.integers({1, -1, num_heads * config_.head_dim})});
    const GraphValue turned = rotate(flat, num_heads, angles);
    return graph_.node("Reshape", {turned, graph_.integers({-1, num_heads * config_.head_dim})});
  }

  GraphValue rotate(const GraphValue& flat, std::int64_t num_heads, const Angles& angles) {
    if (angles.rotary_dim == config_.head_dim) {
      return graph_.node("RotaryEmbedding", {flat, angles.cosine, angles.sine}, {{"num_heads", num_heads}});
    }
    return graph_.node("RotaryEmbedding", {flat, angles.cosine, angles.sine},
                       {{"num_heads", num_heads}, {"rotary_embedding_dim", angles.rotary_dim}});
  }

  GraphValue build_attention(std::size_t index, const GraphValue& x) {
    const auto scope = graph_.scope("self_attn");
    const DecoderLayer& layer = config_.layers[index];
    const std::int64_t query_dim = config_.num_heads * config_.head_dim;
    const std::int64_t kv_dim = config_.num_kv_heads * config_.head_dim;
    std::array<GraphValue, 3> qkv;
    if (config_.has_fused_projections) {
      const GraphValue fused = linear("qkv_proj", x, config_.hidden_dim, query_dim + 2 * kv_dim, config_.has_qkv_bias);
      const auto parts = graph_.node_with_outputs("Split", {fused, graph_.integers({query_dim, kv_dim, kv_dim})}, 3,
                                                  {{"axis", std::int64_t{1}}});
      std::copy(parts.begin(), parts.end(), qkv.begin());
    } else {
      qkv[0] = linear("q_proj", x, config_.hidden_dim, query_dim, config_.has_qkv_bias);
      qkv[1] = linear("k_proj", x, config_.hidden_dim, kv_dim, config_.has_qkv_bias);
      qkv[2] = linear("v_proj", x, config_.hidden_dim, kv_dim, config_.has_qkv_bias);
    }
    const Angles& angles = angles_[layer.rope];
    const GraphValue query = place_heads(qkv[0], config_.num_heads, "q_norm", angles);
    const GraphValue key = place_heads(qkv[1], config_.num_kv_heads, "k_norm", angles);
    const GraphValue mixed =
        paged_attention(graph_, step_, query, key, qkv[2],
                        {static_cast<std::int64_t>(index), config_.num_heads, config_.num_kv_heads, config_.head_dim,
                         config_.attention_scale, layer.sliding_window, config_.attention_softcap});
    return linear("o_proj", mixed, query_dim, config_.hidden_dim, config_.has_attention_out_bias);
  }

  GraphValue build_feed_forward(std::size_t index, const GraphValue& x) {
    const auto scope = graph_.scope("mlp");
    if (config_.layers[index].has_experts) {
      return build_experts(graph_, weights_, config_.experts, config_.activation, config_.hidden_dim, x);
    }
    const std::int64_t wide = config_.intermediate_dim;
    GraphValue gate, up;
    if (config_.has_fused_projections) {
      const GraphValue fused = linear("gate_up_proj", x, config_.hidden_dim, 2 * wide, config_.has_mlp_bias);
      const auto parts =
          graph_.node_with_outputs("Split", {fused, graph_.integers({wide, wide})}, 2, {{"axis", std::int64_t{1}}});
      gate = parts[0];
      up = parts[1];
    } else {
      gate = linear("gate_proj", x, config_.hidden_dim, wide, config_.has_mlp_bias);
      up = linear("up_proj", x, config_.hidden_dim, wide, config_.has_mlp_bias);
    }
    const GraphValue inner = graph_.node("Mul", {activation(graph_, config_.activation, gate), up});
    return linear("down_proj", inner, wide, config_.hidden_dim, config_.has_mlp_bias);
  }

  GraphValue build_output(const GraphValue& x) {
    const GraphValue normed = [&] {
      const auto scope = graph_.scope("model");
      return norm("norm", x, config_.hidden_dim);
    }();
    const std::string table = config_.is_tied ? "model.embed_tokens" : "lm_head";
    const GraphValue logits =
        weights_.linear("lm_head", table, normed, config_.hidden_dim, config_.vocab_size, /*has_bias=*/false);
    if (config_.logit_softcap == 0) return logits;
    const GraphValue cap = graph_.constant(config_.logit_softcap);
    return graph_.node("Mul", {graph_.node("Tanh", {graph_.node("Div", {logits, cap})}), cap});
  }

  const DecoderConfig& config_;
  GraphBuilder graph_;
  GraphWeights weights_;
  PagedStep step_;
  std::vector<Angles> angles_;
};

}  // namespace

Model build_decoder(const DecoderConfig& config, const WeightSource& source) {
  return DecoderBuilder(config, source).build();
}

}  // namespace pajamas
