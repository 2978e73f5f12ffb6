// Encoder, decoder and aligner in ONNX operators. See whisper_graphs.h.
#include "models/whisper/whisper_graphs.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "graph/passes/expand_paged_attention.h"
#include "graph/passes/passes.h"
#include "models/graph_weights.h"
#include "models/paged_step.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

/// As the graphs of language models: docs/language.md.
constexpr std::int64_t kOpset = 23;
/// PyTorch's default, which no configuration changes.
constexpr double kEpsilon = 1e-5;
constexpr const char* kFamily = "whisper";

std::string encoder_layer(std::int64_t index) { return "model.encoder.layers." + std::to_string(index); }
std::string decoder_layer(std::int64_t index) { return "model.decoder.layers." + std::to_string(index); }
std::string cross_key(std::int64_t layer) { return "cross_key." + std::to_string(layer); }
std::string cross_value(std::int64_t layer) { return "cross_value." + std::to_string(layer); }

std::vector<Dimension> cross_shape(const WhisperConfig& config, bool is_key) {
  const Dimension positions = Dimension::known(config.num_positions);
  const Dimension head_dim = Dimension::known(config.decoder_head_dim());
  return {Dimension::named("num_chunks"), Dimension::known(config.num_decoder_heads), is_key ? head_dim : positions,
          is_key ? positions : head_dim};
}

/// What encoder and decoder have in common. Values are float32, [rows, hidden_dim] between the layers.
class GraphOfLayers {
 public:
  GraphOfLayers(const char* name, const WhisperConfig& config, const WeightSource& source)
      : config_(config), graph_(name, kOpset), weights_(graph_, source), source_(source) {}

 protected:
  static NodeAttributes::value_type perm(std::initializer_list<std::int64_t> order) {
    return {"perm", std::vector<std::int64_t>(order)};
  }

  /// The projection `name` of the open scope. Keys have no bias in any published model; a container that gives them one
  /// (a fused matrix whose part is not zero) is heard.
  GraphValue linear(const std::string& name, const GraphValue& x, std::int64_t in_dim, std::int64_t out_dim) {
    const std::string full_name = graph_.scope_path() + "." + name;
    const bool has_bias = name != "k_proj" || weights_.has(full_name + ".bias");
    return weights_.linear(name, full_name, x, in_dim, out_dim, has_bias);
  }
  GraphValue project(const std::string& name, const GraphValue& x) {
    return linear(name, x, config_.hidden_dim, config_.hidden_dim);
  }
  GraphValue norm(const std::string& name, const GraphValue& x) {
    return weights_.layer_norm(name, graph_.scope_path() + "." + name, x, config_.hidden_dim, kEpsilon);
  }
  GraphValue scaled(const GraphValue& query, std::int64_t head_dim) {
    const auto factor = static_cast<float>(1.0 / std::sqrt(static_cast<double>(head_dim)));
    return graph_.node("Mul", {query, graph_.constant(factor)});
  }
  /// x + the feed-forward network of its norm.
  GraphValue feed_forward(const GraphValue& x, std::int64_t intermediate_dim) {
    const GraphValue wide = linear("fc1", norm("final_layer_norm", x), config_.hidden_dim, intermediate_dim);
    return graph_.node(
        "Add", {x, linear("fc2", activation(graph_, config_.activation, wide), intermediate_dim, config_.hidden_dim)});
  }
  /// Names that the other graph of the model needs, or nobody.
  template <typename Predicate>
  void ignore(const Predicate& is_of_others) {
    for (const std::string& name : source_.names()) {
      if (is_of_others(name)) weights_.ignore(name);
    }
  }

  const WhisperConfig& config_;
  GraphBuilder graph_;
  GraphWeights weights_;
  const WeightSource& source_;
};

class EncoderBuilder : GraphOfLayers {
 public:
  EncoderBuilder(const WhisperConfig& config, const WeightSource& source)
      : GraphOfLayers("whisper_encoder", config, source) {}

  Model build() {
    const GraphValue features = graph_.input("features", DType::kFloat32,
                                             {Dimension::named("num_chunks"), Dimension::known(config_.num_mels),
                                              Dimension::known(2 * config_.num_positions)});
    GraphValue x = embed(features);
    for (std::int64_t i = 0; i < config_.num_encoder_layers; ++i) {
      const auto scope = graph_.scope(encoder_layer(i));
      x = feed_forward(graph_.node("Add", {x, attention(norm("self_attn_layer_norm", x))}),
                       config_.encoder_intermediate_dim);
    }
    const GraphValue encoded = [&] {
      const auto scope = graph_.scope("model.encoder");
      return norm("layer_norm", x);
    }();
    for (std::int64_t i = 0; i < config_.num_decoder_layers; ++i) give_cross(i, encoded);
    ignore([](const std::string& name) { return name.starts_with("model.decoder.") || name == "proj_out.weight"; });
    weights_.warn_unused(kFamily);
    return graph_.build();
  }

