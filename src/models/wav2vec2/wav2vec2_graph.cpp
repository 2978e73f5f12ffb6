// Convolutions, positions and transformer in ONNX operators. See wav2vec2_graph.h.
#include "models/wav2vec2/wav2vec2_graph.h"

#include <cmath>

#include "models/graph_weights.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

/// As the graphs of language models: docs/language.md.
constexpr std::int64_t kOpset = 23;
/// PyTorch's default for norms of the convolutions and for batch norm, which no configuration changes.
constexpr double kConvolutionEpsilon = 1e-5;

/// Values are float32: [batch, channels, num_frames] in convolutions, [batch * num_frames, dim] between linear layers.
class Builder {
 public:
  Builder(const Wav2Vec2Config& config, const WeightSource& source)
      : config_(config), graph_("wav2vec2_ctc", kOpset), weights_(graph_, source), source_(source) {}

  Model build() {
    const GraphValue samples =
        graph_.input("samples", DType::kFloat32, {Dimension::named("batch"), Dimension::named("num_samples")});
    batch_ = graph_.node("Shape", {samples}, {{"start", std::int64_t{0}}, {"end", std::int64_t{1}}});
    GraphValue x = project(extract(samples));
    const auto scope = graph_.scope(config_.prefix + "encoder");
    x = graph_.node("Add", {x, positions(x)});
    if (!config_.is_norm_first) x = norm("layer_norm", x, config_.hidden_dim);
    head_shape_ = shape_behind_batch({-1, config_.num_heads, config_.head_dim()});
    for (std::int64_t i = 0; i < config_.num_layers; ++i) x = layer(i, x);
    if (config_.is_norm_first) x = norm("layer_norm", x, config_.hidden_dim);
    const GraphValue scores =
        weights_.linear("lm_head", "lm_head", x, config_.hidden_dim, config_.vocab_size, /*has_bias=*/true);
    const GraphValue logits = graph_.node("Reshape", {scores, shape_behind_batch({-1, config_.vocab_size})});
    graph_.output("logits", logits, DType::kFloat32,
                  {Dimension::named("batch"), Dimension::named("num_frames"), Dimension::known(config_.vocab_size)});
    account_for_tensors();
    return graph_.build();
  }

 private:
  static NodeAttributes::value_type perm(std::initializer_list<std::int64_t> order) {
    return {"perm", std::vector<std::int64_t>(order)};
  }
  std::string full_name(const std::string& name) const { return graph_.scope_path() + "." + name; }

  /// [batch, extents...], of which the inputs alone know the first.
  GraphValue shape_behind_batch(std::initializer_list<std::int64_t> extents) {
    return graph_.node("Concat", {batch_, graph_.integers(extents)}, {{"axis", std::int64_t{0}}});
  }
  GraphValue linear(const std::string& name, const GraphValue& x, std::int64_t in_dim, std::int64_t out_dim) {
    return weights_.linear(name, full_name(name), x, in_dim, out_dim, /*has_bias=*/true);
  }
  GraphValue norm(const std::string& name, const GraphValue& x, std::int64_t dim) {
    return weights_.layer_norm(name, full_name(name), x, dim, config_.epsilon);
  }

  /// The samples to [batch, channels, num_frames].
  GraphValue extract(const GraphValue& samples) {
    const auto scope = graph_.scope(config_.prefix + "feature_extractor.conv_layers");
    GraphValue x = graph_.node("Unsqueeze", {samples, graph_.integers({1})});
    std::int64_t in_channels = 1;
    for (std::size_t i = 0; i < config_.convolutions.size(); ++i) {
      const auto inner = graph_.scope(std::to_string(i));
      const Wav2Vec2Convolution& convolution = config_.convolutions[i];
      x = convolve(x, in_channels, convolution);
      in_channels = convolution.channels;
      if (!config_.is_group_norm) {
        const GraphValue last = graph_.node("Transpose", {x}, {perm({0, 2, 1})});
        const GraphValue normed =
            weights_.layer_norm("layer_norm", full_name("layer_norm"), last, convolution.channels, kConvolutionEpsilon);
        x = graph_.node("Transpose", {normed}, {perm({0, 2, 1})});
      } else if (i == 0) {
        // A group for each channel is a norm of each over time.
        const std::string name = full_name("layer_norm");
        x = graph_.node("InstanceNormalization",
                        {x, weights_.vector(name + ".weight", convolution.channels),
                         weights_.vector(name + ".bias", convolution.channels)},
                        {{"epsilon", static_cast<float>(kConvolutionEpsilon)}});
      }
      x = activation(graph_, config_.feature_activation, x);
    }
    return x;
  }

