// Operators that are others in short: ONNX's Attention, Einsum and GroupNormalization, written out before anything else
// lowers the graph, so that the patterns of products and the loop generator find what they know.
#pragma once

#include <optional>

#include "graph/graph.h"
#include "targets/cuda/constant_pool.h"

namespace pajamas::cuda {

/// Nothing for a model without such operators. One that cannot be written out (an ellipsis, a shape that is not known,
/// an output that nothing here makes) stays as it is, and whoever lowers it names it.
std::optional<Model> expand_operators(const Model& model, const ConstantTable& constants);

}  // namespace pajamas::cuda