 private:
  /// [num_chunks, num_mels, frames] to [num_chunks * num_positions, hidden_dim].
  GraphValue embed(const GraphValue& features) {
    const auto scope = graph_.scope("model.encoder");
    const GraphValue first = convolution("conv1", features, config_.num_mels, 1);
    const GraphValue second = convolution("conv2", first, config_.hidden_dim, 2);
    const GraphValue sequence = graph_.node("Transpose", {second}, {perm({0, 2, 1})});
    const GraphValue positions =
        weights_.tensor("model.encoder.embed_positions.weight", Shape{config_.num_positions, config_.hidden_dim});
    const GraphValue placed = graph_.node("Add", {sequence, positions});
    return graph_.node("Reshape", {placed, graph_.integers({-1, config_.hidden_dim})});
  }

  GraphValue convolution(const std::string& name, const GraphValue& x, std::int64_t in_channels, std::int64_t stride) {
    const std::string full_name = graph_.scope_path() + "." + name;
    const auto scope = graph_.scope(name);
    const GraphValue weight = weights_.tensor(full_name + ".weight", Shape{config_.hidden_dim, in_channels, 3});
    const GraphValue bias = weights_.vector(full_name + ".bias", config_.hidden_dim);
    const GraphValue result = graph_.node("Conv", {x, weight, bias},
                                          {{"kernel_shape", std::vector<std::int64_t>{3}},
                                           {"pads", std::vector<std::int64_t>{1, 1}},
                                           {"strides", std::vector<std::int64_t>{stride}}});
    return activation(graph_, config_.activation, result);
  }

  GraphValue heads(const GraphValue& x, std::int64_t num_heads, std::initializer_list<std::int64_t> order) {
    const GraphValue split = graph_.node(
        "Reshape", {x, graph_.integers({-1, config_.num_positions, num_heads, config_.hidden_dim / num_heads})});
    return graph_.node("Transpose", {split}, {perm(order)});
  }

  GraphValue attention(const GraphValue& x) {
    const auto scope = graph_.scope("self_attn");
    const std::int64_t num_heads = config_.num_encoder_heads;
    const GraphValue query = heads(scaled(project("q_proj", x), config_.encoder_head_dim()), num_heads, {0, 2, 1, 3});
    const GraphValue key = heads(project("k_proj", x), num_heads, {0, 2, 3, 1});
    const GraphValue value = heads(project("v_proj", x), num_heads, {0, 2, 1, 3});
    const GraphValue shares =
        graph_.node("Softmax", {graph_.node("MatMul", {query, key})}, {{"axis", std::int64_t{-1}}});
    const GraphValue mixed = graph_.node("Transpose", {graph_.node("MatMul", {shares, value})}, {perm({0, 2, 1, 3})});
    return project("out_proj", graph_.node("Reshape", {mixed, graph_.integers({-1, config_.hidden_dim})}));
  }

  void give_cross(std::int64_t layer, const GraphValue& encoded) {
    const auto scope = graph_.scope(decoder_layer(layer) + ".encoder_attn");
    const std::int64_t num_heads = config_.num_decoder_heads;
    const GraphValue key = heads(project("k_proj", encoded), num_heads, {0, 2, 3, 1});
    const GraphValue value = heads(project("v_proj", encoded), num_heads, {0, 2, 1, 3});
    graph_.output(cross_key(layer), key, DType::kFloat32, cross_shape(config_, true));
    graph_.output(cross_value(layer), value, DType::kFloat32, cross_shape(config_, false));
  }
};

class DecoderBuilder : GraphOfLayers {
 public:
  DecoderBuilder(const WhisperConfig& config, const WeightSource& source)
      : GraphOfLayers("whisper_decoder", config, source) {}