  GraphValue convolve(const GraphValue& x, std::int64_t in_channels, const Wav2Vec2Convolution& convolution) {
    const std::string name = full_name("conv");
    const auto scope = graph_.scope("conv");
    std::vector<GraphValue> inputs{
        x, weights_.tensor(name + ".weight", Shape{convolution.channels, in_channels, convolution.kernel})};
    if (config_.has_convolution_bias) inputs.push_back(weights_.vector(name + ".bias", convolution.channels));
    return graph_.node("Conv", std::span<const GraphValue>(inputs),
                       {{"kernel_shape", std::vector<std::int64_t>{convolution.kernel}},
                        {"pads", std::vector<std::int64_t>{0, 0}},
                        {"strides", std::vector<std::int64_t>{convolution.stride}}});
  }

  /// [batch, channels, num_frames] to [batch * num_frames, hidden_dim].
  GraphValue project(const GraphValue& features) {
    const auto scope = graph_.scope(config_.prefix + "feature_projection");
    const std::int64_t channels = config_.convolutions.back().channels;
    const GraphValue sequence = graph_.node("Transpose", {features}, {perm({0, 2, 1})});
    GraphValue rows = graph_.node("Reshape", {sequence, graph_.integers({-1, channels})});
    if (config_.has_projection_norm) rows = norm("layer_norm", rows, channels);
    return linear("projection", rows, channels, config_.hidden_dim);
  }

  /// The convolution that stands for positions, [rows, hidden_dim] as x.
  GraphValue positions(const GraphValue& x) {
    const auto scope = graph_.scope("pos_conv_embed");
    const std::int64_t dim = config_.hidden_dim, kernel = config_.position_kernel;
    const GraphValue sequence = graph_.node("Reshape", {x, shape_behind_batch({-1, dim})});
    GraphValue channels = graph_.node("Transpose", {sequence}, {perm({0, 2, 1})});
    if (config_.has_position_batch_norm) {
      const std::string name = full_name("batch_norm");
      const auto vector = [&](const char* part) { return weights_.vector(name + "." + part, dim); };
      channels =
          graph_.node("BatchNormalization",
                      {channels, vector("weight"), vector("bias"), vector("running_mean"), vector("running_var")},
                      {{"epsilon", static_cast<float>(kConvolutionEpsilon)}});
      weights_.ignore(name + ".num_batches_tracked");
    }
    const std::string name = full_name("conv");
    const GraphValue weight = position_weight(name);
    // As many frames out as in: of an even kernel the last of them is left out.
    const GraphValue convolved = graph_.node("Conv", {channels, weight, weights_.vector(name + ".bias", dim)},
                                             {{"kernel_shape", std::vector<std::int64_t>{kernel}},
                                              {"pads", std::vector<std::int64_t>{kernel / 2, (kernel - 1) / 2}},
                                              {"strides", std::vector<std::int64_t>{1}},
                                              {"group", config_.position_groups}});
    const GraphValue active = activation(graph_, config_.feature_activation, convolved);
    return graph_.node("Reshape", {graph_.node("Transpose", {active}, {perm({0, 2, 1})}), graph_.integers({-1, dim})});
  }

