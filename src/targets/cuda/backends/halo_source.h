// CUDA C++ for convolutions with a window and few channels, on tensor cores: a block keeps its weights and a tile of
// the image with the margin (halo) that its windows reach in shared memory, so that every pixel is fetched about once
// and not once for each tap. For the early layers of detectors, where tile kernels and libraries wait for memory. Plain
// data, knows no CUDA at build; halo_nvrtc.cpp compiles and launches it, halo_kernel.cpp has the kernel.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "targets/cuda/backends/kernel_source.h"
#include "targets/cuda/program.h"

namespace pajamas::cuda {

/// How the work is cut: a block computes `height` x `width` pixels of `columns` channels at a time, by `warps_m` x
/// `warps_n` warps, and takes tile after tile.
struct HaloShape {
  std::int32_t height = 8, width = 32;  ///< The width 8 or a multiple of 16.
  std::int32_t warps_m = 4, warps_n = 1;
  std::int32_t columns = 16;

  /// "8x32w4x1n16": the tactic's name, which parse_halo_shape reads again.
  std::string to_string() const;
  bool operator==(const HaloShape&) const = default;
};
std::optional<HaloShape> parse_halo_shape(const std::string& text);

/// The shapes worth timing for a step on a device of so many multiprocessors, best guess first. Empty: not a step for
/// these kernels (no convolution of images or rows, kernel 1, groups, dilations, other types than float16 or bfloat16
/// throughout, input channels other than 4, 8 or multiples of 16, output channels that are no multiple of 16, weights
/// that do not fit into shared memory).
std::vector<HaloShape> halo_shapes(const Program& program, const Step& step, int sm, int num_multiprocessors);

/// `device_text`: in place of device_numbers_text() and tile_device_text(), for tests on the host. Throws
/// Error{kUnsupported} when the step cannot be computed by this shape.
KernelSource make_halo_source(const Program& program, const Step& step, const HaloShape& shape, int num_multiprocessors,
                              const char* device_text = nullptr);

}  // namespace pajamas::cuda
