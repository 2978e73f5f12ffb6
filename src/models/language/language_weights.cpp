// Stored tensors into a graph. See language_weights.h.
#include "models/language/language_weights.h"

#include "graph/block_weight_nodes.h"
#include "models/checkpoint.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

const char* const kFetchAgain = "config.json and the weights may belong to different models: fetch the folder again";
constexpr auto kToFloat32 = static_cast<std::int64_t>(DType::kFloat32);

}  // namespace

void LanguageWeights::require_shape(const std::string& name, const Shape& shape) {
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

GraphValue LanguageWeights::matrix(const std::string& name, std::int64_t rows, std::int64_t columns) {
  const auto known = matrices_.find(name);
  require_shape(name, Shape{rows, columns});
  if (known != matrices_.end()) return known->second;
  const WeightStorage storage = source_.storage_of(name);
  GraphValue value;
  if (storage.is_blocks()) {
    value = add_block_weight(graph_, name, source_.blocks(name));
  } else if (storage.dtype == DType::kFloat32) {
    value = graph_.weight(name, source_.tensor(name));
  } else if (storage.dtype == DType::kFloat16 || storage.dtype == DType::kBfloat16) {
    value = graph_.node("Cast", {graph_.weight(name, source_.tensor(name))}, {{"to", kToFloat32}});
  } else {
    throw Error(ErrorKind::kUnsupported, "tensor '" + name + "' is stored as " + storage.to_string(), source_.where(),
                "weights in float32, float16 and bfloat16 are read; take a quantised model as GGUF");
  }
  matrices_.emplace(name, value);
  return value;
}

GraphValue LanguageWeights::vector(const std::string& name, std::int64_t dim, float added) {
  require_shape(name, Shape{dim});
  Tensor values(DType::kFloat32, Shape{dim});
  source_.read_rows_f32(name, 0, 1, values.mutable_as<float>());
  if (added != 0) {
    for (float& value : values.mutable_as<float>()) value += added;
  }
  return graph_.weight(name, std::move(values));
}

GraphValue LanguageWeights::linear(std::string_view scope, const std::string& name, const GraphValue& x,
                                   std::int64_t in_dim, std::int64_t out_dim, bool has_bias) {
  const auto inner = graph_.scope(scope);
  const GraphValue weight = matrix(name + ".weight", out_dim, in_dim);
  if (!has_bias) return graph_.node("Gemm", {x, weight}, {{"transB", std::int64_t{1}}});
  return graph_.node("Gemm", {x, weight, vector(name + ".bias", out_dim)}, {{"transB", std::int64_t{1}}});
}

std::vector<std::string> LanguageWeights::unused() const {
  std::vector<std::string> result;
  for (std::string& name : source_.names()) {
    if (!used_.contains(name)) result.push_back(std::move(name));
  }
  return result;
}

void LanguageWeights::warn_unused(std::string_view family) const {
  warn_unused_tensors(unused(), family, source_.where());
}

}  // namespace pajamas
