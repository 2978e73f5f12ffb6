// Products of one input that become one: Q, K and V of an attention, the first convolutions of two heads. Weights and
// biases lie behind one another, and the results are windows of one buffer. Decides only; storage.h places, lower.cpp
// makes the step.
#pragma once

#include <vector>

#include "targets/cuda/lowering/graph_context.h"
#include "targets/cuda/lowering/lower.h"
#include "targets/cuda/lowering/products.h"

namespace pajamas::cuda {

/// The same products, siblings merged (Product::parts) where
///  - they read the same value, have constant weights of one type and shape but for their columns (output channels),
///    the same attributes, scale and activation, and no residual;
///  - whatever uses a result takes it as a window, without a copy.
/// In the order of their last nodes, as find_products gives them.
std::vector<Product> merge_siblings(const GraphContext& graph, std::vector<Product> products,
                                    const LoweringOptions& options);

}  // namespace pajamas::cuda
