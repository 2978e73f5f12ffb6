// BlockWeight: a weight matrix in quantised form as the Graph holds it: packed integers with scales, one a row or one a
// group of consecutive input channels. The one form of GGUF's blocks (tensor/ggml_blocks.h repacks them without loss)
// and of what the quantiser makes (tensor/quantize.h). graph/block_weight_nodes.h writes it as ONNX nodes.
#pragma once

#include <cstdint>
#include <span>

#include "pajamas/tensor.h"

namespace pajamas {

/// weight[r][c] = (values[r][c] - zero_points[r][g]) * scales[r][g] + minimums[r][g], in float32, with
/// g = c / group_size. At most one of zero_points and minimums is there.
struct BlockWeight {
  /// [out_dim, in_dim]; int4, uint4, int8, uint8 or float8e4m3fn, packed as ONNX packs (low four bits first).
  Tensor values;
  /// float16 or float32; [out_dim, in_dim / group_size], or [out_dim] without groups.
  Tensor scales;
  /// Type of `values`, shape of `scales`; no elements and kUndefined where there is none.
  Tensor zero_points;
  /// Type and shape of `scales`; kUndefined where there is none.
  Tensor minimums;
  /// Input channels that share a scale; divides in_dim. 0: one scale a row.
  std::int64_t group_size = 0;

  std::int64_t out_dim() const { return values.shape()[0]; }
  std::int64_t in_dim() const { return values.shape()[1]; }
  std::int64_t groups_per_row() const { return group_size == 0 ? 1 : in_dim() / group_size; }
  bool has_zero_points() const { return zero_points.dtype() != DType::kUndefined; }
  bool has_minimums() const { return minimums.dtype() != DType::kUndefined; }
  /// Bytes of all four tensors.
  std::uint64_t size_bytes() const;
};

/// Throws Error{kInternal} naming what does not fit: types, shapes, a group size that does not divide in_dim.
void check_block_weight(const BlockWeight& weight);

/// Rows [row_begin, row_begin + row_count) as float32, row-major [row_count, in_dim], into `out` of exactly that size.
/// The arithmetic is that of the formula above in float32. Throws Error{kInternal} for rows out of range. Thread-safe.
void dequantize_rows(const BlockWeight& weight, std::int64_t row_begin, std::int64_t row_count, std::span<float> out);

}  // namespace pajamas
