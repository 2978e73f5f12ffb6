// Small rewrites of a graph before it is lowered: patch embeddings as products, input channels padded to whole 8-byte
// loads, and what no step can compute as it is written in terms of what can.
#pragma once

#include <map>
#include <string>

#include "graph/graph.h"
#include "targets/cuda/constant_pool.h"

namespace pajamas::cuda {

struct Rewritten {
  Model model;
  /// Weights in another form than the model's, by the name under which the graph now uses them.
  std::map<std::string, PackRequest> aliases;
};

/// `has_integer_products`: see LoweringOptions.
Rewritten rewrite_for_steps(const Model& model, const ConstantTable& constants, bool has_integer_products);

}  // namespace pajamas::cuda
