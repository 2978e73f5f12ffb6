// From a picture to the tensor a vision model takes: scaled and placed (placement.h), normalised, laid out, converted.
// It knows no model and no manifest; tasks/image_pipeline.h connects the two.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "media/placement.h"
#include "media/resample.h"
#include "pajamas/image.h"
#include "pajamas/tensor.h"

namespace pajamas {

struct PreprocessOptions {
  Interpolation interpolation = Interpolation::kBilinear;
  bool is_antialiased = false;
  std::uint8_t pad_value = 114;   ///< Pixel level where no picture is, before normalisation.
  DType dtype = DType::kFloat32;  ///< float32, float16, bfloat16 or uint8 (rounded, clamped to 0..255).
  bool is_nhwc = false;           ///< [height, width, 3]; else [3, height, width].
  bool is_bgr = false;            ///< Order of the three channels; pictures are RGB.
  std::array<double, 3> mean{};   ///< value = (level / 255 − mean) / std, in the tensor's channel order.
  std::array<double, 3> std{1.0, 1.0, 1.0};
};

/// The number that a level becomes in a channel of the tensor (0..2), before it is rounded to the dtype.
double level_value(const PreprocessOptions& options, std::size_t channel, std::size_t level);

/// Throws Error{kBadInput} for an empty picture and one whose pixels do not fit its width and height.
void require_whole(const Image& image);

/// The steps from picture to tensor, with what can be computed beforehand. Immutable; thread-safe.
class Preprocessor {
 public:
  /// Throws Error{kUnsupported} for another dtype, Error{kBadInput} for a std that is zero or not finite.
  explicit Preprocessor(const PreprocessOptions& options);

  /// Bytes of one picture's tensor of this placement.
  std::size_t size_bytes(const Placement& placement) const;

  /// Writes the tensor of one picture: canvas_height × canvas_width × 3 elements in the layout of the options. `out` is
  /// size_bytes(placement) long, aligned for the dtype. Throws Error{kInternal} when placement, picture and `out` do
  /// not belong together, Error{kBadInput} for an empty picture.
  void write(const Image& image, const Placement& placement, std::span<std::byte> out) const;

 private:
  PreprocessOptions options_;
  /// Value of each level, per channel of the tensor: [3 * 256] elements of the dtype.
  std::vector<std::byte> values_;
};

}  // namespace pajamas
