// Fills device memory with numbers to time kernels on: floating-point values between -1 and 1, zeros for integers
// (valid indices). Zeros everywhere would draw less power and time faster than real data.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <map>

#include "pajamas/tensor.h"
#include "targets/cuda/runtime/device_context.h"

namespace pajamas::cuda {

/// Keeps one block of random values a type on the device. Not thread-safe.
class RandomFill {
 public:
  /// Enqueues the filling of `size_bytes` from `memory` on.
  void fill(std::byte* memory, std::size_t size_bytes, DType dtype, cudaStream_t stream);

 private:
  std::map<DType, DeviceMemory> blocks_;
};

}  // namespace pajamas::cuda
