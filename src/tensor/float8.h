// The 8-bit float E4M3FN ("FP8 Formats for Deep Learning": 4 bits of exponent, 3 of mantissa, no infinity) as a bit
// pattern in uint8_t. Rounding is to nearest, ties to even, and values past the range become the largest finite one, as
// ONNX's QuantizeLinear and the GPU's conversions with saturation have it. Formats that no kernel computes with are in
// graph/interpreter/small_types.h.
#pragma once

#include <bit>
#include <cstdint>

namespace pajamas {

/// Largest finite value.
inline constexpr float kMaxFloat8E4M3 = 448.0F;

/// NaN becomes 0x7f, infinities the largest finite value.
inline std::uint8_t float8_e4m3_from_float(float value) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint8_t>(bits >> 24 & 0x80U);
  const std::uint32_t magnitude = bits & 0x7fffffffU;
  if (magnitude > 0x7f800000U) return 0x7f;
  constexpr std::uint32_t kLeastNormal = 0x3c800000U;  // 2^-6
  std::uint32_t code = 0;
  if (magnitude < kLeastNormal) {
    // Beside 2^14 the last place of float32 is 2^-9, a subnormal's step: the addition rounds.
    code = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + 16384.0F) & 0xfU;
  } else {
    const std::uint32_t rounded = magnitude + 0x7ffffU + (magnitude >> 20 & 1U);
    code = (rounded >> 20) - (120U << 3);  // Exponents are biased by 127 there and by 7 here.
  }
  return static_cast<std::uint8_t>(sign | (code > 0x7eU ? 0x7eU : code));
}

inline float float_from_float8_e4m3(std::uint8_t code) noexcept {
  const std::uint32_t sign = static_cast<std::uint32_t>(code & 0x80U) << 24;
  const std::uint32_t magnitude = code & 0x7fU;
  if (magnitude == 0x7fU) return std::bit_cast<float>(sign | 0x7fc00000U);
  // The fields as float32's, 120 powers of two too small; its subnormals are those of the format.
  const float size = std::bit_cast<float>(magnitude << 20) * 0x1p120F;
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(size) | sign);
}

}  // namespace pajamas
