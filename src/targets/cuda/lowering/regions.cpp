// See regions.h.
#include "targets/cuda/lowering/regions.h"

#include <string>

#include "targets/cuda/loops/loops.h"

namespace pajamas::cuda {

Support loop_support(const GraphContext& graph, const Node& node) {
  if (is_operator_step(node)) return Support::no("the operator has a kernel of its own", {});
  return supports_loop(node, graph.opset, *graph.facts);
}

std::vector<std::vector<int>> group_regions(const GraphContext& graph, std::span<const std::int32_t> free_nodes,
                                            bool fuses) {
  std::vector<std::vector<int>> regions;
  if (!fuses) {
    for (const std::int32_t index : free_nodes) regions.push_back({index});
    return regions;
  }
  for (const LoopRegion& region : partition_loops(graph.model, *graph.facts, free_nodes)) {
    regions.emplace_back(region.nodes.begin(), region.nodes.end());
  }
  return regions;
}

}  // namespace pajamas::cuda
