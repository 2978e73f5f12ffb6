// Bulk conversion of weights with its losses. See weight_conversion.h.
#include "graph/passes/weight_conversion.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "tensor/half.h"

namespace pajamas {
namespace {

/// Magnitudes, as bits of a float32, where a 16-bit type changes its behaviour. Bits of positive floats are in order
/// of their value, so comparing integers compares magnitudes.
struct Borders {
  std::uint32_t overflow;         ///< From here on rounding gives infinity.
  std::uint32_t smallest_normal;  ///< Below it digits are lost.
  std::uint32_t largest_zero;     ///< Up to here rounding gives zero.
};

Borders borders_of(DType dtype) {
  if (dtype == DType::kFloat16) {
    return {std::bit_cast<std::uint32_t>(65520.0F), std::bit_cast<std::uint32_t>(0x1p-14F),
            std::bit_cast<std::uint32_t>(0x1p-25F)};
  }
  // bfloat16 has the exponents of float32: only what rounds past the last of its 8 digits overflows.
  return {0x7f7f8000U, 0x00800000U, 0x00008000U};
}

constexpr std::uint32_t kInfinity = 0x7f800000U;
constexpr std::uint32_t kMagnitude = 0x7fffffffU;

void convert(std::span<const float> in, std::span<std::uint16_t> out, DType dtype) {
  if (dtype == DType::kFloat16) {
    convert_float_to_float16(in, out);
  } else {
    std::transform(in.begin(), in.end(), out.begin(), bfloat16_from_float);
  }
}

}  // namespace

Tensor convert_weight(const Tensor& tensor, DType dtype, WeightConversion& losses) {
  const auto in = tensor.as<float>();
  Tensor out(dtype, tensor.shape());
  const auto bytes = out.mutable_bytes();
  const std::span<std::uint16_t> to{reinterpret_cast<std::uint16_t*>(bytes.data()), in.size()};
  const Borders borders = borders_of(dtype);
  losses.num_elements = static_cast<std::int64_t>(in.size());
  // In blocks that stay in the cache between counting and converting.
  constexpr std::size_t kBlock = 4096;
  std::uint32_t peak = 0;
  std::vector<float> clamped;
  for (std::size_t start = 0; start < in.size(); start += kBlock) {
    const auto block = in.subspan(start, std::min(kBlock, in.size() - start));
    std::uint32_t num_over = 0;
    std::uint32_t num_flushed = 0;
    std::uint32_t num_small = 0;
    std::uint32_t block_peak = 0;
    for (const float value : block) {
      const std::uint32_t magnitude = std::bit_cast<std::uint32_t>(value) & kMagnitude;
      const bool is_finite = magnitude < kInfinity;
      num_over += static_cast<std::uint32_t>(magnitude >= borders.overflow) & static_cast<std::uint32_t>(is_finite);
      num_flushed += static_cast<std::uint32_t>(magnitude - 1U < borders.largest_zero);
      num_small += static_cast<std::uint32_t>(magnitude - 1U < borders.smallest_normal - 1U);
      block_peak = std::max(block_peak, is_finite ? magnitude : 0U);
    }
    peak = std::max(peak, block_peak);
    losses.num_saturated += num_over;
    losses.num_flushed_to_zero += num_flushed;
    losses.num_subnormal += num_small - num_flushed;
    if (num_over == 0) {
      convert(block, to.subspan(start, block.size()), dtype);
      continue;
    }
    const float limit = dtype == DType::kFloat16 ? kMaxFloat16 : kMaxBfloat16;
    clamped.assign(block.begin(), block.end());
    for (float& value : clamped) {
      const std::uint32_t magnitude = std::bit_cast<std::uint32_t>(value) & kMagnitude;
      if (magnitude >= borders.overflow && magnitude < kInfinity) value = value < 0 ? -limit : limit;
    }
    convert(clamped, to.subspan(start, block.size()), dtype);
  }
  losses.max_magnitude = static_cast<double>(std::bit_cast<float>(peak));
  return out;
}

}  // namespace pajamas