  Model build() {
    step_ = add_paged_step(graph_);
    for (std::int64_t i = 0; i < config_.num_decoder_layers; ++i) {
      keys_.push_back(graph_.input(cross_key(i), DType::kFloat32, cross_shape(config_, true)));
      values_.push_back(graph_.input(cross_value(i), DType::kFloat32, cross_shape(config_, false)));
    }
    head_shape_ = build_head_shape();
    GraphValue x = embed();
    for (std::int64_t i = 0; i < config_.num_decoder_layers; ++i) {
      const auto scope = graph_.scope(decoder_layer(i));
      x = graph_.node("Add", {x, self_attention(i, norm("self_attn_layer_norm", x))});
      x = graph_.node("Add", {x, cross_attention(i, norm("encoder_attn_layer_norm", x))});
      x = feed_forward(x, config_.decoder_intermediate_dim);
    }
    graph_.output("logits", build_output(graph_.node("Gather", {x, step_.logit_rows})), DType::kFloat32,
                  {Dimension::named("num_rows"), Dimension::known(config_.vocab_size)});
    const bool is_tied = config_.is_tied;
    ignore([&](const std::string& name) {
      // The encoder projects keys and values, and says which names are nobody's.
      return !name.starts_with("model.decoder.") || name.find(".encoder_attn.k_proj.") != std::string::npos ||
             name.find(".encoder_attn.v_proj.") != std::string::npos || (is_tied && name == "proj_out.weight");
    });
    weights_.warn_unused(kFamily);
    return graph_.build();
  }

 private:
  /// [num_chunks, rows of a chunk, num_heads, head_dim], the first two of which only the inputs know. Both are worked
  /// out once: a -1 in each layer would have TensorRT multiply its bounds of shapes from layer to layer.
  GraphValue build_head_shape() {
    const auto scope = graph_.scope("model.decoder");
    const GraphValue num_chunks =
        graph_.node("Shape", {keys_[0]}, {{"start", std::int64_t{0}}, {"end", std::int64_t{1}}});
    const GraphValue by_chunk = graph_.node("Concat", {num_chunks, graph_.integers({-1})}, {{"axis", std::int64_t{0}}});
    const GraphValue chunks_and_rows = graph_.node("Shape", {graph_.node("Reshape", {step_.input_ids, by_chunk})});
    return graph_.node("Concat",
                       {chunks_and_rows, graph_.integers({config_.num_decoder_heads, config_.decoder_head_dim()})},
                       {{"axis", std::int64_t{0}}});
  }

  GraphValue embed() {
    const auto scope = graph_.scope("model.decoder");
    const GraphValue tokens =
        weights_.matrix("model.decoder.embed_tokens.weight", config_.vocab_size, config_.hidden_dim);
    const GraphValue positions =
        weights_.matrix("model.decoder.embed_positions.weight", config_.context_length, config_.hidden_dim);
    return graph_.node("Add", {graph_.node("Gather", {tokens, step_.input_ids}),
                               graph_.node("Gather", {positions, step_.position_ids})});
  }

  GraphValue self_attention(std::int64_t layer, const GraphValue& x) {
    const auto scope = graph_.scope("self_attn");
    const std::int64_t num_heads = config_.num_decoder_heads, head_dim = config_.decoder_head_dim();
    PagedAttentionFacts facts;
    facts.layer_index = layer;
    facts.num_heads = num_heads;
    facts.num_kv_heads = num_heads;
    facts.head_dim = head_dim;
    facts.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(head_dim)));
    return project("out_proj", paged_attention(graph_, step_, project("q_proj", x), project("k_proj", x),
                                               project("v_proj", x), facts));
  }

  GraphValue cross_attention(std::int64_t layer, const GraphValue& x) {
    const auto scope = graph_.scope("encoder_attn");
    const auto index = static_cast<std::size_t>(layer);
    const GraphValue split =
        graph_.node("Reshape", {scaled(project("q_proj", x), config_.decoder_head_dim()), head_shape_});
    const GraphValue query = graph_.node("Transpose", {split}, {perm({0, 2, 1, 3})});
    const GraphValue shares =
        graph_.node("Softmax", {graph_.node("MatMul", {query, keys_[index]})}, {{"axis", std::int64_t{-1}}});
    const GraphValue mixed =
        graph_.node("Transpose", {graph_.node("MatMul", {shares, values_[index]})}, {perm({0, 2, 1, 3})});
    return project("out_proj", graph_.node("Reshape", {mixed, graph_.integers({-1, config_.hidden_dim})}));
  }

  GraphValue build_output(const GraphValue& x) {
    const GraphValue normed = [&] {
      const auto scope = graph_.scope("model.decoder");
      return norm("layer_norm", x);
    }();
    const std::string table = config_.is_tied ? "model.decoder.embed_tokens" : "proj_out";
    return weights_.linear("proj_out", table, normed, config_.hidden_dim, config_.vocab_size, /*has_bias=*/false);
  }

  PagedStep step_;
  std::vector<GraphValue> keys_, values_;
  GraphValue head_shape_;
};

