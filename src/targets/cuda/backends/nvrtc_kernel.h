// A step computed by one kernel that NVRTC compiled: launch, and the bytes that make it again without compiling.
// Not the source: loop_nvrtc.cpp and plain_nvrtc.cpp make that.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "targets/cuda/backends/matrix_boxes.h"
#include "targets/cuda/runtime/device_context.h"
#include "targets/cuda/runtime/step_kernel.h"

namespace pajamas::cuda {

struct LaunchGeometry {
  std::uint32_t grid[3] = {1, 1, 1};
  std::uint32_t block[3] = {1, 1, 1};
  std::uint32_t shared_bytes = 0;  ///< Dynamic.
  /// May begin while the kernel before it on the stream is ending: the source waits for that one (griddepcontrol.wait)
  /// before it reads or writes anything that kernels write. From SM 9.0 on.
  std::uint32_t is_dependent_launch = 0;
};

/// Compiles `source` and loads its function `entry`, which takes a CUtensorMap for each of `boxes`, then the addresses
/// of `arguments`, in order. The program must outlive the kernel. Throws as DeviceContext does; Error{kUnsupported}
/// where there are boxes and the driver knows none.
std::unique_ptr<StepKernel> compile_kernel(DeviceContext& device, const Program& program,
                                           std::vector<ValueId> arguments, std::string tactic,
                                           const LaunchGeometry& geometry, const std::string& source,
                                           const std::string& entry, std::vector<MatrixBoxes> boxes = {});

/// The kernel again from StepKernel::state(). Throws Error{kUnsupported} when it was kept by another version or for
/// another step, Error{kBadInput} when it is cut off.
std::unique_ptr<StepKernel> restore_kernel(DeviceContext& device, const Program& program,
                                           std::vector<ValueId> arguments, std::string tactic,
                                           std::span<const std::byte> state, std::vector<MatrixBoxes> boxes = {});

}  // namespace pajamas::cuda
