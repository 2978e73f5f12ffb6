// CUDA C++ for attention without a mask on Hopper's tensor cores (wgmma), fed by the copy engine (TMA), with queries,
// keys and values wherever a projection left them. Plain data, knows no CUDA at build; attention_nvrtc.cpp compiles and
// launches it, attention_kernel.cpp has the kernel and says how it works.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "targets/cuda/backends/kernel_source.h"
#include "targets/cuda/program.h"

namespace pajamas::cuda {

/// How the work is cut.
struct AttentionShape {
  std::int32_t groups = 2;          ///< Warpgroups of a block, with 64 rows of queries each: 1 to 3.
  std::int32_t keys = 128;          ///< Of a block of keys: a multiple of 16, 32 to 256.
  std::int32_t stages = 4;          ///< Blocks of keys or values under way in shared memory, 2 to 8.
  bool has_q_in_registers = false;  ///< Queries are multiplied from registers.

  /// "3x128s4q0": the tactic's name, in the order above, which parse_attention_shape reads again.
  std::string to_string() const;
  bool operator==(const AttentionShape&) const = default;
};
std::optional<AttentionShape> parse_attention_shape(const std::string& text);

/// The shapes worth timing for a step on a device of so many multiprocessors, best guess first. Empty: not a step for
/// these kernels (no SM 9.0, no float16 or bfloat16 throughout, masked or causal, heads of more than 128, strides that
/// are no multiples of 8, a scale that is not above zero).
std::vector<AttentionShape> attention_shapes(const Program& program, const Step& step, int sm, int num_multiprocessors);

/// `device_text`: in place of warpgroup_device_text(), attention_device_text() and of the instructions, for tests on
/// the host. Throws Error{kUnsupported} when the step cannot be computed by this shape.
KernelSource make_attention_source(const Program& program, const Step& step, const AttentionShape& shape,
                                   int num_multiprocessors, const char* device_text = nullptr);

}  // namespace pajamas::cuda
