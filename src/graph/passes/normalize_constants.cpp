// Constant nodes and initializers in one form. See passes.h.
#include <algorithm>

#include "graph/interpreter.h"
#include "graph/passes/passes.h"

namespace pajamas {
namespace {

void constants_to_initializers(Graph& graph, std::int64_t opset, PassReport& report) {
  const auto outputs = output_names(graph);
  std::vector<Node> kept;
  kept.reserve(graph.nodes.size());
  for (Node& node : graph.nodes) {
    const Attribute* sparse = node.find_attribute("sparse_value");
    const bool is_plain = node.is("Constant") && sparse == nullptr && node.outputs.size() == 1 &&
                          !node.outputs[0].empty() && !gives_graph_output(node, outputs) && !node.attributes.empty();
    if (!is_plain) {
      for (Graph* nested : nested_graphs(node)) constants_to_initializers(*nested, opset, report);
      kept.push_back(std::move(node));
      continue;
    }
    graph.initializers.push_back(Initializer{node.outputs[0], evaluate_node(node, {}, opset)[0], {}, {}});
    report.count("constant_nodes");
  }
  graph.nodes = std::move(kept);
}

}  // namespace

PassReport normalize_constants(Model& model) {
  PassReport report{"constant_normalization", 0, {}, {}};
  if (model.ir_version < 4) {
    std::unordered_set<std::string_view> names;
    for (const Initializer& initializer : model.graph.initializers) names.insert(initializer.name);
    const auto before = model.graph.inputs.size();
    std::erase_if(model.graph.inputs, [&](const ValueInfo& input) { return names.count(input.name) != 0; });
    report.count("inputs_that_were_initializers", static_cast<std::int64_t>(before - model.graph.inputs.size()));
    // IR version 4 is the first in which an initializer need not be an input.
    model.ir_version = 4;
  }
  constants_to_initializers(model.graph, model.opset_of("").value_or(0), report);
  return report;
}

}  // namespace pajamas
