// Naming, sharing and assembling. See graph_builder.h.
#include "graph/graph_builder.h"

#include <algorithm>

#include "base/digest.h"
#include "pajamas/error.h"

namespace pajamas {

GraphBuilder::GraphBuilder(std::string graph_name, std::int64_t opset) : opset_(opset) {
  graph_.name = std::move(graph_name);
}

GraphBuilder::Scope::Scope(GraphBuilder& builder, std::string_view name)
    : builder_(builder), outer_length_(builder.scope_.size()) {
  if (!builder.scope_.empty() && !name.empty()) builder.scope_ += '.';
  builder.scope_ += name;
}

std::string GraphBuilder::unused_name(const std::string& stem) {
  std::string name = stem;
  // A numbered name may itself have been given before: go on until one is free.
  while (true) {
    const int use = num_uses_of_name_[stem]++;
    if (use > 0) name = stem + "_" + std::to_string(use);
    if (use == 0 || num_uses_of_name_.emplace(name, 1).second) return name;
  }
}

ValueInfo tensor_value(std::string name, DType dtype, std::vector<Dimension> shape) {
  ValueType type;
  type.dtype = dtype;
  type.shape = std::move(shape);
  return {std::move(name), std::move(type), {}, {}};
}

ValueInfo tensor_value(std::string name, DType dtype, std::span<const std::int64_t> extents) {
  std::vector<Dimension> shape;
  for (const std::int64_t extent : extents) shape.push_back(Dimension::known(extent));
  return tensor_value(std::move(name), dtype, std::move(shape));
}

GraphValue GraphBuilder::input(const std::string& name, DType dtype, std::vector<Dimension> shape) {
  if (!num_uses_of_name_.emplace(name, 1).second) {
    throw Error(ErrorKind::kInternal, "two values of a graph are called '" + name + "'");
  }
  graph_.inputs.push_back(tensor_value(name, dtype, std::move(shape)));
  return {name};
}

void GraphBuilder::output(const std::string& name, const GraphValue& value, DType dtype, std::vector<Dimension> shape) {
  if (!num_uses_of_name_.emplace(name, 1).second) {
    throw Error(ErrorKind::kInternal, "two values of a graph are called '" + name + "'");
  }
  Node node;
  node.op_type = "Identity";
  node.name = name + "/Identity";
  node.inputs = {value.name};
  node.outputs = {name};
  graph_.nodes.push_back(std::move(node));
  graph_.outputs.push_back(tensor_value(name, dtype, std::move(shape)));
}

GraphValue GraphBuilder::weight(const std::string& name, Tensor tensor) {
  const auto known = initializer_by_name_.find(name);
  if (known != initializer_by_name_.end()) {
    const Tensor& stored = graph_.initializers[known->second].tensor;
    const bool is_same =
        stored.dtype() == tensor.dtype() && stored.shape() == tensor.shape() &&
        (stored.bytes().data() == tensor.bytes().data() ||
         std::equal(stored.bytes().begin(), stored.bytes().end(), tensor.bytes().begin(), tensor.bytes().end()));
    if (!is_same) throw Error(ErrorKind::kInternal, "two weights of a graph are called '" + name + "'");
    return {name};
  }
  if (!num_uses_of_name_.emplace(name, 1).second) {
    throw Error(ErrorKind::kInternal, "two values of a graph are called '" + name + "'");
  }
  initializer_by_name_.emplace(name, graph_.initializers.size());
  graph_.initializers.push_back({name, std::move(tensor), {}, {}});
  return {name};
}

GraphValue GraphBuilder::constant(Tensor tensor) {
  // The contents name the constant, so equal ones meet; 16 hexadecimal digits of the digest keep different ones apart.
  std::string name = std::string("constant/") + to_string(tensor.dtype()) + tensor.shape().to_string() + "/" +
                     sha256_hex(tensor.bytes()).substr(0, 16);
  std::erase(name, ' ');
  return weight(name, std::move(tensor));
}

GraphValue GraphBuilder::integers(std::initializer_list<std::int64_t> values) {
  return integers(std::span<const std::int64_t>(values.begin(), values.size()));
}

GraphValue GraphBuilder::integers(std::span<const std::int64_t> values) {
  std::string name = "constant/integers";
  for (const std::int64_t value : values) name += "_" + std::to_string(value);
  return weight(name, Tensor::of(Shape{static_cast<std::int64_t>(values.size())}, values));
}

Node& GraphBuilder::add_node(std::string_view op_type, std::span<const GraphValue> inputs, NodeAttributes attributes) {
  Node node;
  node.op_type = op_type;
  node.name = unused_name(scope_ + "/" + node.op_type);
  for (const GraphValue& value : inputs) node.inputs.push_back(value.name);
  for (const auto& [name, value] : attributes) node.set_attribute(name, value);
  graph_.nodes.push_back(std::move(node));
  return graph_.nodes.back();
}

GraphValue GraphBuilder::node(std::string_view op_type, std::initializer_list<GraphValue> inputs,
                              NodeAttributes attributes) {
  return node(op_type, std::span<const GraphValue>(inputs.begin(), inputs.size()), attributes);
}

GraphValue GraphBuilder::node(std::string_view op_type, std::span<const GraphValue> inputs, NodeAttributes attributes) {
  Node& added = add_node(op_type, inputs, attributes);
  added.outputs = {added.name};
  return {added.name};
}

std::vector<GraphValue> GraphBuilder::node_with_outputs(std::string_view op_type,
                                                        std::initializer_list<GraphValue> inputs,
                                                        std::size_t num_outputs, NodeAttributes attributes) {
  Node& added = add_node(op_type, std::span<const GraphValue>(inputs.begin(), inputs.size()), attributes);
  std::vector<GraphValue> values;
  for (std::size_t i = 0; i < num_outputs; ++i) {
    added.outputs.push_back(added.name + ":" + std::to_string(i));
    values.push_back({added.outputs.back()});
  }
  return values;
}

GraphValue GraphBuilder::node_of_domain(std::string_view domain, std::int64_t version, std::string_view op_type,
                                        std::initializer_list<GraphValue> inputs, NodeAttributes attributes) {
  const auto imported = other_opsets_.emplace(domain, version).first;
  if (imported->second != version) {
    throw Error(ErrorKind::kInternal, "two versions of the domain '" + std::string(domain) + "' in one graph");
  }
  Node& added = add_node(op_type, std::span<const GraphValue>(inputs.begin(), inputs.size()), attributes);
  added.domain = domain;
  added.outputs = {added.name};
  return {added.name};
}

Model GraphBuilder::build() {
  Model model;
  // The oldest file format that may hold this opset, so that the most readers take it (the table in ONNX's
  // Versioning.md).
  model.ir_version = opset_ <= 18 ? 8 : opset_ <= 20 ? 9 : opset_ <= 22 ? 10 : 11;
  model.opset_imports = {{"", opset_}};
  for (const auto& [domain, version] : other_opsets_) model.opset_imports.emplace_back(domain, version);
  model.producer_name = kProducerName;
  model.graph = std::move(graph_);
  graph_ = {};
  other_opsets_.clear();
  num_uses_of_name_.clear();
  initializer_by_name_.clear();
  return model;
}

}  // namespace pajamas
