// Scaling 8-bit RGB pictures, pixel for pixel as the libraries do that models are trained with. Which part of the
// picture goes where is placement.h; what becomes of the pixel values is preprocess.h.
#pragma once

#include "pajamas/image.h"

namespace pajamas {

enum class Interpolation { kNearest, kBilinear, kBicubic };

/// What part of the scaled picture is wanted: pixels [x, x + width) × [y, y + height) of it.
struct Window {
  int x_px = 0, y_px = 0;
  int width_px = 0, height_px = 0;
};

/// The window of `image` scaled to scaled_width × scaled_height.
///
/// is_antialiased: filters widen when scaling down; equal to Pillow's resize to the last bit (bicubic with a = −1/2).
/// Otherwise pixels are sampled at half-pixel centres whatever the scale, with the edge repeated, within one level of
/// OpenCV's resize (bicubic with a = −3/4). Nearest takes the pixel under the centre, as Pillow does, in both.
///
/// `image` is not empty; the window lies inside the scaled picture. Work and memory depend on the window and on the
/// part of the source under it. Thread-safe.
Image resample(const Image& image, int scaled_width_px, int scaled_height_px, const Window& window,
               Interpolation interpolation, bool is_antialiased);

}  // namespace pajamas