  /// [hidden_dim, hidden_dim / groups, kernel]. Weight norm (Salimans and Kingma 2016, arXiv 1602.07868) over all but
  /// the last axis: magnitude times direction over its length, for each place of the kernel.
  GraphValue position_weight(const std::string& name) {
    const Shape shape{config_.hidden_dim, config_.hidden_dim / config_.position_groups, config_.position_kernel};
    std::string magnitude = name + ".weight_g", direction = name + ".weight_v";
    if (!weights_.has(direction)) {
      magnitude = name + ".parametrizations.weight.original0";
      direction = name + ".parametrizations.weight.original1";
    }
    if (!weights_.has(direction) && (config_.has_position_batch_norm || weights_.has(name + ".weight"))) {
      return weights_.tensor(name + ".weight", shape);
    }
    Tensor weight = weights_.values(direction, shape);
    const Tensor lengths = weights_.values(magnitude, Shape{1, 1, config_.position_kernel});
    const auto values = weight.mutable_as<float>();
    const auto kernel = static_cast<std::size_t>(config_.position_kernel);
    std::vector<double> squares(kernel, 0);
    for (std::size_t i = 0; i < values.size(); ++i) {
      squares[i % kernel] += static_cast<double>(values[i]) * static_cast<double>(values[i]);
    }
    std::vector<double> factors(kernel, 0);
    for (std::size_t k = 0; k < kernel; ++k) {
      factors[k] = squares[k] > 0 ? static_cast<double>(lengths.as<float>()[k]) / std::sqrt(squares[k]) : 0;
    }
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = static_cast<float>(static_cast<double>(values[i]) * factors[i % kernel]);
    }
    return graph_.weight(name + ".weight", std::move(weight));
  }

  GraphValue layer(std::int64_t index, const GraphValue& x) {
    const auto scope = graph_.scope("layers." + std::to_string(index));
    const std::int64_t dim = config_.hidden_dim;
    if (config_.is_norm_first) {
      const GraphValue heard = graph_.node("Add", {x, attention(norm("layer_norm", x, dim))});
      return graph_.node("Add", {heard, feed_forward(norm("final_layer_norm", heard, dim))});
    }
    const GraphValue heard = norm("layer_norm", graph_.node("Add", {x, attention(x)}), dim);
    return norm("final_layer_norm", graph_.node("Add", {heard, feed_forward(heard)}), dim);
  }

  GraphValue feed_forward(const GraphValue& x) {
    const auto scope = graph_.scope("feed_forward");
    const GraphValue wide = linear("intermediate_dense", x, config_.hidden_dim, config_.intermediate_dim);
    return linear("output_dense", activation(graph_, config_.activation, wide), config_.intermediate_dim,
                  config_.hidden_dim);
  }

  GraphValue attention(const GraphValue& x) {
    const auto scope = graph_.scope("attention");
    const std::int64_t dim = config_.hidden_dim;
    const auto heads = [&](const GraphValue& rows, std::initializer_list<std::int64_t> order) {
      return graph_.node("Transpose", {graph_.node("Reshape", {rows, head_shape_})}, {perm(order)});
    };
    // Scaling the queries instead of the scores is the same sum with smaller numbers: float16 does not overflow.
    const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(config_.head_dim())));
    const GraphValue query =
        heads(graph_.node("Mul", {linear("q_proj", x, dim, dim), graph_.constant(scale)}), {0, 2, 1, 3});
    const GraphValue key = heads(linear("k_proj", x, dim, dim), {0, 2, 3, 1});
    const GraphValue value = heads(linear("v_proj", x, dim, dim), {0, 2, 1, 3});
    const GraphValue shares =
        graph_.node("Softmax", {graph_.node("MatMul", {query, key})}, {{"axis", std::int64_t{-1}}});
    const GraphValue mixed = graph_.node("Transpose", {graph_.node("MatMul", {shares, value})}, {perm({0, 2, 1, 3})});
    return linear("out_proj", graph_.node("Reshape", {mixed, graph_.integers({-1, dim})}), dim, dim);
  }

  /// What the configuration has no place for would be left out of the computation; the rest is of training.
  void account_for_tensors() {
    weights_.ignore(config_.prefix + "masked_spec_embed");
    for (const std::string& name : weights_.unused()) {
      const bool is_of_network = name.starts_with("lm_head.") || name.starts_with(config_.prefix + "encoder.") ||
                                 name.starts_with(config_.prefix + "feature_") ||
                                 name.starts_with(config_.prefix + "adapter.");
      if (!is_of_network) continue;
      throw Error(ErrorKind::kBadInput,
                  "tensor '" + name + "' " + source_.shape_of(name).to_string() +
                      " is part of the network, but the configuration has no place for it",
                  source_.where(),
                  "config.json and the weights may belong to different models: fetch the folder again");
    }
    weights_.warn_unused("speech model");
  }

  const Wav2Vec2Config& config_;
  GraphBuilder graph_;
  GraphWeights weights_;
  const WeightSource& source_;
  GraphValue batch_, head_shape_;
};

}  // namespace

Model build_wav2vec2(const Wav2Vec2Config& config, const WeightSource& weights) {
  return Builder(config, weights).build();
}

}  // namespace pajamas
