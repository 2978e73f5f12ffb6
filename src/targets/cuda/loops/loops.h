// Generated kernels for everything that is not a product: pointwise, broadcast, reductions, softmax and normalisation,
// pooling, movement (transpose, reshape, slice, concat, pad, gather by constants or values), resize.
//
// A region is a connected set of such ONNX nodes that one kernel computes; its inputs and outputs are strided values.
// Each value inside a region is a formula of its index, so movement costs nothing but index arithmetic.
//
//   nodes + TensorDescs ──make_loop_kernel()──▶ CUDA C++ source + launch geometry ──NVRTC (runtime/)──▶ kernel
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/target.h"
#include "graph/graph.h"
#include "graph/shape_inference.h"
#include "targets/cuda/constant_pool.h"
#include "targets/cuda/program.h"

namespace pajamas::cuda {

/// Whether a node can be part of a region: operator, types, known shapes, attributes. The reason says which it is.
Support supports_loop(const Node& node, std::int64_t opset, const GraphFacts& facts);

/// Whether a node only renames indices (Reshape, Transpose, Squeeze, Slice with constants, ...): lowering turns it into
/// a view where strides suffice.
bool is_view_operator(const Node& node);

/// A set of nodes for one kernel, by index in the graph, in topological order.
struct LoopRegion {
  std::vector<std::int32_t> nodes;
};

/// Groups `free_nodes` (indices into graph.nodes, ascending, each with supports_loop) into regions so that replacing
/// each by one step leaves the graph without a cycle, no value is computed many times over, and a region has at most
/// one reduced set of axes. A value that is used outside its region is stored once by it.
std::vector<LoopRegion> partition_loops(const Model& model, const GraphFacts& facts,
                                        std::span<const std::int32_t> free_nodes);

/// A kernel as source. `entry` is an extern "C" function of (const void* inputs..., void* outputs...), in the order of
/// LoopStep. The source includes nothing but what NVRTC has built in (cuda_fp16.h, cuda_bf16.h, cuda_fp8.h) and also
/// compiles as host C++ behind loops/host_shim.h, which is how tests run it without a GPU.
struct LoopKernel {
  std::string source;
  std::string entry;
  std::uint32_t grid[3] = {1, 1, 1};
  std::uint32_t block[3] = {1, 1, 1};
  std::uint32_t shared_bytes = 0;  ///< Dynamic.
  double flops = 0;                ///< Estimate, for reports.
};

/// One way of computing a loop step; there may be several (vector width, rows a block) for the tuner to time. `variant`
/// counts from 0; the first is a good guess. Throws Error{kUnsupported} naming the node for what supports_loop refuses.
LoopKernel make_loop_kernel(const Program& program, const LoopStep& step, int variant = 0);
int num_loop_variants(const Program& program, const LoopStep& step);

}  // namespace pajamas::cuda
