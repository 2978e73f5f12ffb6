// A value as the matrix that the copy engine takes boxes of: an argument of kernels that fetch through it. Plain data.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "targets/cuda/program.h"

namespace pajamas::cuda {

/// The pixels of a channels-last convolution's images as rows of a matrix, one a pixel of the result: a box is
/// `box_rows` pixels that windows begin at, moved by a tap, and `box_columns` channels.
struct PixelGrid {
  std::int64_t images = 1, height = 1, width = 1;
  std::int64_t image_stride = 0, line_stride = 0;  ///< In elements; that between pixels is the matrix's row stride.
  std::int32_t stride_y = 1, stride_x = 1;         ///< Between windows.
  std::int32_t first_y = 0, first_x = 0;           ///< Where the first window begins: minus the padding.
  std::int32_t last_y = 0, last_x = 0;             ///< Where none begins beyond, counted from the last pixel.
};

/// Rows of elements; boxes lie in shared memory with their 16-byte chunks exchanged (128-byte swizzle), zeros
/// beyond the matrix.
struct MatrixBoxes {
  ValueId value = -1;
  bool is_bfloat = false;
  std::int64_t rows = 0, columns = 0, row_stride = 0;  ///< In elements; the stride whole 16 bytes, at least `columns`.
  std::int32_t box_rows = 0, box_columns = 0;          ///< At most 256, and 128 bytes.
  /// For values of several axes behind the columns: those, in place of the rows, by ascending stride (in elements, a
  /// multiple of 8), and how many of each a box has.
  struct Axis {
    std::int64_t extent = 1, stride = 0;
    std::int32_t box = 1;
  };
  std::vector<Axis> axes;
  std::optional<PixelGrid> pixels;  ///< Then `rows` counts nothing.
  std::int32_t element_bytes = 2;   ///< 1: numbers of 8 bits; pixels have 2.
};

}  // namespace pajamas::cuda
