// A value as the matrix that the copy engine takes boxes of: an argument of kernels that fetch through it. Plain data.
#pragma once

#include <cstdint>
#include <vector>

#include "targets/cuda/program.h"

namespace pajamas::cuda {

/// Rows of 16-bit elements; boxes lie in shared memory with their 16-byte chunks exchanged (128-byte swizzle), zeros
/// beyond the matrix.
struct MatrixBoxes {
  ValueId value = -1;
  bool is_bfloat = false;
  std::int64_t rows = 0, columns = 0, row_stride = 0;  ///< In elements; the stride a multiple of 8, at least `columns`.
  std::int32_t box_rows = 0, box_columns = 0;          ///< At most 256 and 64.
  /// For values of several axes behind the columns: those, in place of the rows, by ascending stride (in elements, a
  /// multiple of 8), and how many of each a box has.
  struct Axis {
    std::int64_t extent = 1, stride = 0;
    std::int32_t box = 1;
  };
  std::vector<Axis> axes;
};

}  // namespace pajamas::cuda
