// Kernels of operators that are neither products nor formulas of single elements (TopK, ScatterElements, RoiAlign,
// ...): hand-written CUDA C++ as text, made for the extents and types of one step. Plain data, knows no CUDA at build;
// the text also compiles as host C++ behind loops/host_shim.h, which is how tests run it without a GPU. Launching is
// the work of backends/operator_nvrtc.cpp.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/target.h"
#include "graph/shape_inference.h"
#include "targets/cuda/program.h"

namespace pajamas::cuda {

/// One function of an OperatorSource. The launches of a step run in order on one stream.
struct OperatorLaunch {
  std::string entry;  ///< extern "C"; takes the addresses of `arguments` in order, then that of the workspace.
  std::uint32_t num_blocks = 1;
  std::uint32_t block_size = 1;
  bool has_barriers = false;  ///< Threads of a block wait for each other: what a run on the host must know.
};

struct OperatorSource {
  std::string source;
  std::vector<OperatorLaunch> launches;
  std::vector<ValueId> arguments;
  std::size_t workspace_bytes = 0;
};

/// For an OperatorStep of an operator that is known here, with dense inputs and outputs of any strides; nothing for
/// other steps. Throws Error{kUnsupported} naming what of the node cannot be computed.
std::optional<OperatorSource> make_operator_source(const Program& program, const Step& step);

/// Whether the operator reads a small constant input as a number of its source instead of from memory (k, thresholds).
bool reads_as_number(const Node& node, std::size_t input);

/// Whether a node can be an OperatorStep: operator, types, known shapes, attributes.
Support supports_operator(const Node& node, std::int64_t opset, const GraphFacts& facts);

}  // namespace pajamas::cuda
