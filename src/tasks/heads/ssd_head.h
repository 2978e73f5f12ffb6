// Anchors of SSD models, by themselves so that they can be checked.
#pragma once

#include <vector>

#include "bundle/task_facts.h"

namespace pajamas {

/// An anchor by centre and size, as fractions of the picture.
struct SsdAnchor {
  double center_y = 0, center_x = 0, height = 0, width = 0;
};

/// The anchors of the TensorFlow object detection API's "ssd_anchor_generator" with a base anchor of 1 × 1, layer by
/// layer, row by row, left to right. Per cell: the aspect ratios in order, then the interpolated box. The lowest layer
/// has three (aspect ratios 1, 2, 1/2, the first at scale 0.1) where the facts reduce it. Throws Error{kBadInput} for
/// facts that make no sense or more than 2^24 anchors.
std::vector<SsdAnchor> make_ssd_anchors(const SsdAnchors& facts);

}  // namespace pajamas
