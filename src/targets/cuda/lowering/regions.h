// What lowering asks of the loop generator: which nodes it takes and which of them share a kernel.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/target.h"
#include "targets/cuda/lowering/graph_context.h"

namespace pajamas::cuda {

Support loop_support(const GraphContext& graph, const Node& node);
/// Nodes of one kernel each, in topological order. `fuses` false: one node each.
std::vector<std::vector<int>> group_regions(const GraphContext& graph, std::span<const std::int32_t> free_nodes,
                                            bool fuses);
/// Whether the operator has a kernel of its own (OperatorStep).
bool is_operator_step(const Node& node);

}  // namespace pajamas::cuda
