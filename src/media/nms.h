// Non-maximum suppression: of boxes that overlap, the best scored stays.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "pajamas/detection.h"

namespace pajamas {

/// Boxes with scores and classes, by column so that loops over them vectorise. All columns have one length.
struct BoxCandidates {
  std::vector<float> x1, y1, x2, y2;  ///< Any one unit; x2 ≥ x1, y2 ≥ y1, or the box has no area.
  std::vector<float> score;           ///< Not NaN.
  std::vector<std::int32_t> class_index;

  std::size_t size() const noexcept { return score.size(); }
  void reserve(std::size_t count);
  void add(const BoxXyxyPx& box, float box_score, std::int32_t box_class);
  BoxXyxyPx box(std::size_t index) const { return {x1[index], y1[index], x2[index], y2[index]}; }
};

struct NmsOptions {
  float iou_threshold = 0.45F;     ///< A box goes when its IoU with a better one is greater than this.
  std::size_t max_boxes = 300;     ///< How many stay at most.
  bool is_class_agnostic = false;  ///< Boxes of different classes suppress each other too.
};

/// Indices by falling score; ties by class, then by index, so that the order never depends on the sort.
std::vector<std::size_t> order_by_score(const BoxCandidates& candidates);

/// Greedy suppression: indices of the boxes that stay, in the order of order_by_score. A box without area overlaps
/// nothing. Time grows with the candidates times the boxes that stay. Thread-safe.
std::vector<std::size_t> suppress_overlaps(const BoxCandidates& candidates, const NmsOptions& options);

}  // namespace pajamas
