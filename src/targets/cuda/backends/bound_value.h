// A value's place and geometry, copied out of the program: what kernels keep, so that they stay valid without it.
#pragma once

#include <cstddef>

#include "targets/cuda/program.h"
#include "targets/cuda/runtime/step_kernel.h"

namespace pajamas::cuda {

struct BoundValue {
  std::size_t buffer = 0;
  std::size_t offset_bytes = 0;

  BoundValue() = default;
  BoundValue(const Program& program, ValueId id)
      : buffer(static_cast<std::size_t>(program.value(id).buffer)),
        offset_bytes(static_cast<std::size_t>(program.value(id).offset_elements) *
                     static_cast<std::size_t>(bits_of(program.value(id).desc.dtype)) / 8) {}
  std::byte* address(const LaunchContext& context) const { return context.buffers[buffer] + offset_bytes; }
  /// Of its address, in bytes, at most 16: buffers start at multiples of kBufferAlignment.
  std::int64_t alignment() const {
    const std::size_t lowest_bit = offset_bytes & (~offset_bytes + 1);
    return offset_bytes == 0 || lowest_bit > 16 ? 16 : static_cast<std::int64_t>(lowest_bit);
  }
};

}  // namespace pajamas::cuda
