// Runs a Program on the host, slowly, with the graph interpreter doing each step's arithmetic, in the very arena and
// strides that the GPU would use: what proves lowering, layouts, slices and the memory plan without a GPU.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "targets/cuda/constant_pool.h"
#include "targets/cuda/lowering/lower.h"
#include "targets/cuda/program.h"

namespace pajamas::cuda {

struct HostRunOptions {
  /// Steps of different lanes in the worst order that their dependencies allow, instead of in the order of the list.
  std::uint64_t shuffle_seed = 0;  ///< 0: in order.
  /// Loops of 16-bit types compute in float32 and round what they store, as generated kernels do, instead of rounding
  /// after every operator.
  bool rounds_loops_once = false;
};

/// Inputs in the program's order; returns the outputs. The arena starts filled with NaN patterns. Throws
/// Error{kInternal} when a step reads what nothing wrote.
std::vector<Tensor> run_on_host(const LoweredProgram& lowered, const ConstantTable& constants,
                                const std::vector<Tensor>& inputs, const HostRunOptions& options = {});

}  // namespace pajamas::cuda
