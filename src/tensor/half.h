// float16 and bfloat16 as bit patterns in uint16_t, converted to and from float in bulk and one by one.
// Rounding is to nearest, ties to even. Values past the type's range become infinity, as IEEE 754 says: whoever wants
// saturation asks for it by name.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "pajamas/tensor.h"

namespace pajamas {

/// Largest finite float16.
inline constexpr float kMaxFloat16 = 65504.0F;
/// Largest finite bfloat16.
inline constexpr float kMaxBfloat16 = 3.38953139e38F;

std::uint16_t float16_from_float(float value) noexcept;
float float_from_float16(std::uint16_t bits) noexcept;

inline std::uint16_t bfloat16_from_float(float value) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffU) > 0x7f800000U) return static_cast<std::uint16_t>((bits >> 16) | 0x40U);  // quiet NaN
  return static_cast<std::uint16_t>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16);
}
inline float float_from_bfloat16(std::uint16_t bits) noexcept {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

/// Bulk forms of the above; vectorised where the processor has the instructions. Sizes must agree.
void convert_float_to_float16(std::span<const float> in, std::span<std::uint16_t> out);
void convert_float16_to_float(std::span<const std::uint16_t> in, std::span<float> out);

/// Any floating-point, integer or bool tensor as float32 (complex, string, sub-byte and 8-bit floats but E4M3FN:
/// Error{kUnsupported}).
/// int64 and float64 values are rounded.
Tensor to_float32(const TensorView& tensor);

}  // namespace pajamas
