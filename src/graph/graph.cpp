// Look-ups and edits on Graph and its parts. See graph.h.
#include "graph/graph.h"

#include <algorithm>
#include <set>

#include "graph/nested_graphs.h"
#include "pajamas/error.h"

namespace pajamas {

std::string Dimension::to_string() const {
  if (const auto* extent_value = std::get_if<std::int64_t>(&value)) return std::to_string(*extent_value);
  if (const auto* name = std::get_if<std::string>(&value)) return *name;
  return "?";
}

std::optional<Shape> ValueType::static_shape() const {
  if (kind != Kind::kTensor || !shape) return std::nullopt;
  Shape result;
  for (const Dimension& dimension : *shape) {
    if (!dimension.is_known()) return std::nullopt;
    result.push_back(dimension.extent());
  }
  return result;
}

std::string ValueType::to_string() const {
  switch (kind) {
    case Kind::kTensor:
    case Kind::kSparseTensor: {
      std::string text = kind == Kind::kSparseTensor ? "sparse " : "";
      text += pajamas::to_string(dtype);
      if (!shape) return text + "[?]";
      text += "[";
      for (std::size_t i = 0; i < shape->size(); ++i) text += (i > 0 ? ", " : "") + (*shape)[i].to_string();
      return text + "]";
    }
    case Kind::kSequence: return "sequence(" + (element ? element->to_string() : "?") + ")";
    case Kind::kOptional: return "optional(" + (element ? element->to_string() : "?") + ")";
    case Kind::kMap:
      return std::string("map(") + pajamas::to_string(dtype) + ", " + (element ? element->to_string() : "?") + ")";
    case Kind::kOpaque: return "opaque(" + opaque_domain + "." + opaque_name + ")";
  }
  return "?";
}

const Attribute* Node::find_attribute(std::string_view attribute_name) const {
  for (const Attribute& attribute : attributes) {
    if (attribute.name == attribute_name) return &attribute;
  }
  return nullptr;
}

namespace {

template <typename T>
const T* typed_attribute(const Node& node, std::string_view attribute_name, const char* wanted) {
  const Attribute* attribute = node.find_attribute(attribute_name);
  if (attribute == nullptr) return nullptr;
  if (const T* value = std::get_if<T>(&attribute->value)) return value;
  throw Error(ErrorKind::kBadInput, "attribute '" + std::string(attribute_name) + "' is not " + wanted, node.describe(),
              "export the model again: its attributes do not fit the operator");
}

}  // namespace

std::int64_t Node::int_attribute(std::string_view attribute_name, std::int64_t fallback) const {
  const auto* value = typed_attribute<std::int64_t>(*this, attribute_name, "an integer");
  return value != nullptr ? *value : fallback;
}

float Node::float_attribute(std::string_view attribute_name, float fallback) const {
  const auto* value = typed_attribute<float>(*this, attribute_name, "a float");
  return value != nullptr ? *value : fallback;
}

std::string Node::string_attribute(std::string_view attribute_name, std::string_view fallback) const {
  const auto* value = typed_attribute<std::string>(*this, attribute_name, "a string");
  return value != nullptr ? *value : std::string(fallback);
}

std::vector<std::int64_t> Node::ints_attribute(std::string_view attribute_name,
                                               std::vector<std::int64_t> fallback) const {
  const auto* value = typed_attribute<std::vector<std::int64_t>>(*this, attribute_name, "a list of integers");
  if (value != nullptr) return *value;
  return fallback;
}

void Node::set_attribute(std::string attribute_name, AttributeValue value) {
  for (Attribute& attribute : attributes) {
    if (attribute.name == attribute_name) {
      attribute = Attribute{std::move(attribute_name), std::move(value), {}, 0, {}, {}};
      return;
    }
  }
  attributes.push_back(Attribute{std::move(attribute_name), std::move(value), {}, 0, {}, {}});
}

void Node::remove_attribute(std::string_view attribute_name) {
  std::erase_if(attributes, [&](const Attribute& attribute) { return attribute.name == attribute_name; });
}

bool Node::is(std::string_view type) const { return op_type == type && (domain.empty() || domain == "ai.onnx"); }

std::string Node::describe() const {
  const std::string type = domain.empty() ? op_type : domain + "." + op_type;
  if (!name.empty()) return type + " node '" + name + "'";
  for (const std::string& output : outputs) {
    if (!output.empty()) return type + " node producing '" + output + "'";
  }
  return type + " node";
}

const Initializer* Graph::find_initializer(std::string_view value_name) const {
  for (const Initializer& initializer : initializers) {
    if (initializer.name == value_name) return &initializer;
  }
  return nullptr;
}

Initializer* Graph::find_initializer(std::string_view value_name) {
  return const_cast<Initializer*>(std::as_const(*this).find_initializer(value_name));
}

void Graph::set_initializer(const std::string& value_name, Tensor tensor) {
  if (Initializer* existing = find_initializer(value_name)) {
    existing->tensor = std::move(tensor);
  } else {
    initializers.push_back(Initializer{value_name, std::move(tensor), {}, {}});
  }
}

const ValueInfo* Graph::find_input(std::string_view value_name) const {
  for (const ValueInfo& input : inputs) {
    if (input.name == value_name) return &input;
  }
  return nullptr;
}

std::vector<const ValueInfo*> Graph::required_inputs() const {
  std::set<std::string_view> constants;
  for (const Initializer& initializer : initializers) constants.insert(initializer.name);
  for (const SparseTensor& initializer : sparse_initializers) constants.insert(initializer.name);
  std::vector<const ValueInfo*> required;
  for (const ValueInfo& input : inputs) {
    if (constants.count(input.name) == 0) required.push_back(&input);
  }
  return required;
}

namespace {

void collect_names(const Graph& graph, std::set<std::string>& names) {
  for (const ValueInfo& value : graph.inputs) names.insert(value.name);
  for (const ValueInfo& value : graph.outputs) names.insert(value.name);
  for (const Initializer& value : graph.initializers) names.insert(value.name);
  for (const SparseTensor& value : graph.sparse_initializers) names.insert(value.name);
  for (const Node& node : graph.nodes) {
    names.insert(node.inputs.begin(), node.inputs.end());
    names.insert(node.outputs.begin(), node.outputs.end());
    for_each_nested_graph(node, [&](const auto& nested) { collect_names(*nested, names); });
  }
}

}  // namespace

std::string Graph::unused_name(const std::string& stem) const {
  std::set<std::string> names;
  collect_names(*this, names);
  if (names.count(stem) == 0) return stem;
  for (int i = 1;; ++i) {
    std::string candidate = stem + "_" + std::to_string(i);
    if (names.count(candidate) == 0) return candidate;
  }
}

std::optional<std::int64_t> Model::opset_of(std::string_view domain_name) const {
  const auto canonical = [](std::string_view name) { return name == "ai.onnx" ? std::string_view() : name; };
  for (const auto& [imported, version] : opset_imports) {
    if (canonical(imported) == canonical(domain_name)) return version;
  }
  return std::nullopt;
}

std::int64_t Model::opset() const {
  const auto version = opset_of("");
  if (!version) {
    throw Error(ErrorKind::kBadInput, "the model declares no opset for the standard ONNX operators", {},
                "export the model again");
  }
  return *version;
}

const std::string* Model::find_metadata(std::string_view key) const {
  for (const auto& [name, value] : metadata) {
    if (name == key) return &value;
  }
  return nullptr;
}

void Model::set_metadata(const std::string& key, std::string value) {
  for (auto& [name, existing] : metadata) {
    if (name == key) {
      existing = std::move(value);
      return;
    }
  }
  metadata.emplace_back(key, std::move(value));
}

ValueUses::ValueUses(const Graph& graph) {
  // Values of an outer graph are visible in nested graphs, so a nested use counts as a use here. A nested graph that
  // defines the same name only makes the count too high, which keeps passes on the safe side.
  const auto count_nested = [this](const auto& self, const Graph& nested) -> void {
    for (const Node& node : nested.nodes) {
      for (const std::string& input : node.inputs) ++entries_[input].num_uses;
      for_each_nested_graph(node, [&](const auto& deeper) { self(self, *deeper); });
    }
    for (const ValueInfo& output : nested.outputs) ++entries_[output.name].num_uses;
  };
  for (int i = 0; i < static_cast<int>(graph.nodes.size()); ++i) {
    const Node& node = graph.nodes[static_cast<std::size_t>(i)];
    for (const std::string& output : node.outputs) {
      if (!output.empty()) entries_[output].producer = i;
    }
    for (const std::string& input : node.inputs) {
      if (input.empty()) continue;
      Entry& entry = entries_[input];
      ++entry.num_uses;
      entry.consumers.push_back(i);
    }
    for_each_nested_graph(node, [&](const auto& nested) { count_nested(count_nested, *nested); });
  }
  for (const ValueInfo& output : graph.outputs) {
    Entry& entry = entries_[output.name];
    ++entry.num_uses;
    entry.is_output = true;
  }
}

const ValueUses::Entry* ValueUses::find(std::string_view value_name) const {
  const auto found = entries_.find(value_name);
  return found == entries_.end() ? nullptr : &found->second;
}

int ValueUses::producer(std::string_view value_name) const {
  const Entry* entry = find(value_name);
  return entry != nullptr ? entry->producer : -1;
}

int ValueUses::num_uses(std::string_view value_name) const {
  const Entry* entry = find(value_name);
  return entry != nullptr ? entry->num_uses : 0;
}

const std::vector<int>& ValueUses::consumers(std::string_view value_name) const {
  static const std::vector<int> kNone;
  const Entry* entry = find(value_name);
  return entry != nullptr ? entry->consumers : kNone;
}

bool ValueUses::is_graph_output(std::string_view value_name) const {
  const Entry* entry = find(value_name);
  return entry != nullptr && entry->is_output;
}

std::uint64_t weight_bytes(const Graph& graph) {
  std::uint64_t total = 0;
  for (const Initializer& initializer : graph.initializers) total += initializer.tensor.size_bytes();
  for (const Node& node : graph.nodes) {
    for (const Attribute& attribute : node.attributes) {
      if (const auto* tensor = std::get_if<Tensor>(&attribute.value)) total += tensor->size_bytes();
    }
    for_each_nested_graph(node, [&](const auto& nested) { total += weight_bytes(*nested); });
  }
  return total;
}

}  // namespace pajamas
