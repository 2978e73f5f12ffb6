// What follows a product as a launch of its own, for what a library cannot fuse: a kernel made by NVRTC that reads the
// sums from scratch memory, or the result in place. Not a StepKernel: cublaslt_backend.cpp and cudnn_backend.cpp put it
// behind theirs.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "targets/cuda/backends/bound_value.h"
#include "targets/cuda/backends/plain_source.h"
#include "targets/cuda/runtime/device_context.h"
#include "targets/cuda/runtime/step_kernel.h"

namespace pajamas::cuda {

class EpilogueKernel {
 public:
  /// `cubin`: as cubin() gave it; empty to compile. Throws as DeviceContext does, Error{kUnsupported} for a step that
  /// has no epilogue.
  EpilogueKernel(DeviceContext& device, const Program& program, const Step& step, std::span<const std::byte> cubin);
  /// The activation alone, on y in place or into a y of 8 bits from sums of 16 (activation_pass.h). Error{kUnsupported}
  /// for a step that it is not for.
  static EpilogueKernel in_place(DeviceContext& device, const Program& program, const Step& step,
                                 std::span<const std::byte> cubin);
  /// Enqueues it. `sums`: see make_epilogue_source and make_activation_pass; not looked at in place.
  void launch(const LaunchContext& context, const std::byte* sums) const;
  const std::vector<std::byte>& cubin() const noexcept { return cubin_; }
  /// Of the sums.
  std::size_t sums_bytes() const noexcept { return sums_bytes_; }

 private:
  EpilogueKernel(DeviceContext& device, const Program& program, const PlainSource& source, bool reads_sums,
                 std::span<const std::byte> cubin);
  std::vector<BoundValue> arguments_;
  std::vector<std::byte> cubin_;
  CompiledKernel kernel_;
  bool reads_sums_ = true;
  std::uint32_t num_blocks_ = 1, block_size_ = 1;
  std::size_t sums_bytes_ = 0;
};

}  // namespace pajamas::cuda
