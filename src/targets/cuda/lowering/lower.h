// From Graph to Program for fixed input shapes: which nodes become products with an epilogue, which become generated
// loops, which are views, what layout each value has, and in what order and branches the steps run.
// Not the numbers of large weights (constant_pool.h), not the code of loops (loops/), not memory (memory_plan.h).
#pragma once

#include <string>
#include <vector>

#include "engine/target.h"
#include "graph/graph.h"
#include "targets/cuda/constant_pool.h"
#include "targets/cuda/program.h"

namespace pajamas::cuda {

struct LoweringOptions {
  bool fuses = true;           ///< false: one step a node, for finding out where an error comes from.
  bool uses_slices = true;     ///< Concat and Split as windows instead of copies.
  std::int32_t max_lanes = 8;  ///< Parallel branches at most.
  bool allows_tf32 = false;    ///< Program::allows_tf32
  /// Products of 8-bit integers from the integers (integer_products.h), else as they are written.
  bool has_integer_products = true;
  /// Products, and convolutions of equal geometry, that read the same value as one (siblings.h). Needs uses_slices.
  bool merges_products = true;
  bool merges_convolutions = true;
};

struct LoweredProgram {
  Program program;
  std::vector<ConstantUse> constants;  ///< What Buffer::constant_key names.
};

/// `graph_model`: after the passes, functions inlined, no control flow, its large initializers either still in it or
/// only in `constants`; every input shape known (fix_input_shapes). Throws Error{kUnsupported} naming node and reason
/// for what has no step, Error{kBadInput} for a graph that contradicts itself.
LoweredProgram lower(const Model& graph_model, const ConstantTable& constants, const LoweringOptions& options = {});

/// Whether lower() would take every node, as far as types and attributes tell: names the first that it would not.
Support supports_graph(const Model& graph_model);

}  // namespace pajamas::cuda
