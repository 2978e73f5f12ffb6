// What every pass gives back, and the graph edits passes share. One pass a file; pipeline.h says in which order they
// run. A pass changes the model in place and keeps what it computes: values that stay keep their names.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "graph/graph.h"

namespace pajamas {

/// What one pass did.
struct PassReport {
  std::string pass;                                          ///< "constant_folding", ...: permanent, bundles carry it.
  std::int64_t num_changes = 0;                              ///< Nodes and initializers removed, replaced or converted.
  std::vector<std::pair<std::string, std::int64_t>> counts;  ///< By kind, in a fixed order, without zeros.
  std::vector<std::string> notes;                            ///< What a user should know; never empty words.

  void count(std::string_view kind, std::int64_t number = 1);
  void note(std::string text) { notes.push_back(std::move(text)); }
};

/// The graphs nested in a node (If, Loop and Scan bodies).
std::vector<Graph*> nested_graphs(Node& node);
std::vector<const Graph*> nested_graphs(const Node& node);
bool has_nested_graphs(const Node& node);

/// Names taken in a graph, its nested graphs included; gives new ones that collide with none.
class NameSet {
 public:
  explicit NameSet(const Graph& graph) { add(graph); }
  /// `stem`, or `stem` with a number behind it; taken from then on.
  std::string take(const std::string& stem);

 private:
  void add(const Graph& graph);
  std::unordered_set<std::string> names_;
};

/// Values that are constants at a place: initializers that no caller can override, here and in outer graphs.
class Constants {
 public:
  explicit Constants(const Graph& graph, const Constants* outer = nullptr);
  /// nullptr when the value is no constant. Valid until the next `add`.
  const Tensor* find(std::string_view value_name) const;
  void add(const std::string& value_name, Tensor tensor) { tensors_.insert_or_assign(value_name, std::move(tensor)); }

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  const Constants* outer_;
  std::unordered_map<std::string, Tensor, Hash, std::equal_to<>> tensors_;
};

/// Renames uses of values, following chains (a→b, b→c gives c), in a graph and the graphs nested in it. Graph inputs,
/// outputs of the top graph and node outputs stay.
using Renames = std::unordered_map<std::string, std::string>;
void rename_uses(Graph& graph, const Renames& renames);

/// The same in the body of a node, whose outputs go by position and are renamed too.
void rename_captures(Graph& body, const Renames& renames);

/// Calls `visit` for a graph, then for each nested one.
void for_each_graph(Graph& graph, const std::function<void(Graph&)>& visit);

/// True when some value of `node` is an output of its graph.
bool gives_graph_output(const Node& node, const std::unordered_set<std::string_view>& output_names);
std::unordered_set<std::string_view> output_names(const Graph& graph);

}  // namespace pajamas
