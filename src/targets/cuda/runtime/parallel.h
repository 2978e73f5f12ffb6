// A loop over several threads for work on the host that the GPU's libraries want done: building plans, compiling
// kernels.
#pragma once

#include <cstddef>
#include <functional>

#include "targets/cuda/runtime/device_context.h"

namespace pajamas::cuda {

/// Calls work(i) for i in [0, count), on at most `num_threads` threads (0: all cores) with the device current in each.
/// The first exception ends the loop and comes back once all threads have stopped.
void parallel_for(const DeviceContext& device, std::size_t count, int num_threads,
                  const std::function<void(std::size_t)>& work);

}  // namespace pajamas::cuda
