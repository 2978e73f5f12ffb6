// See node_writer.h.
#include "graph/passes/node_writer.h"

#include <span>

namespace pajamas {

std::string NodeWriter::add(const char* op_type, std::vector<std::string> inputs,
                            std::initializer_list<std::pair<const char*, AttributeValue>> attributes) {
  Node node;
  node.op_type = op_type;
  node.name = names_.take(scope_ + "/" + op_type);
  node.inputs = std::move(inputs);
  node.outputs = {node.name};
  for (const auto& [name, value] : attributes) node.set_attribute(name, value);
  graph_.nodes.push_back(std::move(node));
  return graph_.nodes.back().outputs[0];
}

std::string NodeWriter::constant(Tensor tensor) {
  const std::string name = names_.take(scope_ + "/constant");
  graph_.initializers.push_back(Initializer{name, std::move(tensor), {}, {}});
  return name;
}

std::string NodeWriter::integers(const std::vector<std::int64_t>& values) {
  const Shape shape{static_cast<std::int64_t>(values.size())};
  return constant(Tensor::of<std::int64_t>(shape, std::span(values)));
}

}  // namespace pajamas
