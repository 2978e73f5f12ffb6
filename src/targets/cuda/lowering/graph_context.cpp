// See graph_context.h.
#include "targets/cuda/lowering/graph_context.h"

#include <algorithm>

#include "graph/graph_builder.h"
#include "pajamas/error.h"
#include "tensor/half.h"

namespace pajamas::cuda {

namespace {

void declare(Graph& graph, const std::string& name, DType dtype, const Shape& shape) {
  if (graph.find_input(name) != nullptr) return;
  graph.inputs.push_back(tensor_value(name, dtype, shape.extents()));
}

}  // namespace

void declare_constants(Graph& graph, const ConstantTable& table) {
  for (const auto& [name, entry] : table.entries()) {
    if (graph.find_initializer(name) == nullptr) declare(graph, name, entry.dtype, entry.shape);
  }
}

Model without_large_constants(const Model& source, const ConstantTable& table) {
  Model model = source;
  Graph& graph = model.graph;
  for (const Initializer& initializer : graph.initializers) {
    if (initializer.tensor.size_bytes() > ConstantTable::kSmallBytes) {
      declare(graph, initializer.name, initializer.tensor.dtype(), initializer.tensor.shape());
    }
  }
  std::erase_if(graph.initializers, [](const Initializer& initializer) {
    return initializer.tensor.size_bytes() > ConstantTable::kSmallBytes;
  });
  declare_constants(graph, table);
  return model;
}

GraphContext::GraphContext(const Model& graph_model, const ConstantTable& table,
                           std::map<std::string, PackRequest> aliases)
    : model(without_large_constants(graph_model, table)),
      constants(table),
      facts(infer_facts(model)),
      uses(model.graph),
      opset(model.opset()),
      aliases_(std::move(aliases)) {
  for (const auto& [name, request] : aliases_) {
    const auto& extents = request.padded_extents.empty() ? request.reshaped_extents : request.padded_extents;
    inner_.add(name, {facts->dtype_of(name), Shape(extents), std::nullopt});
  }
  for (const Initializer& initializer : graph_model.graph.initializers) {
    if (table.find(initializer.name) != nullptr) continue;
    inner_.add(initializer.name, {initializer.tensor.dtype(), initializer.tensor.shape(), initializer.tensor});
  }
  for (const Node& node : model.graph.nodes) {
    for (const std::string& name : node.outputs) {
      if (name.empty()) continue;
      const ValueFact* fact = facts->find(name);
      if (fact == nullptr || !fact->static_shape() || fact->dtype == DType::kUndefined) {
        throw Error(ErrorKind::kUnsupported, "the shape of '" + name + "' depends on the data", node.describe(),
                    "the cuda target needs shapes that follow from the inputs' shapes: give --shapes for every input, "
                    "or export the model without the operator");
      }
    }
  }
}

std::vector<std::int64_t> GraphContext::extents_of(const std::string& name) const {
  if (const ValueFact* fact = facts->find(name); fact != nullptr) {
    if (const auto shape = fact->static_shape()) return shape->extents();
  }
  throw Error(ErrorKind::kUnsupported, "the shape of '" + name + "' is unknown", {},
              "give --shapes for every input of the model");
}

const ConstantTable::Entry* GraphContext::table_entry(const std::string& name) const {
  if (const auto* entry = constants.find(name)) return entry;
  return inner_.find(name);
}

PackRequest GraphContext::request_of(const std::string& name) const {
  if (const auto alias = aliases_.find(name); alias != aliases_.end()) return alias->second;
  PackRequest request;
  request.name = name;
  return request;
}

bool GraphContext::is_graph_input(const std::string& name) const {
  return uses.producer(name) < 0 && !is_constant(name);
}

std::optional<std::vector<float>> GraphContext::small_numbers(const std::string& name) const {
  const auto* entry = table_entry(name);
  if (entry == nullptr || !entry->values || entry->values->size_bytes() > ConstantTable::kSmallBytes) return {};
  const DType dtype = entry->dtype;
  if (bits_of(dtype) < 8 || dtype == DType::kComplex64 || dtype == DType::kComplex128 || dtype == DType::kString) {
    return {};
  }
  const Tensor wide = to_float32(entry->values->view());
  const auto numbers = wide.as<float>();
  return std::vector<float>(numbers.begin(), numbers.end());
}

std::optional<float> GraphContext::scalar(const std::string& name) const {
  const auto numbers = small_numbers(name);
  if (!numbers || numbers->size() != 1) return {};
  return numbers->front();
}

std::optional<std::vector<std::int64_t>> GraphContext::integers(const std::string& name) const {
  const ValueFact* fact = facts->find(name);
  return fact != nullptr ? fact->known_elements() : std::nullopt;
}

int GraphContext::sole_consumer(const std::string& name) const {
  if (uses.num_uses(name) != 1 || uses.is_graph_output(name)) return -1;
  const auto& consumers = uses.consumers(name);
  return consumers.size() == 1 ? consumers[0] : -1;
}

}  // namespace pajamas::cuda
