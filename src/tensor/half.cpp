// Conversions between float and the 16-bit floats. See half.h.
#include "tensor/half.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

#include <cstring>

#include "pajamas/error.h"
#include "tensor/float8.h"

namespace pajamas {

std::uint16_t float16_from_float(float value) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000U;
  const std::uint32_t magnitude = bits & 0x7fffffffU;
  if (magnitude > 0x7f800000U) return static_cast<std::uint16_t>(sign | 0x7e00U | ((magnitude >> 13) & 0x3ffU));
  if (magnitude >= 0x47800000U) return static_cast<std::uint16_t>(sign | 0x7c00U);  // 65536 and above
  if (magnitude < 0x38800000U) {                                                    // below the smallest normal, 2^-14
    if (magnitude < 0x33000000U) return static_cast<std::uint16_t>(sign);           // below half the smallest
    const std::uint32_t exponent = magnitude >> 23;
    const std::uint32_t mantissa = (magnitude & 0x7fffffU) | 0x800000U;
    const std::uint32_t shift = 126U - exponent;  // 14..24
    std::uint32_t result = mantissa >> shift;
    const std::uint32_t rest = mantissa & ((1U << shift) - 1U);
    const std::uint32_t half = 1U << (shift - 1U);
    if (rest > half || (rest == half && (result & 1U) != 0)) ++result;
    return static_cast<std::uint16_t>(sign | result);
  }
  // A normal number: re-bias the exponent (127 to 15) and round; a carry out of the mantissa lands in the exponent.
  const std::uint32_t rounded = magnitude - 0x38000000U + 0xfffU + ((magnitude >> 13) & 1U);
  return static_cast<std::uint16_t>(sign | (rounded >> 13));
}

float float_from_float16(std::uint16_t half) noexcept {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000U) << 16;
  const std::uint32_t exponent = (half >> 10) & 0x1fU;
  const std::uint32_t mantissa = half & 0x3ffU;
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24F;
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(magnitude) | sign);
  }
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000U | (mantissa << 13));
  return std::bit_cast<float>(sign | ((exponent + 112U) << 23) | (mantissa << 13));
}

namespace {

#if defined(__x86_64__)
__attribute__((target("avx,f16c"))) std::size_t to_float16_f16c(const float* in, std::uint16_t* out,
                                                                std::size_t count) {
  std::size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const __m128i packed = _mm256_cvtps_ph(_mm256_loadu_ps(in + i), _MM_FROUND_TO_NEAREST_INT);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i), packed);
  }
  return i;
}

__attribute__((target("avx,f16c"))) std::size_t from_float16_f16c(const std::uint16_t* in, float* out,
                                                                  std::size_t count) {
  std::size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(in + i))));
  }
  return i;
}

bool has_f16c() {
  // clang 14 does not know "f16c" as a feature to ask for, so CPUID is read: leaf 1, ECX bit 29.
  static const bool has = [] {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    return __builtin_cpu_supports("avx") != 0 && __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx >> 29 & 1U) != 0;
  }();
  return has;
}
#endif

template <typename T>
void widen(const TensorView& view, std::span<float> out) {
  const auto in = view.as<T>();
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<float>(in[i]);
}

}  // namespace

void convert_float_to_float16(std::span<const float> in, std::span<std::uint16_t> out) {
  std::size_t i = 0;
#if defined(__x86_64__)
  if (has_f16c()) i = to_float16_f16c(in.data(), out.data(), in.size());
#endif
  for (; i < in.size(); ++i) out[i] = float16_from_float(in[i]);
}

void convert_float16_to_float(std::span<const std::uint16_t> in, std::span<float> out) {
  std::size_t i = 0;
#if defined(__x86_64__)
  if (has_f16c()) i = from_float16_f16c(in.data(), out.data(), in.size());
#endif
  for (; i < in.size(); ++i) out[i] = float_from_float16(in[i]);
}

Tensor to_float32(const TensorView& view) {
  Tensor result(DType::kFloat32, view.shape);
  const auto out = result.mutable_as<float>();
  switch (view.dtype) {
    case DType::kFloat32:
      if (!out.empty()) std::memcpy(out.data(), view.data, out.size_bytes());
      break;
    case DType::kFloat16: convert_float16_to_float(view.as<std::uint16_t>(), out); break;
    case DType::kBfloat16: {
      const auto in = view.as<std::uint16_t>();
      for (std::size_t i = 0; i < out.size(); ++i) out[i] = float_from_bfloat16(in[i]);
      break;
    }
    case DType::kFloat8E4M3Fn: {
      const auto* in = reinterpret_cast<const std::uint8_t*>(view.data);
      for (std::size_t i = 0; i < out.size(); ++i) out[i] = float_from_float8_e4m3(in[i]);
      break;
    }
    case DType::kFloat64: widen<double>(view, out); break;
    case DType::kBool:
    case DType::kUint8: widen<std::uint8_t>(view, out); break;
    case DType::kInt8: widen<std::int8_t>(view, out); break;
    case DType::kUint16: widen<std::uint16_t>(view, out); break;
    case DType::kInt16: widen<std::int16_t>(view, out); break;
    case DType::kInt32: widen<std::int32_t>(view, out); break;
    case DType::kUint32: widen<std::uint32_t>(view, out); break;
    case DType::kInt64: widen<std::int64_t>(view, out); break;
    case DType::kUint64: widen<std::uint64_t>(view, out); break;
    default:
      throw Error(ErrorKind::kUnsupported,
                  std::string("a tensor of type ") + to_string(view.dtype) + " cannot be read as float32");
  }
  return result;
}

}  // namespace pajamas
