// The graph that is being lowered with what is known of its values: shapes, types, constants, who uses what. Read-only
// for the steps of lowering; rewrites happen before it is made.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "graph/shape_inference.h"
#include "targets/cuda/constant_pool.h"

namespace pajamas::cuda {

/// Adds the constants of the table that the graph lacks as typed inputs.
void declare_constants(Graph& graph, const ConstantTable& table);
/// The model with its large initializers, and the constants of the table that it lacks, as typed inputs: the same
/// whether their numbers are at hand (build) or not (load).
Model without_large_constants(const Model& source, const ConstantTable& table);

struct GraphContext {
  /// Throws Error{kUnsupported} naming the first value whose shape is unknown.
  /// `aliases`: weights in another form (padded) under names of their own.
  GraphContext(const Model& graph_model, const ConstantTable& table, std::map<std::string, PackRequest> aliases = {});

  const Model model;  ///< Large initializers are typed inputs here.
  const ConstantTable& constants;
  std::unique_ptr<const GraphFacts> facts;
  ValueUses uses;
  std::int64_t opset = 0;

  const std::vector<Node>& nodes() const { return model.graph.nodes; }
  const Node& node(int index) const { return model.graph.nodes[static_cast<std::size_t>(index)]; }
  DType dtype_of(const std::string& name) const { return facts->dtype_of(name); }
  /// Throws Error{kInternal} for a value that is not in the graph.
  std::vector<std::int64_t> extents_of(const std::string& name) const;
  bool is_constant(const std::string& name) const { return table_entry(name) != nullptr; }
  const ConstantTable::Entry* table_entry(const std::string& name) const;
  /// How a constant is asked for as it is.
  PackRequest request_of(const std::string& name) const;
  /// Of a graph input, constant or node output that is no constant.
  bool is_graph_input(const std::string& name) const;
  /// Numbers of a small floating-point or integer constant as float32; nothing for any other value.
  std::optional<std::vector<float>> small_numbers(const std::string& name) const;
  /// The same, of exactly one element.
  std::optional<float> scalar(const std::string& name) const;
  std::optional<std::vector<std::int64_t>> integers(const std::string& name) const;
  /// The only node that uses the value, when nothing else does (graph outputs included); -1 otherwise.
  int sole_consumer(const std::string& name) const;

 private:
  std::map<std::string, PackRequest> aliases_;
  ConstantTable inner_;  ///< Initializers that `constants` lacks.
};

}  // namespace pajamas::cuda
