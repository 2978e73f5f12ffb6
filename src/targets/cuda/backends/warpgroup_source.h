// CUDA C++ for large matrix products on Hopper's tensor cores (wgmma), fed by the copy engine (TMA): for products whose
// bias, residual and activation the libraries do not hide behind the multiplication. Plain data, knows no CUDA at
// build; warpgroup_nvrtc.cpp compiles and launches it, warpgroup_kernel.cpp has the kernel and says how it works.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "targets/cuda/backends/kernel_source.h"
#include "targets/cuda/program.h"

namespace pajamas::cuda {

/// How the work is cut.
struct WarpgroupShape {
  std::int32_t rows = 64;      ///< That one of the two warpgroups holds sums of: 64 or 128.
  std::int32_t columns = 128;  ///< Of a tile: a multiple of 32, 64 to 256; rows x columns at most 24,576.
  bool is_alternating =
      true;  ///< Each warpgroup has its own tile, and they multiply in turns; else one tile of 2 x rows.
  std::int32_t cluster = 1;  ///< 1, or 2 blocks that fetch the columns of B for each other.
  std::int32_t stages = 4;   ///< Pieces of K under way in shared memory, 3 to 8.
  std::int32_t splits = 1;   ///< 1, 2, 4 or 8 blocks that share a tile, each a part of K; neither with `cluster` nor
                             ///< alternating.

  bool keeps_columns = false;  ///< A block fetches its columns of B once and keeps them; alternating, no cluster.
  std::int32_t groups = 2;     ///< Warpgroups that multiply: 2, or 3 that alternate.
  std::int32_t delay = 0;      ///< Pieces of K that the second half of a tile is behind the first.
  /// y's transpose is computed: `rows` are columns of the step's b, `columns` rows of its a, any multiple of 16 of
  /// them.
  bool is_transposed = false;

  /// "128x128a2s6", "64x128h1s5k4", "64x144h1s4d1t": the tactic's name ("a" alternating, "r" so and keeping its
  /// columns, "h" halves, "g3" three warpgroups, "t" transposed), which parse_warpgroup_shape reads again.
  std::string to_string() const;
  bool operator==(const WarpgroupShape&) const = default;
};
std::optional<WarpgroupShape> parse_warpgroup_shape(const std::string& text);

/// The shapes worth timing for a step on a device of so many multiprocessors, best guess first. Empty: not a step for
/// these kernels (no SM 9.0, no float16 or bfloat16 throughout and no factors of float8e4m3fn, fewer than 64 rows,
/// extents or strides that are no whole 16 bytes, batches of matrices; of convolutions with a window those of groups,
/// of fewer than 64 channels, of 8 bits and of results whose pixels do not follow each other evenly).
std::vector<WarpgroupShape> warpgroup_shapes(const Program& program, const Step& step, int sm, int num_multiprocessors);

/// `device_text`: in place of device_numbers_text(), warpgroup_device_text() and the instruction, for tests on the
/// host. Throws Error{kUnsupported} when the step cannot be computed by this shape.
KernelSource make_warpgroup_source(const Program& program, const Step& step, const WarpgroupShape& shape,
                                   int num_multiprocessors, const char* device_text = nullptr);

}  // namespace pajamas::cuda
