// Which steps of a program are there because products are in 8-bit floats, and which steps of the same model without
// them do that work: what is compared by time to decide where 8 bits pay. Plain C++, no CUDA.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "targets/cuda/program.h"

namespace pajamas::cuda {

/// Activations in 8-bit floats that share a step, so that they can only be decided together, with all steps that they
/// touch: what quantises them and what reads them.
struct ProductGroup {
  std::vector<std::string> activations;  ///< Values that are quantised, in the order of the model.
  std::vector<std::size_t> small_steps;  ///< Of the quantised model's program, ascending.
  std::vector<std::size_t> wide_steps;   ///< Of the other's, ascending.
};

/// `model`: quantised by quantize_products, all its nodes named; `small`: its program; `wide`: the program of
/// without_float8_pairs(model). In the order of the model. Activations that no step of `small` takes as 8-bit floats
/// are left out.
std::vector<ProductGroup> product_groups(const Model& model, const Program& small, const Program& wide);

/// The model with a name of its own for each node.
Model with_node_names(const Model& model);

}  // namespace pajamas::cuda
