// The arithmetic of bilinear sampling in whole numbers, for the host and the GPU alike, so that both give the same
// levels. Used by media/resample.cpp and by picture_kernels.cu; no CUDA needed.
#pragma once

#include <cstdint>

#include "kernels/host_device.h"

namespace pajamas::kernels {

/// Precision of the sampling weights: units of 2^-11, as in media/resample.cpp and OpenCV.
inline constexpr int kLinearBits = 11;

/// The source pixel at or before the centre of scaled pixel `index`, and the weight of the next one.
struct LinearTap {
  std::int32_t first;
  std::uint32_t next_weight;
};

/// Same sums and roundings as the host's table (no fused multiply-add). `scale` is source ÷ scaled size.
PAJAMAS_HOST_DEVICE inline LinearTap linear_tap(std::int32_t index, double scale, std::int32_t source_px) {
#ifdef __CUDA_ARCH__
  double position = __dadd_rn(__dmul_rn(static_cast<double>(index) + 0.5, scale), -0.5);
#else
  double position = (static_cast<double>(index) + 0.5) * scale - 0.5;
#endif
  const double last = static_cast<double>(source_px - 1);
  position = position < 0.0 ? 0.0 : (position > last ? last : position);
  const auto first = static_cast<std::int32_t>(position);
  const double exact = (position - first) * (1 << kLinearBits);
  // Round half to even, as lrint does.
  auto weight = static_cast<std::uint32_t>(exact);
  const double rest = exact - weight;
  if (rest > 0.5 || (rest == 0.5 && (weight & 1U) != 0)) ++weight;
  return {first, first == source_px - 1 ? 0U : weight};
}

/// Level of one channel of a scaled pixel from the four source pixels around it: rows first, kept as 8.7 fixed point.
PAJAMAS_HOST_DEVICE inline std::uint32_t mix_levels(std::uint32_t upper_left, std::uint32_t upper_right,
                                                    std::uint32_t lower_left, std::uint32_t lower_right,
                                                    std::uint32_t right_weight, std::uint32_t lower_weight) {
  constexpr std::uint32_t kOne = 1U << kLinearBits;
  const std::uint32_t left = (upper_left * (kOne - lower_weight) + lower_left * lower_weight + 8U) >> 4;
  const std::uint32_t right = (upper_right * (kOne - lower_weight) + lower_right * lower_weight + 8U) >> 4;
  return (left * (kOne - right_weight) + right * right_weight + (1U << 17)) >> 18;
}

}  // namespace pajamas::kernels
