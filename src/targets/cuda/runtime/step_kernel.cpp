// See step_kernel.h.
#include "targets/cuda/runtime/step_kernel.h"

namespace pajamas::cuda {

std::byte* LaunchContext::address(const Program& program, ValueId id) const {
  const Value& value = program.value(id);
  return buffers[static_cast<std::size_t>(value.buffer)] + value.offset_elements * bits_of(value.desc.dtype) / 8;
}

}  // namespace pajamas::cuda
