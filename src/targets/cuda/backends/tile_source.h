// CUDA C++ for convolutions and matrix products on tensor cores, one kernel for both: rows of A are gathered as the
// convolution needs them (implicit matrix product), weights stream through shared memory, and blocks of a cluster share
// the sum of one tile (split K) where there are few tiles. For what the libraries are slow at: small batches, few
// channels, odd channel counts. Plain data, knows no CUDA at build; tile_nvrtc.cpp compiles and launches it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "targets/cuda/backends/kernel_source.h"
#include "targets/cuda/program.h"

namespace pajamas::cuda {

/// How the work is cut: one block computes `rows` x `columns` outputs by `warps_m` x `warps_n` warps, `splits` blocks
/// share the sum over K.
struct TileShape {
  std::int32_t rows = 64, columns = 64;
  std::int32_t warps_m = 2, warps_n = 2;
  std::int32_t stages = 4;  ///< Pieces of K under way in shared memory.
  std::int32_t splits = 1;  ///< Blocks of a cluster, 1 to 8; above 1 from SM 9.0 on.

  /// "64x64w2x2s4k1": the tactic's name, which parse_tile_shape reads again.
  std::string to_string() const;
  bool operator==(const TileShape&) const = default;
};
std::optional<TileShape> parse_tile_shape(const std::string& text);

/// The shapes worth timing for a step on a device of so many multiprocessors, best guess first. Empty: not a step for
/// these kernels (other types than float16 and bfloat16, groups, transposed, channels that are no multiple of 4,
/// batches of matrices).
std::vector<TileShape> tile_shapes(const Program& program, const Step& step, int sm, int num_multiprocessors);

/// `device_text`: in place of device_numbers_text() and tile_device_text(), for tests on the host. Throws
/// Error{kUnsupported} when the step cannot be computed by this shape.
KernelSource make_tile_source(const Program& program, const Step& step, const TileShape& shape,
                              const char* device_text = nullptr);

}  // namespace pajamas::cuda
