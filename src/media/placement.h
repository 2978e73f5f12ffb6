// Placement: where a picture lands in a model's input, and the way back for boxes. Plain geometry in pixels, for every
// way models want their pictures: stretched, letterboxed, cropped, or merely scaled. Pixels are moved by preprocess.h.
#pragma once

#include <cstdint>

#include "pajamas/detection.h"

namespace pajamas {

/// The picture of source size is scaled to the scaled size, whose top left corner is put at the offset in a canvas. A
/// negative offset crops. All extents are at least 1.
struct Placement {
  int source_width_px = 1, source_height_px = 1;
  int scaled_width_px = 1, scaled_height_px = 1;
  int offset_x_px = 0, offset_y_px = 0;
  int canvas_width_px = 1, canvas_height_px = 1;

  /// A box in pixels of the canvas as a box in pixels of the source, clipped to it. NaN stays NaN.
  BoxXyxyPx to_source(const BoxXyxyPx& box) const;
  bool operator==(const Placement&) const = default;
};

/// Scaled to the canvas, each axis by its own factor. Like all of these: throws Error{kBadInput} when a size is not
/// positive or scaling leads past 2^31-1.
Placement stretch(int source_width_px, int source_height_px, int canvas_width_px, int canvas_height_px);

/// Scaled by one factor to just fit, rounded to whole pixels, in the middle of the canvas. Of an odd padding the
/// smaller half is left and above, as Ultralytics does.
Placement letterbox(int source_width_px, int source_height_px, int canvas_width_px, int canvas_height_px);

/// Scaled by one factor to just fit, rounded down to whole pixels, at the top left (YOLOX).
Placement letterbox_top_left(int source_width_px, int source_height_px, int canvas_width_px, int canvas_height_px);

/// The shorter edge scaled to `shortest_px`, the longer in proportion, rounded down (torchvision, Hugging Face); then
/// the middle of canvas size. A canvas larger than the scaled picture is padded.
Placement shortest_edge_crop(int source_width_px, int source_height_px, int shortest_px, int canvas_width_px,
                             int canvas_height_px);

/// The shorter edge scaled to `shortest_px`, or less where the longer would pass `longest_px` (0: no limit). The canvas
/// is as large as the scaled picture (torchvision's detection transform).
Placement fit(int source_width_px, int source_height_px, int shortest_px, int longest_px);

}  // namespace pajamas
