// Reading and writing of elements below 16 bits. See small_types.h.
#include "graph/interpreter/small_types.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "pajamas/error.h"

namespace pajamas::interpreter {
namespace {

/// A sign-magnitude binary float of at most 8 bits.
struct FloatFormat {
  int exponent_bits;
  int mantissa_bits;
  int bias;
  int num_magnitudes;      ///< Codes 0..num_magnitudes-1 are finite.
  int infinity_code;       ///< Magnitude code of infinity, -1: none.
  int nan_code;            ///< Code of the NaN that is written, -1: none.
  bool has_negative_zero;  ///< False for FNUZ, whose code 0x80 is NaN.
};

const FloatFormat* format_of(DType dtype) {
  static constexpr FloatFormat kE4M3Fn{4, 3, 7, 127, -1, 0x7f, true};
  static constexpr FloatFormat kE4M3Fnuz{4, 3, 8, 128, -1, 0x80, false};
  static constexpr FloatFormat kE5M2{5, 2, 15, 124, 0x7c, 0x7e, true};
  static constexpr FloatFormat kE5M2Fnuz{5, 2, 16, 128, -1, 0x80, false};
  static constexpr FloatFormat kE2M1{2, 1, 1, 8, -1, -1, true};
  switch (dtype) {
    case DType::kFloat8E4M3Fn: return &kE4M3Fn;
    case DType::kFloat8E4M3Fnuz: return &kE4M3Fnuz;
    case DType::kFloat8E5M2: return &kE5M2;
    case DType::kFloat8E5M2Fnuz: return &kE5M2Fnuz;
    case DType::kFloat4E2M1: return &kE2M1;
    default: return nullptr;
  }
}

double magnitude_of(const FloatFormat& format, int code) {
  const int mantissa = code & ((1 << format.mantissa_bits) - 1);
  const int exponent = code >> format.mantissa_bits;
  if (exponent == 0) return std::ldexp(mantissa, 1 - format.bias - format.mantissa_bits);
  return std::ldexp(mantissa + (1 << format.mantissa_bits), exponent - format.bias - format.mantissa_bits);
}

unsigned encode(const FloatFormat& format, double value, bool saturate) {
  const unsigned sign_bit = 1U << (format.exponent_bits + format.mantissa_bits);
  // E2M1 has no NaN; ONNX's reference gives its negative zero.
  if (std::isnan(value)) return format.nan_code >= 0 ? static_cast<unsigned>(format.nan_code) : sign_bit;
  const unsigned sign = std::signbit(value) ? sign_bit : 0U;
  const double magnitude = std::fabs(value);
  const int last = format.num_magnitudes - 1;
  // The first finite code whose value is not below `magnitude`; codes are in order of value.
  int low = 0;
  int high = format.num_magnitudes;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (magnitude_of(format, middle) < magnitude) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  int code = low;
  if (code > 0) {
    // Beyond the last code, the next step of the same size decides where rounding leaves the range.
    const double above =
        code <= last ? magnitude_of(format, code) : 2 * magnitude_of(format, last) - magnitude_of(format, last - 1);
    const double below = magnitude_of(format, code - 1);
    const double up = above - magnitude;
    const double down = magnitude - below;
    if (down < up || (down == up && ((code - 1) & 1) == 0)) --code;
  }
  if (code > last) {
    if (saturate || format.nan_code < 0) return sign | static_cast<unsigned>(last);
    if (format.infinity_code >= 0) return sign | static_cast<unsigned>(format.infinity_code);
    return format.has_negative_zero ? sign | static_cast<unsigned>(format.nan_code)
                                    : static_cast<unsigned>(format.nan_code);
  }
  if (code == 0 && !format.has_negative_zero) return 0;
  return sign | static_cast<unsigned>(code);
}

double decode(const FloatFormat& format, unsigned bits) {
  const unsigned sign_bit = 1U << (format.exponent_bits + format.mantissa_bits);
  if (!format.has_negative_zero && bits == sign_bit) return std::numeric_limits<double>::quiet_NaN();
  const int code = static_cast<int>(bits & (sign_bit - 1U));
  const double sign = (bits & sign_bit) != 0 ? -1.0 : 1.0;
  if (code == format.infinity_code) return sign * std::numeric_limits<double>::infinity();
  if (code >= format.num_magnitudes) return std::numeric_limits<double>::quiet_NaN();
  return sign * magnitude_of(format, code);
}

unsigned read_bits(std::span<const std::byte> bytes, std::size_t index, int bits) {
  const std::size_t per_byte = 8U / static_cast<unsigned>(bits);
  const unsigned shift = static_cast<unsigned>(index % per_byte) * static_cast<unsigned>(bits);
  return (std::to_integer<unsigned>(bytes[index / per_byte]) >> shift) & ((1U << bits) - 1U);
}

}  // namespace

bool is_small_type(DType dtype) {
  switch (dtype) {
    case DType::kFloat8E8M0:
    case DType::kUint4:
    case DType::kInt4:
    case DType::kUint2:
    case DType::kInt2: return true;
    default: return format_of(dtype) != nullptr;
  }
}

double read_small(DType dtype, std::span<const std::byte> bytes, std::size_t index) {
  const int width = bits_of(dtype);
  const unsigned bits = read_bits(bytes, index, width);
  if (format_of(dtype) != nullptr) {
    static const auto tables = [] {
      std::array<std::vector<double>, 27> built;
      for (std::size_t i = 0; i < built.size(); ++i) {
        const FloatFormat* known = format_of(static_cast<DType>(i));
        if (known == nullptr) continue;
        for (unsigned code = 0; code < 256; ++code) {
          built[i].push_back(decode(*known, code & ((2U << (known->exponent_bits + known->mantissa_bits)) - 1U)));
        }
      }
      return built;
    }();
    return tables[static_cast<std::size_t>(dtype)][bits];
  }
  if (dtype == DType::kFloat8E8M0) {
    return bits == 255 ? std::numeric_limits<double>::quiet_NaN() : std::ldexp(1.0, static_cast<int>(bits) - 127);
  }
  const bool is_signed = dtype == DType::kInt4 || dtype == DType::kInt2;
  const int value = static_cast<int>(bits);
  return is_signed && value >= (1 << (width - 1)) ? value - (1 << width) : value;
}

void write_small(DType dtype, std::span<std::byte> bytes, std::size_t index, double value, bool saturate) {
  const int width = bits_of(dtype);
  unsigned bits = 0;
  if (const FloatFormat* format = format_of(dtype)) {
    bits = encode(*format, value, saturate);
  } else if (dtype == DType::kFloat8E8M0) {
    throw Error(ErrorKind::kUnsupported, "writing float8e8m0 elements is not supported");
  } else {
    const bool is_signed = dtype == DType::kInt4 || dtype == DType::kInt2;
    const double low = is_signed ? -(1 << (width - 1)) : 0;
    const double high = is_signed ? (1 << (width - 1)) - 1 : (1 << width) - 1;
    const double rounded = std::isnan(value) ? 0 : std::clamp(std::nearbyint(value), low, high);
    bits = static_cast<unsigned>(static_cast<int>(rounded)) & ((1U << width) - 1U);
  }
  const std::size_t per_byte = 8U / static_cast<unsigned>(width);
  const unsigned shift = static_cast<unsigned>(index % per_byte) * static_cast<unsigned>(width);
  const unsigned mask = ((1U << width) - 1U) << shift;
  const unsigned old = std::to_integer<unsigned>(bytes[index / per_byte]);
  bytes[index / per_byte] = static_cast<std::byte>((old & ~mask) | (bits << shift));
}

}  // namespace pajamas::interpreter
