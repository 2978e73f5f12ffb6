// The graphs inside a node: bodies of If, Loop, Scan and the like, which lie in its attributes. Internal to graph/.
#pragma once

#include <memory>
#include <variant>
#include <vector>

#include "graph/graph.h"

namespace pajamas {

/// Calls `visit` with the std::shared_ptr<Graph>& (const for a const node) of each graph in the node's attributes, in
/// their order. Null ones are left out. Not recursive.
template <typename AnyNode, typename Visit>
void for_each_nested_graph(AnyNode& node, const Visit& visit) {
  for (auto& attribute : node.attributes) {
    if (auto* graph = std::get_if<std::shared_ptr<Graph>>(&attribute.value)) {
      if (*graph) visit(*graph);
    } else if (auto* graphs = std::get_if<std::vector<std::shared_ptr<Graph>>>(&attribute.value)) {
      for (auto& nested : *graphs) {
        if (nested) visit(nested);
      }
    }
  }
}

}  // namespace pajamas
