// What the generators of kernels for tensor cores ask of a step alike, and the limits of a block they keep to. Plain
// data, no CUDA.
#pragma once

#include <cstdint>
#include <optional>

#include "targets/cuda/program.h"

namespace pajamas::cuda {

/// Shared memory that a block may have from SM 9.0 on, and on SM 8.6 and 8.9.
inline constexpr std::int64_t kMaxSharedBytes = 227 * 1024;
inline constexpr std::int64_t kMaxSharedBytesBefore90 = 99 * 1024;

/// `value` not below 0, `divisor` above.
inline std::int64_t ceil_div(std::int64_t value, std::int64_t divisor) { return (value + divisor - 1) / divisor; }

inline bool is_half(DType dtype) { return dtype == DType::kFloat16 || dtype == DType::kBfloat16; }

/// Whether the epilogue's bias is one number for each of `n` columns, side by side, of `dtype` or float32; true where
/// there is none.
bool has_column_bias(const Program& program, const Epilogue& epilogue, std::int64_t n, DType dtype);

/// A convolution's weights whose channels, innermost, and kernel follow each other: the elements of such a row, one row
/// an output channel. Nothing for others.
std::optional<std::int64_t> dense_row_length(const TensorDesc& weights);

}  // namespace pajamas::cuda
