// BlockWeight as ONNX nodes, and back: how a Graph says that a weight matrix is quantised. Model definitions and the
// pass quantize_weights write these nodes, targets recognise them. The arithmetic is tensor/block_weight.h's.
//
//   values, scales [, zero_points] ── DequantizeLinear (axis 1, block_size | axis 0) ── matrix float32 [out_dim,
//   in_dim]
//
// float16 scales go through a Cast to float32 first, so that q × d is not rounded to half precision. With minimums the
// matrix goes on: Reshape [out_dim, groups, group_size] ── Add (minimums [out_dim, groups, 1]) ── Reshape back. Without
// groups: Add (minimums [out_dim, 1]). Initializers: "<name>" the values, "<name>.scale", "<name>.zero_point",
// "<name>.minimum".
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "graph/graph.h"
#include "graph/graph_builder.h"
#include "tensor/block_weight.h"

namespace pajamas {

/// The first opset whose DequantizeLinear knows 4-bit types and groups.
inline constexpr std::int64_t kBlockWeightOpset = 21;

/// Whether the weights of a graph stand as a checkpoint stores them, in half precision behind Casts or as block
/// weights, and may be stored otherwise (docs/language.md): the graphs of this program's model definitions from
/// kBlockWeightOpset on.
bool has_stored_weights(const Model& model);

/// Adds the nodes to a graph of at least kBlockWeightOpset and gives the float32 matrix. The same name again must come
/// with the same weight; its initializers are shared.
GraphValue add_block_weight(GraphBuilder& builder, const std::string& name, const BlockWeight& weight);

/// The same for a graph that is there: nodes to put before the first use, and initializers, whose names are `name` and
/// those above. Nodes and their values are named "<prefix>/<op_type>".
struct BlockWeightNodes {
  std::vector<Node> nodes;
  std::vector<std::pair<std::string, Tensor>> initializers;
  std::string output;  ///< Name of the float32 matrix.
};
BlockWeightNodes block_weight_nodes(const std::string& name, const std::string& prefix, const BlockWeight& weight);

/// A weight matrix as a graph stores it.
struct StoredWeight {
  std::string name;                       ///< Of the initializer that holds the values.
  Tensor plain;                           ///< float32, float16 or bfloat16 [rows, columns]; kUndefined with `blocks`.
  std::optional<BlockWeight> blocks;      ///< When it is quantised.
  std::vector<std::string> initializers;  ///< All that it is made of, but shapes.
  std::vector<int> nodes;                 ///< Indices of the nodes that make the value of it; none for an initializer.

  const Shape& shape() const { return blocks ? blocks->values.shape() : plain.shape(); }
};

/// Finds the weights of one graph. Invalid after the graph changes.
class StoredWeightFinder {
 public:
  /// Both must outlive the finder.
  StoredWeightFinder(const Graph& graph, const ValueUses& uses);
  /// What the float32 value `value_name` is made of: a matrix initializer, a Cast of one in half precision, or the
  /// nodes above. Nothing when it is something else.
  std::optional<StoredWeight> find(std::string_view value_name) const;

 private:
  friend class StoredWeightMatcher;
  const Tensor* constant(std::string_view value_name) const;
  const Graph& graph_;
  const ValueUses& uses_;
  std::unordered_map<std::string_view, const Tensor*> constants_;
};

}  // namespace pajamas
