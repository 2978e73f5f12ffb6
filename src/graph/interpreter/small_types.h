// Elements without a C++ type: 8-bit and 4-bit floats, 4-bit and 2-bit integers. Read to and written from double.
// Formats: "FP8 Formats for Deep Learning" (E4M3FN, E5M2), the FNUZ variants of "8-bit Numerical Formats for Deep
// Neural Networks", and OCP Microscaling (E8M0, E2M1), as ONNX's Cast describes them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "pajamas/tensor.h"

namespace pajamas::interpreter {

/// True for the types this file reads.
bool is_small_type(DType dtype);
/// Element `index` of packed storage.
double read_small(DType dtype, std::span<const std::byte> bytes, std::size_t index);
/// Rounds to nearest, ties to even. Past the range: the largest finite value when `saturate`, else infinity or NaN as
/// the format has it. Integers and E2M1 always saturate. `index` must be written in any order, but by one thread.
void write_small(DType dtype, std::span<std::byte> bytes, std::size_t index, double value, bool saturate);

}  // namespace pajamas::interpreter