/// One node with one output of its name.
std::string add_node(Graph& graph, const char* op_type, const std::string& name, std::vector<std::string> inputs,
                     std::initializer_list<std::pair<const char*, AttributeValue>> attributes = {}) {
  Node node;
  node.op_type = op_type;
  node.name = name;
  node.inputs = std::move(inputs);
  node.outputs = {name};
  for (const auto& attribute : attributes) node.set_attribute(attribute.first, attribute.second);
  graph.nodes.push_back(std::move(node));
  return name;
}

std::string add_integers(Graph& graph, const std::string& name, const std::vector<std::int64_t>& values) {
  const Shape shape{static_cast<std::int64_t>(values.size())};
  graph.initializers.push_back({name, Tensor::of<std::int64_t>(shape, std::span(values)), {}, {}});
  return name;
}

}  // namespace

Model build_whisper_encoder(const WhisperConfig& config, const WeightSource& weights) {
  return EncoderBuilder(config, weights).build();
}

Model build_whisper_decoder(const WhisperConfig& config, const WeightSource& weights) {
  return DecoderBuilder(config, weights).build();
}

Model build_whisper_aligner(const Model& decoder, std::vector<std::array<std::int64_t, 2>> heads) {
  Model aligner = decoder;
  expand_paged_attention(aligner);
  Graph& graph = aligner.graph;
  graph.name = "whisper_aligner";
  std::sort(heads.begin(), heads.end());
  std::vector<std::string> parts;
  std::int64_t num_positions = 0;
  for (std::size_t begin = 0; begin < heads.size();) {
    const std::int64_t layer = heads[begin][0];
    std::vector<std::int64_t> of_layer;
    for (; begin < heads.size() && heads[begin][0] == layer; ++begin) of_layer.push_back(heads[begin][1]);
    const std::string scope = decoder_layer(layer) + ".encoder_attn";
    const bool is_there = std::any_of(graph.nodes.begin(), graph.nodes.end(),
                                      [&](const Node& node) { return node.name == scope + "/Softmax"; });
    const auto input = std::find_if(graph.inputs.begin(), graph.inputs.end(),
                                    [&](const ValueInfo& info) { return info.name == cross_value(layer); });
    if (!is_there || input == graph.inputs.end()) {
      throw Error(ErrorKind::kBadInput, "alignment head [" + std::to_string(layer) + ", " +
                                            std::to_string(of_layer.front()) + "] is of a layer that is not there");
    }
    const auto& shape = *input->type->shape;
    num_positions = shape[2].extent();
    for (const std::int64_t head : of_layer) {
      if (head >= 0 && head < shape[1].extent()) continue;
      throw Error(ErrorKind::kBadInput, "alignment head [" + std::to_string(layer) + ", " + std::to_string(head) +
                                            "] is not there: layers have " + shape[1].to_string() + " heads");
    }
    // [1, num_heads, num_tokens, num_positions]
    const std::string indices = add_integers(graph, scope + "/alignment_heads", of_layer);
    parts.push_back(
        add_node(graph, "Gather", scope + "/alignment", {scope + "/Softmax", indices}, {{"axis", std::int64_t{1}}}));
  }
  if (parts.empty()) throw Error(ErrorKind::kBadInput, "there are no alignment heads");
  const auto num_heads = static_cast<std::int64_t>(heads.size());
  const std::string joined = add_node(graph, "Concat", "alignment/Concat", parts, {{"axis", std::int64_t{1}}});
  add_node(graph, "Reshape", "alignment",
           {joined, add_integers(graph, "alignment/shape", {num_heads, -1, num_positions})});
  ValueInfo output;
  output.name = "alignment";
  output.type = ValueType{};
  output.type->dtype = DType::kFloat32;
  output.type->shape = {Dimension::known(num_heads), Dimension::named("num_tokens"), Dimension::known(num_positions)};
  graph.outputs = {std::move(output)};
  std::erase_if(graph.inputs, [](const ValueInfo& info) { return info.name == "logit_rows"; });
  for (ValueInfo& info : graph.inputs) {
    if (info.name.starts_with("cross_")) info.type->shape->front() = Dimension::known(1);
  }
  remove_dead_code(aligner);
  return aligner;
}

}  // namespace pajamas
