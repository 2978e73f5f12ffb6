// See placement.h.
#include "media/placement.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "pajamas/error.h"

namespace pajamas {

namespace {

void require_positive(int width, int height, const char* what) {
  if (width < 1 || height < 1) {
    throw Error(ErrorKind::kBadInput, std::string(what) + " of " + std::to_string(width) + " x " +
                                          std::to_string(height) + " pixels is empty");
  }
}

/// A whole number of pixels, at least one: a line of 10,000 × 1 must not vanish when scaled down.
int whole_px(double value) {
  if (!(value < 2147483647.0)) {
    throw Error(ErrorKind::kBadInput, "the picture's aspect ratio makes the scaled picture too large");
  }
  return std::max(1, static_cast<int>(value));
}

float clip(float value, float limit) {
  // Comparisons are written so that NaN passes through.
  if (value < 0) return 0;
  return value > limit ? limit : value;
}

}  // namespace

BoxXyxyPx Placement::to_source(const BoxXyxyPx& box) const {
  const auto width = static_cast<float>(source_width_px);
  const auto height = static_cast<float>(source_height_px);
  const float factor_x = width / static_cast<float>(scaled_width_px);
  const float factor_y = height / static_cast<float>(scaled_height_px);
  const auto left = static_cast<float>(offset_x_px);
  const auto top = static_cast<float>(offset_y_px);
  return {clip((box.x1 - left) * factor_x, width), clip((box.y1 - top) * factor_y, height),
          clip((box.x2 - left) * factor_x, width), clip((box.y2 - top) * factor_y, height)};
}

Placement stretch(int source_width_px, int source_height_px, int canvas_width_px, int canvas_height_px) {
  require_positive(source_width_px, source_height_px, "a picture");
  require_positive(canvas_width_px, canvas_height_px, "a model input");
  return {source_width_px, source_height_px, canvas_width_px, canvas_height_px, 0, 0,
          canvas_width_px, canvas_height_px};
}

Placement letterbox(int source_width_px, int source_height_px, int canvas_width_px, int canvas_height_px) {
  Placement placement = stretch(source_width_px, source_height_px, canvas_width_px, canvas_height_px);
  const double scale = std::min(static_cast<double>(canvas_width_px) / source_width_px,
                                static_cast<double>(canvas_height_px) / source_height_px);
  placement.scaled_width_px = whole_px(std::nearbyint(source_width_px * scale));
  placement.scaled_height_px = whole_px(std::nearbyint(source_height_px * scale));
  placement.offset_x_px = (canvas_width_px - placement.scaled_width_px) / 2;
  placement.offset_y_px = (canvas_height_px - placement.scaled_height_px) / 2;
  return placement;
}

Placement letterbox_top_left(int source_width_px, int source_height_px, int canvas_width_px, int canvas_height_px) {
  Placement placement = stretch(source_width_px, source_height_px, canvas_width_px, canvas_height_px);
  const double scale = std::min(static_cast<double>(canvas_width_px) / source_width_px,
                                static_cast<double>(canvas_height_px) / source_height_px);
  // The tiny factor keeps 640 / 427 × 427 from becoming 639 by rounding of the quotient.
  placement.scaled_width_px = whole_px(source_width_px * scale * (1 + 1e-12));
  placement.scaled_height_px = whole_px(source_height_px * scale * (1 + 1e-12));
  return placement;
}

Placement shortest_edge_crop(int source_width_px, int source_height_px, int shortest_px, int canvas_width_px,
                             int canvas_height_px) {
  Placement placement = stretch(source_width_px, source_height_px, canvas_width_px, canvas_height_px);
  require_positive(shortest_px, shortest_px, "a scaled picture");
  const bool is_wide = source_width_px >= source_height_px;
  const auto shorter = static_cast<double>(is_wide ? source_height_px : source_width_px);
  const auto longer = static_cast<double>(is_wide ? source_width_px : source_height_px);
  const int longer_px = whole_px(shortest_px * longer / shorter);
  placement.scaled_width_px = is_wide ? longer_px : shortest_px;
  placement.scaled_height_px = is_wide ? shortest_px : longer_px;
  // torchvision's centre crop rounds half to even; padding of a picture smaller than the crop rounds down.
  const auto offset = [](int scaled, int canvas) {
    if (scaled < canvas) return (canvas - scaled) / 2;
    return -static_cast<int>(std::nearbyint((scaled - canvas) / 2.0));
  };
  placement.offset_x_px = offset(placement.scaled_width_px, canvas_width_px);
  placement.offset_y_px = offset(placement.scaled_height_px, canvas_height_px);
  return placement;
}

Placement fit(int source_width_px, int source_height_px, int shortest_px, int longest_px) {
  require_positive(source_width_px, source_height_px, "a picture");
  require_positive(shortest_px, shortest_px, "a scaled picture");
  const int shorter = std::min(source_width_px, source_height_px);
  const int longer = std::max(source_width_px, source_height_px);
  double scale = static_cast<double>(shortest_px) / shorter;
  if (longest_px > 0) scale = std::min(scale, static_cast<double>(longest_px) / longer);
  const int width = whole_px(source_width_px * scale * (1 + 1e-12));
  const int height = whole_px(source_height_px * scale * (1 + 1e-12));
  return {source_width_px, source_height_px, width, height, 0, 0, width, height};
}

}  // namespace pajamas
