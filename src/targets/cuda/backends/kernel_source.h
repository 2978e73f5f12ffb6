// The source of one kernel that computes a step, and how it is launched: what the generators of kernels for
// tensor cores give. Plain data, knows no CUDA at build.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "targets/cuda/backends/matrix_boxes.h"
#include "targets/cuda/program.h"

namespace pajamas::cuda {

struct KernelSource {
  std::string source;
  std::string entry;
  std::vector<MatrixBoxes> boxes;  ///< The function's first arguments.
  std::vector<ValueId> arguments;  ///< Those after them: addresses.
  std::uint32_t grid[3] = {1, 1, 1};
  std::uint32_t block_size = 1;
  std::uint32_t shared_bytes = 0;  ///< Dynamic.
};

}  // namespace pajamas::cuda
