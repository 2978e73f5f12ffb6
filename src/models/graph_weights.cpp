// Stored tensors into a graph. See graph_weights.h.
#include "models/graph_weights.h"

#include <charconv>
#include <system_error>

#include "graph/block_weight_nodes.h"
#include "models/checkpoint.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

const char* const kFetchAgain = "config.json and the weights may belong to different models: fetch the folder again";
constexpr auto kToFloat32 = static_cast<std::int64_t>(DType::kFloat32);

}  // namespace

void GraphWeights::require_shape(const std::string& name, const Shape& shape) {
  if (!source_.has(name)) {
    throw Error(ErrorKind::kBadInput, "tensor '" + name + "' " + shape.to_string() + " is missing", source_.where(),
                kFetchAgain);
  }
  if (source_.shape_of(name) != shape) {
    throw Error(ErrorKind::kBadInput,
                "tensor '" + name + "' is " + source_.shape_of(name).to_string() + ", but the configuration makes it " +
                    shape.to_string(),
                source_.where(), kFetchAgain);
  }
  used_.insert(name);
}

GraphValue GraphWeights::matrix(const std::string& name, std::int64_t rows, std::int64_t columns) {
  const auto known = matrices_.find(name);
  const Shape shape{rows, columns};
  require_shape(name, shape);
  if (known != matrices_.end()) return known->second;
  const GraphValue value =
      source_.storage_of(name).is_blocks() ? add_block_weight(graph_, name, source_.blocks(name)) : tensor(name, shape);
  matrices_.emplace(name, value);
  return value;
}

GraphValue GraphWeights::tensor(const std::string& name, const Shape& shape) {
  require_shape(name, shape);
  const WeightStorage storage = source_.storage_of(name);
  if (storage.dtype == DType::kFloat32) return graph_.weight(name, source_.tensor(name));
  if (storage.dtype == DType::kFloat16 || storage.dtype == DType::kBfloat16) {
    return graph_.node("Cast", {graph_.weight(name, source_.tensor(name))}, {{"to", kToFloat32}});
  }
  throw Error(ErrorKind::kUnsupported, "tensor '" + name + "' is stored as " + storage.to_string(), source_.where(),
              "weights in float32, float16 and bfloat16 are read; take a quantised model as GGUF");
}

Tensor GraphWeights::values(const std::string& name, const Shape& shape) {
  require_shape(name, shape);
  Tensor values(DType::kFloat32, shape);
  source_.read_rows_f32(name, 0, weight_rows_of(shape).num_rows, values.mutable_as<float>());
  return values;
}

GraphValue GraphWeights::vector(const std::string& name, std::int64_t dim, float added) {
  require_shape(name, Shape{dim});
  Tensor values(DType::kFloat32, Shape{dim});
  source_.read_rows_f32(name, 0, 1, values.mutable_as<float>());
  if (added != 0) {
    for (float& value : values.mutable_as<float>()) value += added;
  }
  return graph_.weight(name, std::move(values));
}

GraphValue GraphWeights::linear(std::string_view scope, const std::string& name, const GraphValue& x,
                                std::int64_t in_dim, std::int64_t out_dim, bool has_bias) {
  const auto inner = graph_.scope(scope);
  const GraphValue weight = matrix(name + ".weight", out_dim, in_dim);
  if (!has_bias) return graph_.node("Gemm", {x, weight}, {{"transB", std::int64_t{1}}});
  return graph_.node("Gemm", {x, weight, vector(name + ".bias", out_dim)}, {{"transB", std::int64_t{1}}});
}

GraphValue GraphWeights::layer_norm(std::string_view scope, const std::string& name, const GraphValue& x,
                                    std::int64_t dim, double epsilon) {
  const auto inner = graph_.scope(scope);
  return graph_.node("LayerNormalization", {x, vector(name + ".weight", dim), vector(name + ".bias", dim)},
                     {{"axis", std::int64_t{-1}}, {"epsilon", static_cast<float>(epsilon)}});
}

std::vector<std::string> GraphWeights::unused() const {
  std::vector<std::string> result;
  for (std::string& name : source_.names()) {
    if (!used_.contains(name)) result.push_back(std::move(name));
  }
  return result;
}

void GraphWeights::refuse_layers_from(std::int64_t num_layers) const {
  constexpr std::string_view kLayers = "model.layers.";
  for (const std::string& name : unused()) {
    if (!name.starts_with(kLayers)) continue;
    std::int64_t layer = -1;
    const char* const end = name.data() + name.size();
    const auto parsed = std::from_chars(name.data() + kLayers.size(), end, layer);
    if (parsed.ec != std::errc() || parsed.ptr == end || *parsed.ptr != '.' || layer < num_layers) continue;
    throw Error(ErrorKind::kBadInput,
                "tensor '" + name + "' belongs to a layer that the configuration does not have; it says " +
                    std::to_string(num_layers),
                source_.where(), kFetchAgain);
  }
}

void GraphWeights::warn_unused(std::string_view family) const {
  warn_unused_tensors(unused(), family, source_.where());
}

}  // namespace pajamas
