// A plain interpreter of graphs on host tensors: the arithmetic that constant folding needs, and a second reference
// for verification that shares no code with any target. Written to be read and to be right, not to be fast.
// Not a target: it compiles nothing. The operators live in interpreter/, one file a class.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/cancel.h"
#include "graph/graph.h"

namespace pajamas {

/// Upper bound on one output tensor. An output that would be larger raises Error{kUnsupported} before any memory is
/// taken, so a hostile ConstantOfShape or Expand cannot exhaust the machine.
struct EvaluationLimits {
  std::uint64_t max_output_bytes = std::uint64_t{4} << 30;
};

/// Whether evaluate_node knows the operator of `node` at `opset`. Operators with random results (Dropout in training,
/// RandomNormal, ...) and those of other domains are not known. Element types and shapes are checked by evaluate_node.
bool can_evaluate(const Node& node, std::int64_t opset);

/// Computes one node. `inputs` are in the node's order, nullptr for an omitted optional one; the result has one tensor
/// per output of the node (an unnamed output may be an empty Tensor). float16 and bfloat16 are computed in float32 and
/// rounded once. Control flow (If, Loop, Scan) is only done by run_graph.
/// Throws Error{kBadInput} naming the node for inputs that contradict the operator, Error{kUnsupported} for an
/// operator, type or size it does not do. Thread-safe.
std::vector<Tensor> evaluate_node(const Node& node, std::span<const Tensor* const> inputs, std::int64_t opset,
                                  const EvaluationLimits& limits = {});

struct RunOptions {
  EvaluationLimits limits;
  bool has_all_values = false;  ///< Return every value of the main graph, not only the outputs.
  const CancelToken* cancel = nullptr;
};

/// Runs the main graph. `inputs` must hold every required input; values are freed after their last use. Model-local
/// functions must have been inlined. Throws as evaluate_node, and Error{kUsage} when an input is missing.
std::map<std::string, Tensor> run_graph(const Model& model, const std::map<std::string, Tensor>& inputs,
                                        const RunOptions& options = {});

}  // namespace pajamas
