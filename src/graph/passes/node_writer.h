// Nodes and constants written behind one another at the end of a graph: the base of passes that replace an operator by
// a handful of plainer ones.
#pragma once

#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "graph/graph.h"
#include "graph/passes/pass.h"

namespace pajamas {

class NodeWriter {
 protected:
  explicit NodeWriter(Graph& graph) : graph_(graph), names_(graph) {}

  /// Appends a node, named after the scope and its operator; the name of its output.
  std::string add(const char* op_type, std::vector<std::string> inputs,
                  std::initializer_list<std::pair<const char*, AttributeValue>> attributes = {});
  std::string constant(Tensor tensor);
  /// int64 [values.size()]
  std::string integers(const std::vector<std::int64_t>& values);

  Graph& graph_;
  NameSet names_;
  std::string scope_;  ///< What names begin with.
};

}  // namespace pajamas
