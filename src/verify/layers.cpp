// Fetching and comparing inner values chunk by chunk.
#include "verify/layers.h"

#include <algorithm>
#include <map>
#include <set>

#include "pajamas/error.h"

namespace pajamas {
namespace {

/// What both sides of a chunk may hold together.
constexpr std::uint64_t kChunkBytes = std::uint64_t{512} << 20;
constexpr std::size_t kFirstChunk = 8;
constexpr std::size_t kMaxChunk = 256;

struct Layer {
  const Node* node;
  std::string value;
};

bool is_comparable(const Tensor& tensor) {
  return tensor.dtype() != DType::kUndefined && tensor.dtype() != DType::kComplex64 &&
         tensor.dtype() != DType::kComplex128;
}

}  // namespace

Tolerance layer_tolerance(Precision precision, OperatorClass operator_class) {
  Tolerance t = tolerance(precision, operator_class);
  t.max_rel = 0;
  // In float32 one wrong element among millions must show, which the norm would hide.
  if (precision == Precision::kFp32 && operator_class != OperatorClass::kQuantised) t.max_to_range = 10 * t.relative_l2;
  // The channels of an inner value need not mean different things.
  t.group_rms_floor = 1e30;
  return t;
}

LayerResult compare_layers(const LayerRequest& request) {
  std::set<std::string> in_source;
  for (const auto& node : request.source.nodes) in_source.insert(node.outputs.begin(), node.outputs.end());
  std::set<std::string> outputs;
  for (const auto& output : request.source.outputs) outputs.insert(output.name);

  std::vector<Layer> layers;
  for (const auto& node : request.lowered.nodes) {
    for (const auto& value : node.outputs) {
      if (!value.empty() && in_source.contains(value)) layers.push_back({&node, value});
    }
  }

  LayerResult result;
  std::map<std::string, double> errors;  // relative L2 of the values seen so far
  std::size_t chunk = kFirstChunk;
  for (std::size_t begin = 0; begin < layers.size();) {
    request.progress.check("Comparing layers");
    request.progress.step("Comparing layers", static_cast<double>(begin) / static_cast<double>(layers.size()));
    const std::size_t end = std::min(layers.size(), begin + chunk);
    std::vector<std::string> extra;
    for (std::size_t i = begin; i < end; ++i) {
      if (!outputs.contains(layers[i].value)) extra.push_back(layers[i].value);
    }
    const auto expected = request.reference(extra).run(request.inputs);
    const auto actual = request.candidate(extra).run(request.inputs);
    std::uint64_t bytes = 1;
    for (std::size_t i = begin; i < end; ++i) {
      const auto& [node, value] = layers[i];
      const auto e = expected.find(value);
      const auto a = actual.find(value);
      if (e == expected.end() || a == actual.end() || !is_comparable(e->second) || !is_comparable(a->second)) continue;
      bytes += e->second.size_bytes() + a->second.size_bytes();
      LayerComparison layer{
          node->describe(), node->op_type, compare(value, e->second, a->second, {.has_percentiles = false}), {}};
      layer.past_tolerance = past_tolerance(layer.comparison, request.tolerance);
      ++result.num_compared;
      if (layer.past_tolerance && !result.first_bad) {
        BadLayer bad{layer.node, layer.op_type, value, *layer.past_tolerance, layer.comparison, 0, request.case_name};
        for (const auto& input : node->inputs) {
          const auto found = errors.find(input);
          if (found != errors.end()) bad.inputs_relative_l2 = std::max(bad.inputs_relative_l2, found->second);
        }
        result.first_bad = std::move(bad);
        if (!request.has_all) return result;
      }
      errors[value] = layer.comparison.relative_l2;
      if (request.has_all) result.layers.push_back(std::move(layer));
    }
    const std::uint64_t per_value = std::max<std::uint64_t>(1, bytes / std::max<std::size_t>(1, end - begin));
    chunk = std::clamp<std::size_t>(static_cast<std::size_t>(kChunkBytes / per_value), 1, kMaxChunk);
    begin = end;
  }
  return result;
}

}  // namespace pajamas
