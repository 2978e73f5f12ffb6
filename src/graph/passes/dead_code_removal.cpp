// What nothing needs goes. See passes.h.
#include <algorithm>

#include "graph/passes/passes.h"

namespace pajamas {
namespace {

using Names = std::unordered_set<std::string>;

void add_uses(const Node& node, Names& used) {
  used.insert(node.inputs.begin(), node.inputs.end());
  for (const Graph* nested : nested_graphs(node)) {
    for (const Node& inner : nested->nodes) add_uses(inner, used);
    for (const ValueInfo& output : nested->outputs) used.insert(output.name);
  }
}

void sweep(Graph& graph, PassReport& report) {
  Names used;
  for (const ValueInfo& output : graph.outputs) used.insert(output.name);
  std::vector<bool> is_kept(graph.nodes.size(), false);
  // Nodes are in topological order: from the end, every user of a value has been seen before its producer.
  for (std::size_t i = graph.nodes.size(); i-- > 0;) {
    Node& node = graph.nodes[i];
    is_kept[i] = std::any_of(node.outputs.begin(), node.outputs.end(),
                             [&](const std::string& output) { return !output.empty() && used.count(output) != 0; });
    if (!is_kept[i]) continue;
    for (Graph* nested : nested_graphs(node)) sweep(*nested, report);
    add_uses(node, used);
  }
  std::vector<Node> kept;
  kept.reserve(graph.nodes.size());
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    if (is_kept[i]) {
      kept.push_back(std::move(graph.nodes[i]));
    } else {
      report.count("nodes");
    }
  }
  graph.nodes = std::move(kept);
  // Initializers that are inputs belong to the interface, used or not.
  Names inputs;
  for (const ValueInfo& input : graph.inputs) inputs.insert(input.name);
  const auto is_dead = [&](const auto& value) { return used.count(value.name) == 0 && inputs.count(value.name) == 0; };
  report.count("initializers", static_cast<std::int64_t>(std::erase_if(graph.initializers, is_dead)));
  report.count("initializers", static_cast<std::int64_t>(std::erase_if(graph.sparse_initializers, is_dead)));
  Names produced;
  for (const Node& node : graph.nodes) produced.insert(node.outputs.begin(), node.outputs.end());
  for (const Initializer& initializer : graph.initializers) produced.insert(initializer.name);
  std::erase_if(graph.value_infos, [&](const ValueInfo& value) { return produced.count(value.name) == 0; });
}

}  // namespace

PassReport remove_dead_code(Model& model) {
  PassReport report{"dead_code_removal", 0, {}, {}};
  sweep(model.graph, report);
  return report;
}

}  // namespace pajamas
