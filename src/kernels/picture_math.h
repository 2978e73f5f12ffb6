// The arithmetic of placing pictures, for the host and the GPU alike, so that both give the same levels: walks over
// turned pictures and bilinear sampling in whole numbers. Used by media/ and by picture_kernels.cu; no CUDA needed.
#pragma once

#include <array>
#include <cstddef>
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

/// Where the pixels of an upright picture lie in the stored one: pixel (x, y) at start + x · step_x + y · step_y.
struct PixelWalk {
  std::int64_t start_bytes = 0;
  std::int64_t step_x_bytes = 3;
  std::int64_t step_y_bytes = 0;
};

/// The walk over an interleaved RGB picture stored as `width_px` × `height_px`, `pitch_bytes` from row to row, whose
/// EXIF orientation (tag 0x0112 of EXIF 2.3) is `orientation`, 1..8; upright it is height × width from 5 on.
inline PixelWalk upright_walk(int orientation, std::int64_t width_px, std::int64_t height_px,
                              std::int64_t pitch_bytes) {
  const std::int64_t right = 3;
  const std::int64_t down = pitch_bytes;
  const std::int64_t last_x = right * (width_px - 1);
  const std::int64_t last_y = down * (height_px - 1);
  const std::array<PixelWalk, 9> walks{{{0, right, down},
                                        {0, right, down},
                                        {last_x, -right, down},
                                        {last_x + last_y, -right, -down},
                                        {last_y, right, -down},
                                        {0, down, right},
                                        {last_y, -down, right},
                                        {last_x + last_y, -down, -right},
                                        {last_x, down, -right}}};
  return walks[static_cast<std::size_t>(orientation < 1 || orientation > 8 ? 1 : orientation)];
}

/// Geometry of one picture. Lies in device memory, so that one CUDA graph serves pictures of every size.
struct PicturePlacement {
  /// The upright picture's top left pixel, interleaved RGB; in device memory for the kernel.
  const std::uint8_t* pixels = nullptr;
  std::int64_t step_x_bytes = 3;  ///< To the pixel on the right; negative or a row for pictures stored turned.
  std::int64_t step_y_bytes = 0;  ///< To the pixel below.
  std::int32_t source_width_px = 1, source_height_px = 1;  ///< Upright.
  std::int32_t scaled_width_px = 1, scaled_height_px = 1;
  std::int32_t offset_x_px = 0, offset_y_px = 0;  ///< Of the scaled picture in the canvas; negative: cropped.
};

/// Levels (RGB) of pixel (x, y) of the canvas; `pad_level` where no picture is.
PAJAMAS_HOST_DEVICE inline void placed_levels(const PicturePlacement& placement, std::int32_t x, std::int32_t y,
                                              std::uint32_t pad_level, std::uint32_t levels[3]) {
  const std::int32_t scaled_x = x - placement.offset_x_px;
  const std::int32_t scaled_y = y - placement.offset_y_px;
  levels[0] = levels[1] = levels[2] = pad_level;
  if (scaled_x < 0 || scaled_x >= placement.scaled_width_px || scaled_y < 0 || scaled_y >= placement.scaled_height_px) {
    return;
  }
  LinearTap across{scaled_x, 0};
  LinearTap down{scaled_y, 0};
  if (placement.scaled_width_px != placement.source_width_px ||
      placement.scaled_height_px != placement.source_height_px) {
    across = linear_tap(scaled_x, static_cast<double>(placement.source_width_px) / placement.scaled_width_px,
                        placement.source_width_px);
    down = linear_tap(scaled_y, static_cast<double>(placement.source_height_px) / placement.scaled_height_px,
                      placement.source_height_px);
  }
  const std::uint8_t* upper =
      placement.pixels + down.first * placement.step_y_bytes + across.first * placement.step_x_bytes;
  const std::uint8_t* lower = down.next_weight != 0 ? upper + placement.step_y_bytes : upper;
  const std::int64_t right = across.next_weight != 0 ? placement.step_x_bytes : 0;
  for (int c = 0; c < 3; ++c) {
    levels[c] =
        mix_levels(upper[c], upper[right + c], lower[c], lower[right + c], across.next_weight, down.next_weight);
  }
}

}  // namespace pajamas::kernels
