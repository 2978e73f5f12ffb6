// Shape and type inference: what each value of a model is, as far as the graph tells. Symbolic extents are carried
// through, and so are the integers that shape chains compute (Shape, Gather, Concat, ... into Reshape).
// Not a check of the model (graph/checker.h); unknown stays unknown, but a contradiction is an error.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "graph/graph.h"
#include "graph/shape_inference/extent.h"

namespace pajamas {

/// What is known of one value.
struct ValueFact {
  DType dtype = DType::kUndefined;           ///< kUndefined: unknown, or not a tensor.
  std::optional<std::vector<Extent>> shape;  ///< Nothing: unknown rank.
  /// Elements of an integer tensor of rank 0 or 1 that are known or expressions of extents; at most kMaxTracked. Of a
  /// boolean one 0 and 1.
  std::optional<std::vector<Extent>> elements;

  Tensor constant;  ///< The value itself, of an initializer or Constant of at most kMaxTracked elements.

  static constexpr std::size_t kMaxTracked = 64;
  /// The shape when every extent is known.
  std::optional<Shape> static_shape() const;
  /// The elements when every one is known.
  std::optional<std::vector<std::int64_t>> known_elements() const;
  std::size_t rank() const { return shape->size(); }
};

/// Facts of one graph, with those of the graphs around and inside it.
class GraphFacts {
 public:
  explicit GraphFacts(const GraphFacts* outer = nullptr) : outer_(outer) {}
  /// The fact of a value here or in an outer graph; nullptr when nothing is known of it.
  const ValueFact* find(std::string_view value_name) const;
  /// kUndefined when unknown.
  DType dtype_of(std::string_view value_name) const;
  /// Facts of a graph nested in a node of this one; nullptr before it was inferred.
  const GraphFacts* nested(const Graph* graph) const;

  void set(const std::string& value_name, ValueFact fact) { facts_[value_name] = std::move(fact); }
  GraphFacts& add_nested(const Graph* graph);

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  const GraphFacts* outer_;
  std::unordered_map<std::string, ValueFact, Hash, std::equal_to<>> facts_;
  std::unordered_map<const Graph*, std::unique_ptr<GraphFacts>> nested_;
};

/// Infers all values. Declared inner types fill in what cannot be inferred and never override it. The result refers to
/// nested graphs by address: it is stale once the model changes. Throws Error{kBadInput} naming the node whose inputs
/// contradict each other.
std::unique_ptr<const GraphFacts> infer_facts(const Model& model);

/// Writes what infer_facts finds into the value_infos of all graphs, and into the outputs' types where they said less.
void infer_shapes(Model& model);

}  // namespace pajamas
