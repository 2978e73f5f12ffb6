// See regions.h.
#include "targets/cuda/lowering/regions.h"

#include <algorithm>
#include <set>
#include <string>

#include "graph/interpreter.h"

namespace pajamas::cuda {

Support loop_support(const GraphContext& graph, const Node& node) {
  if (is_operator_step(node)) return Support::no("the operator has a kernel of its own", {});
  if (can_evaluate(node, graph.opset)) return Support::yes();
  return Support::no("the cuda target has no kernel for " + node.op_type, "use --target openvino or tensorrt");
}

std::vector<std::vector<int>> group_regions(const GraphContext&, std::span<const std::int32_t> free_nodes, bool) {
  std::vector<std::vector<int>> regions;
  for (const std::int32_t index : free_nodes) regions.push_back({index});
  return regions;
}

bool is_operator_step(const Node& node) {
  static const std::set<std::string, std::less<>> kTypes{
      "TopK",   "NonMaxSuppression", "NonZero", "RoiAlign",       "GatherND",
      "ArgMax", "ScatterND",         "ArgMin",  "GatherElements", "ScatterElements"};
  return (node.domain.empty() || node.domain == "ai.onnx") && kTypes.count(node.op_type) != 0;
}

}  // namespace pajamas::cuda
