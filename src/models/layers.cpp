// Layers in ONNX operators. See layers.h.
#include "models/layers.h"

#include <cmath>
#include <map>
#include <numbers>

#include "pajamas/error.h"

namespace pajamas {

ActivationFunction read_activation(const JsonReader& config, const char* key, const std::string& fallback) {
  static const std::map<std::string, ActivationFunction> known{
      {"linear", ActivationFunction::kLinear},
      {"relu", ActivationFunction::kRelu},
      {"relu6", ActivationFunction::kRelu6},
      {"gelu", ActivationFunction::kGelu},
      {"gelu_python", ActivationFunction::kGelu},
      {"gelu_new", ActivationFunction::kGeluTanh},
      {"gelu_pytorch_tanh", ActivationFunction::kGeluTanh},
      {"gelu_fast", ActivationFunction::kGeluTanh},
      {"gelu_accurate", ActivationFunction::kGeluTanh},
      {"quick_gelu", ActivationFunction::kQuickGelu},
      {"silu", ActivationFunction::kSilu},
      {"swish", ActivationFunction::kSilu},
      {"sigmoid", ActivationFunction::kSigmoid},
      {"tanh", ActivationFunction::kTanh},
  };
  const std::string name = config.string_or(key, fallback);
  const auto found = known.find(name);
  if (found != known.end()) return found->second;
  std::string list;
  for (const auto& [text, function] : known) list += (list.empty() ? "" : ", ") + text;
  throw Error(ErrorKind::kUnsupported, std::string(key) + " is '" + name + "', which is not known", config.where(),
              "the known ones are " + list);
}

GraphValue Layers::linear(const std::string& name, const GraphValue& x, std::int64_t in_dim, std::int64_t out_dim,
                          bool has_bias) {
  const auto scope = graph_.scope(name);
  const std::string weight_name = tensor_name("weight");
  const GraphValue weight =
      graph_.weight(weight_name + "/transposed", checkpoint_.transposed_weight(weight_name, in_dim, out_dim));
  GraphValue product = graph_.node("MatMul", {x, weight});
  if (!has_bias) return product;
  const std::string bias_name = tensor_name("bias");
  return graph_.node("Add", {product, graph_.weight(bias_name, checkpoint_.weight(bias_name, Shape{out_dim}))});
}

GraphValue Layers::layer_norm(const std::string& name, const GraphValue& x, std::int64_t dim, double epsilon) {
  const auto scope = graph_.scope(name);
  const std::string weight = tensor_name("weight"), bias = tensor_name("bias");
  return graph_.node("LayerNormalization",
                     {x, graph_.weight(weight, checkpoint_.weight(weight, Shape{dim})),
                      graph_.weight(bias, checkpoint_.weight(bias, Shape{dim}))},
                     {{"axis", std::int64_t{-1}}, {"epsilon", static_cast<float>(epsilon)}});
}

GraphValue Layers::convolution(const std::string& name, const GraphValue& x, const Convolution& convolution) {
  const auto scope = graph_.scope(name);
  const std::string weight = tensor_name("weight"), bias = tensor_name("bias");
  const std::int64_t in = convolution.in_channels, out = convolution.out_channels;
  std::vector<GraphValue> inputs{
      x, graph_.weight(
             weight, checkpoint_.weight(weight, Shape{out, in, convolution.kernel_height, convolution.kernel_width}))};
  if (convolution.has_bias) inputs.push_back(graph_.weight(bias, checkpoint_.weight(bias, Shape{out})));
  return graph_.node("Conv", inputs,
                     {{"kernel_shape", std::vector<std::int64_t>{convolution.kernel_height, convolution.kernel_width}},
                      {"pads", std::vector<std::int64_t>(4, convolution.padding)},
                      {"strides", std::vector<std::int64_t>{convolution.stride_y, convolution.stride_x}}});
}

GraphValue Layers::batch_norm(const std::string& name, const GraphValue& x, std::int64_t channels, double epsilon) {
  const auto scope = graph_.scope(name);
  std::vector<GraphValue> inputs{x};
  for (const char* part : {"weight", "bias", "running_mean", "running_var"}) {
    const std::string full_name = tensor_name(part);
    inputs.push_back(graph_.weight(full_name, checkpoint_.weight(full_name, Shape{channels})));
  }
  return graph_.node("BatchNormalization", inputs, {{"epsilon", static_cast<float>(epsilon)}});
}

GraphValue activation(GraphBuilder& graph, ActivationFunction function, const GraphValue& x) {
  const auto number = [&](double value) { return graph.constant(static_cast<float>(value)); };
  switch (function) {
    case ActivationFunction::kLinear: return x;
    case ActivationFunction::kRelu: return graph.node("Relu", {x});
    case ActivationFunction::kRelu6: return graph.node("Clip", {x, number(0.0), number(6.0)});
    case ActivationFunction::kSigmoid: return graph.node("Sigmoid", {x});
    case ActivationFunction::kTanh: return graph.node("Tanh", {x});
    case ActivationFunction::kSilu: return graph.node("Mul", {x, graph.node("Sigmoid", {x})});
    case ActivationFunction::kQuickGelu:
      return graph.node("Mul", {x, graph.node("Sigmoid", {graph.node("Mul", {x, number(1.702)})})});
    case ActivationFunction::kGelu: {
      // x * (1 + erf(x / sqrt(2))) / 2, in the shape that runtimes know to fuse: the Gelu operator is younger than the
      // opset used here.
      const GraphValue erf = graph.node("Erf", {graph.node("Div", {x, number(std::numbers::sqrt2)})});
      const GraphValue product = graph.node("Mul", {x, graph.node("Add", {erf, number(1.0)})});
      return graph.node("Mul", {product, number(0.5)});
    }
    case ActivationFunction::kGeluTanh: {
      // x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))), Hendrycks and Gimpel 2016
      const GraphValue cube = graph.node("Mul", {graph.node("Mul", {x, x}), x});
      const GraphValue sum = graph.node("Add", {x, graph.node("Mul", {cube, number(0.044715)})});
      const GraphValue tanh = graph.node("Tanh", {graph.node("Mul", {sum, number(std::sqrt(2.0 / std::numbers::pi))})});
      const GraphValue half = graph.node("Mul", {x, number(0.5)});
      return graph.node("Mul", {half, graph.node("Add", {tanh, number(1.0)})});
    }
  }
  throw Error(ErrorKind::kInternal, "an activation without a graph");
}

GraphValue Layers::self_attention(const GraphValue& x, std::int64_t hidden_dim, std::int64_t num_heads,
                                  const AttentionNames& names, const GraphValue& mask) {
  const std::int64_t head_dim = hidden_dim / num_heads;
  // 0 keeps batch and seq_len, whatever they are.
  const GraphValue split_shape = graph_.integers({0, 0, num_heads, head_dim});
  const auto heads = [&](const std::string& name, std::vector<std::int64_t> order) {
    const GraphValue projected = linear(name, x, hidden_dim, hidden_dim, names.has_qkv_bias);
    return graph_.node("Transpose", {graph_.node("Reshape", {projected, split_shape})}, {{"perm", std::move(order)}});
  };
  // Scaling the queries instead of the scores is the same sum with smaller numbers: float16 does not overflow.
  const GraphValue query =
      graph_.node("Mul", {heads(names.query, {0, 2, 1, 3}),
                          graph_.constant(static_cast<float>(1.0 / std::sqrt(static_cast<double>(head_dim))))});
  const GraphValue key = heads(names.key, {0, 2, 3, 1});
  const GraphValue value = heads(names.value, {0, 2, 1, 3});
  GraphValue scores = graph_.node("MatMul", {query, key});
  if (!mask.name.empty()) scores = graph_.node("Add", {scores, mask});
  const GraphValue weights = graph_.node("Softmax", {scores}, {{"axis", std::int64_t{-1}}});
  const GraphValue mixed = graph_.node("Transpose", {graph_.node("MatMul", {weights, value})},
                                       {{"perm", std::vector<std::int64_t>{0, 2, 1, 3}}});
  const GraphValue merged = graph_.node("Reshape", {mixed, graph_.integers({0, 0, hidden_dim})});
  return linear(names.out, merged, hidden_dim, hidden_dim);
}

GraphValue Layers::patch_embedding(const std::string& name, const GraphValue& pixels, const Convolution& convolution,
                                   const Tensor& class_token, const Tensor& positions) {
  const std::int64_t hidden_dim = convolution.out_channels;
  const GraphValue patches = this->convolution(name, pixels, convolution);
  const GraphValue flat = graph_.node("Reshape", {patches, graph_.integers({0, hidden_dim, -1})});
  const GraphValue sequence = graph_.node("Transpose", {flat}, {{"perm", std::vector<std::int64_t>{0, 2, 1}}});
  // The class token is the same for every picture: a row of zeros in its place, and the token added into the first row
  // of the positions, gives it without an Expand to the batch, and so without shape arithmetic in the graph.
  const GraphValue padded = graph_.node("Pad", {sequence, graph_.integers({0, 1, 0, 0, 0, 0})});
  Tensor offsets = Tensor::copy_of(positions.view());
  const auto values = offsets.mutable_as<float>();
  const auto token = class_token.as<float>();
  for (std::size_t i = 0; i < token.size(); ++i) values[i] += token[i];
  const GraphValue added = graph_.weight(tensor_name("position_embeddings/with_class_token"),
                                         offsets.reshaped(Shape{positions.num_elements() / hidden_dim, hidden_dim}));
  return graph_.node("Add", {padded, added});
}

GraphValue Layers::first_token(const GraphValue& x) {
  return graph_.node("Gather", {x, graph_.constant(Tensor::scalar<std::int64_t>(0))}, {{"axis", std::int64_t{1}}});
}

}  // namespace pajamas
