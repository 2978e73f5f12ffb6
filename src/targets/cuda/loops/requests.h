// Kernel requests from nodes of a graph, before there is a Program: what supports_loop and the partition try out.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "targets/cuda/loops/kernel_builder.h"

namespace pajamas::cuda::loops {

/// The region of these nodes with dense inputs and outputs; outputs are the values that `is_used_outside` names.
KernelRequest request_of(const std::vector<const Node*>& nodes, std::int64_t opset, const GraphFacts& facts,
                         const std::function<bool(const std::string&)>& is_used_outside);
LoopKernel make_kernel(const KernelRequest& request, int variant);

}  // namespace pajamas::cuda::loops
