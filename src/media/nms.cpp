// See nms.h.
#include "media/nms.h"

#include <algorithm>
#include <bit>
#include <numeric>

#include "base/vector_clones.h"

namespace pajamas {

namespace {

/// The boxes that stay so far, by column.
struct Kept {
  std::vector<float> x1, y1, x2, y2, area;
  std::vector<std::int32_t> class_index;
  std::size_t size = 0;

  explicit Kept(std::size_t capacity)
      : x1(capacity), y1(capacity), x2(capacity), y2(capacity), area(capacity), class_index(capacity) {}
};

struct Box {
  float x1, y1, x2, y2, area;
  std::int32_t class_index;
};

/// Whether any kept box of the class (or of any, with agnostic = -1) overlaps `box` by more than the threshold.
/// IoU > t is intersection > t × union, which needs no division and is false for boxes without area.
PAJAMAS_VECTOR_CLONES bool overlaps_any(const float* x1, const float* y1, const float* x2, const float* y2,
                                        const float* area, const std::int32_t* class_index, std::size_t count,
                                        const Box& box, float threshold, std::int32_t agnostic) {
  // Whole blocks without a way out in the middle, so that the loop vectorises; between blocks it may end early.
  constexpr std::size_t kBlock = 64;
  for (std::size_t begin = 0; begin < count; begin += kBlock) {
    const std::size_t end = begin + kBlock < count ? begin + kBlock : count;
    std::int32_t found = 0;
    for (std::size_t i = begin; i < end; ++i) {
      const float left = x1[i] > box.x1 ? x1[i] : box.x1;
      const float top = y1[i] > box.y1 ? y1[i] : box.y1;
      const float right = x2[i] < box.x2 ? x2[i] : box.x2;
      const float bottom = y2[i] < box.y2 ? y2[i] : box.y2;
      const float width = right - left > 0.0F ? right - left : 0.0F;
      const float height = bottom - top > 0.0F ? bottom - top : 0.0F;
      const float intersection = width * height;
      const std::int32_t is_over = intersection > threshold * (area[i] + box.area - intersection) ? -1 : 0;
      const std::int32_t is_same = class_index[i] == box.class_index ? -1 : 0;
      found |= is_over & (is_same | agnostic);
    }
    if (found != 0) return true;
  }
  return false;
}

/// A score as an unsigned number of the same order.
std::uint32_t ordered_bits(float score) {
  const auto bits = std::bit_cast<std::uint32_t>(score + 0.0F);  // -0 becomes 0
  return (bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U;
}

}  // namespace

void BoxCandidates::reserve(std::size_t count) {
  for (std::vector<float>* column : {&x1, &y1, &x2, &y2, &score}) column->reserve(count);
  class_index.reserve(count);
}

void BoxCandidates::add(const BoxXyxyPx& box, float box_score, std::int32_t box_class) {
  x1.push_back(box.x1);
  y1.push_back(box.y1);
  x2.push_back(box.x2);
  y2.push_back(box.y2);
  score.push_back(box_score);
  class_index.push_back(box_class);
}

std::vector<std::size_t> order_by_score(const BoxCandidates& candidates) {
  struct Key {
    std::uint64_t score_and_class;  // falling score, then rising class, as one rising number
    std::uint32_t index;
  };
  std::vector<Key> keys(candidates.size());
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const std::uint64_t falling_score = ~ordered_bits(candidates.score[i]);
    keys[i] = {(falling_score << 32) | static_cast<std::uint32_t>(candidates.class_index[i]),
               static_cast<std::uint32_t>(i)};
  }
  std::sort(keys.begin(), keys.end(), [](const Key& a, const Key& b) {
    return a.score_and_class != b.score_and_class ? a.score_and_class < b.score_and_class : a.index < b.index;
  });
  std::vector<std::size_t> order(keys.size());
  std::transform(keys.begin(), keys.end(), order.begin(), [](const Key& key) { return key.index; });
  return order;
}

std::vector<std::size_t> suppress_overlaps(const BoxCandidates& candidates, const NmsOptions& options) {
  Kept kept(std::min(options.max_boxes, candidates.size()));
  std::vector<std::size_t> result;
  for (const std::size_t index : order_by_score(candidates)) {
    if (kept.size == options.max_boxes) break;
    const BoxXyxyPx corners = candidates.box(index);
    const float width = std::max(corners.x2 - corners.x1, 0.0F);
    const float height = std::max(corners.y2 - corners.y1, 0.0F);
    const Box box{corners.x1, corners.y1, corners.x2, corners.y2, width * height, candidates.class_index[index]};
    if (overlaps_any(kept.x1.data(), kept.y1.data(), kept.x2.data(), kept.y2.data(), kept.area.data(),
                     kept.class_index.data(), kept.size, box, options.iou_threshold,
                     options.is_class_agnostic ? -1 : 0)) {
      continue;
    }
    kept.x1[kept.size] = box.x1;
    kept.y1[kept.size] = box.y1;
    kept.x2[kept.size] = box.x2;
    kept.y2[kept.size] = box.y2;
    kept.area[kept.size] = box.area;
    kept.class_index[kept.size] = box.class_index;
    ++kept.size;
    result.push_back(index);
  }
  return result;
}

}  // namespace pajamas
