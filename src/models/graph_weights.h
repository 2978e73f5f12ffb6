// The weights of a checkpoint as values of a graph under construction: as they are stored, with the nodes that
// make float32 of them, and kept account of, so that what nobody asked for is reported.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "graph/graph_builder.h"
#include "models/weight_source.h"

namespace pajamas {

/// Borrowed builder and source must outlive the object. Names are those of the checkpoint, in full. All functions throw
/// Error{kBadInput} naming the tensor when it is missing or of another shape than the configuration makes it, and
/// Error{kUnsupported} for a storage that is not read. Not thread-safe.
class GraphWeights {
 public:
  GraphWeights(GraphBuilder& graph, const WeightSource& source) : graph_(graph), source_(source) {}

  bool has(const std::string& name) const { return source_.has(name); }
  /// [rows, columns] as a float32 value: the stored tensor behind a Cast or DequantizeLinear. Asked for again, the same
  /// value, so a tied table is stored once.
  GraphValue matrix(const std::string& name, std::int64_t rows, std::int64_t columns);
  /// [dim], stored as float32: norms and biases are small. `added` is added to each element.
  GraphValue vector(const std::string& name, std::int64_t dim, float added = 0);
  /// x [num_tokens, in_dim] times "<name>.weight" [out_dim, in_dim], and "<name>.bias" where there is one: [num_tokens,
  /// out_dim], in a scope called `scope`.
  GraphValue linear(std::string_view scope, const std::string& name, const GraphValue& x, std::int64_t in_dim,
                    std::int64_t out_dim, bool has_bias);
  /// Over the last axis of x: "<name>.weight" and "<name>.bias" [dim], in a scope called `scope`.
  GraphValue layer_norm(std::string_view scope, const std::string& name, const GraphValue& x, std::int64_t dim,
                        double epsilon);
  /// A tensor of any rank as a float32 value, stored as it is; 1-D and 2-D ones have functions above.
  GraphValue tensor(const std::string& name, const Shape& shape);
  /// The float32 values of a tensor, for weights that are computed from it.
  Tensor values(const std::string& name, const Shape& shape);
  /// A tensor that is known and not needed.
  void ignore(const std::string& name) { used_.insert(name); }
  /// Tensors that were neither used nor ignored, in alphabetic order.
  std::vector<std::string> unused() const;
  /// Throws Error{kBadInput} when unused() has "model.layers." past the configuration's: part of the model would be
  /// left out.
  void refuse_layers_from(std::int64_t num_layers) const;
  /// Logs unused(), if any, as a warning.
  void warn_unused(std::string_view family) const;
  const std::string& where() const { return source_.where(); }

 private:
  void require_shape(const std::string& name, const Shape& shape);

  GraphBuilder& graph_;
  const WeightSource& source_;
  std::set<std::string> used_;
  std::map<std::string, GraphValue> matrices_;
};

}  // namespace pajamas
