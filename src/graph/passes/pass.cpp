// Shared graph edits. See pass.h.
#include "graph/passes/pass.h"

#include <algorithm>

#include "graph/nested_graphs.h"

namespace pajamas {

void PassReport::count(std::string_view kind, std::int64_t number) {
  if (number == 0) return;
  num_changes += number;
  for (auto& [name, total] : counts) {
    if (name == kind) {
      total += number;
      return;
    }
  }
  counts.emplace_back(kind, number);
}

std::vector<Graph*> nested_graphs(Node& node) {
  std::vector<Graph*> graphs;
  for_each_nested_graph(node, [&](const std::shared_ptr<Graph>& nested) { graphs.push_back(nested.get()); });
  return graphs;
}

std::vector<const Graph*> nested_graphs(const Node& node) {
  const auto graphs = nested_graphs(const_cast<Node&>(node));
  return {graphs.begin(), graphs.end()};
}

bool has_nested_graphs(const Node& node) { return !nested_graphs(node).empty(); }

void NameSet::add(const Graph& graph) {
  for (const ValueInfo& value : graph.inputs) names_.insert(value.name);
  for (const ValueInfo& value : graph.outputs) names_.insert(value.name);
  for (const Initializer& value : graph.initializers) names_.insert(value.name);
  for (const SparseTensor& value : graph.sparse_initializers) names_.insert(value.name);
  for (const Node& node : graph.nodes) {
    names_.insert(node.inputs.begin(), node.inputs.end());
    names_.insert(node.outputs.begin(), node.outputs.end());
    for (const Graph* nested : nested_graphs(node)) add(*nested);
  }
}

std::string NameSet::take(const std::string& stem) {
  if (names_.insert(stem).second) return stem;
  for (int i = 1;; ++i) {
    std::string candidate = stem + "_" + std::to_string(i);
    if (names_.insert(candidate).second) return candidate;
  }
}

Constants::Constants(const Graph& graph, const Constants* outer) : outer_(outer) {
  std::unordered_set<std::string_view> overridable;
  for (const ValueInfo& input : graph.inputs) overridable.insert(input.name);
  for (const Initializer& initializer : graph.initializers) {
    if (overridable.count(initializer.name) == 0) tensors_.emplace(initializer.name, initializer.tensor);
  }
}

const Tensor* Constants::find(std::string_view value_name) const {
  for (const Constants* scope = this; scope != nullptr; scope = scope->outer_) {
    const auto found = scope->tensors_.find(value_name);
    if (found != scope->tensors_.end()) return &found->second;
  }
  return nullptr;
}

namespace {

const std::string& resolve(const Renames& renames, const std::string& name) {
  const std::string* current = &name;
  for (auto found = renames.find(*current); found != renames.end(); found = renames.find(*current)) {
    current = &found->second;
  }
  return *current;
}

void rename_in(Graph& graph, const Renames& renames, bool is_nested) {
  for (Node& node : graph.nodes) {
    for (std::string& input : node.inputs) {
      if (!input.empty() && renames.count(input) != 0) input = resolve(renames, input);
    }
    for (Graph* nested : nested_graphs(node)) rename_in(*nested, renames, true);
  }
  // Outputs of nested graphs go by position, so a captured value may be renamed there too.
  if (!is_nested) return;
  for (ValueInfo& output : graph.outputs) {
    if (renames.count(output.name) != 0) output.name = resolve(renames, output.name);
  }
}

}  // namespace

void rename_uses(Graph& graph, const Renames& renames) {
  if (!renames.empty()) rename_in(graph, renames, false);
}

void rename_captures(Graph& body, const Renames& renames) {
  if (!renames.empty()) rename_in(body, renames, true);
}

void for_each_graph(Graph& graph, const std::function<void(Graph&)>& visit) {
  visit(graph);
  for (Node& node : graph.nodes) {
    for (Graph* nested : nested_graphs(node)) for_each_graph(*nested, visit);
  }
}

bool gives_graph_output(const Node& node, const std::unordered_set<std::string_view>& names) {
  return std::any_of(node.outputs.begin(), node.outputs.end(),
                     [&](const std::string& output) { return names.count(output) != 0; });
}

std::unordered_set<std::string_view> output_names(const Graph& graph) {
  std::unordered_set<std::string_view> names;
  for (const ValueInfo& output : graph.outputs) names.insert(output.name);
  return names;
}

}  // namespace pajamas
