// Tests of media/nms.h against a plain quadratic reference, and its order, limits and odd boxes.
#include "media/nms.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

namespace pajamas {
namespace {

double iou(const BoxXyxyPx& a, const BoxXyxyPx& b) {
  const double width = std::max(0.0, double{std::min(a.x2, b.x2)} - double{std::max(a.x1, b.x1)});
  const double height = std::max(0.0, double{std::min(a.y2, b.y2)} - double{std::max(a.y1, b.y1)});
  const double both = double{a.x2 - a.x1} * double{a.y2 - a.y1} + double{b.x2 - b.x1} * double{b.y2 - b.y1};
  const double intersection = width * height;
  return intersection > 0 ? intersection / (both - intersection) : 0.0;
}

/// As one writes it down: sort, then keep what overlaps nothing kept.
std::vector<std::size_t> reference(const BoxCandidates& candidates, const NmsOptions& options) {
  std::vector<std::size_t> order(candidates.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    if (candidates.score[a] != candidates.score[b]) return candidates.score[a] > candidates.score[b];
    if (candidates.class_index[a] != candidates.class_index[b]) {
      return candidates.class_index[a] < candidates.class_index[b];
    }
    return a < b;
  });
  std::vector<std::size_t> kept;
  for (const std::size_t i : order) {
    bool is_free = kept.size() < options.max_boxes;
    for (const std::size_t k : kept) {
      const bool is_rival = options.is_class_agnostic || candidates.class_index[i] == candidates.class_index[k];
      is_free = is_free && !(is_rival && iou(candidates.box(i), candidates.box(k)) > double{options.iou_threshold});
    }
    if (is_free) kept.push_back(i);
  }
  return kept;
}

BoxCandidates random_candidates(std::size_t count, int num_classes, unsigned seed) {
  std::mt19937 random(seed);
  // Whole numbers, so that IoU in float and double lie on the same side of the threshold, and scores repeat.
  std::uniform_int_distribution<int> place(0, 200);
  std::uniform_int_distribution<int> side(0, 60);
  std::uniform_int_distribution<int> score(1, 50);
  std::uniform_int_distribution<int> class_index(0, num_classes - 1);
  BoxCandidates candidates;
  for (std::size_t i = 0; i < count; ++i) {
    const auto x = static_cast<float>(place(random));
    const auto y = static_cast<float>(place(random));
    candidates.add({x, y, x + static_cast<float>(side(random)), y + static_cast<float>(side(random))},
                   static_cast<float>(score(random)) / 50.0F, class_index(random));
  }
  return candidates;
}

TEST(Nms, AgreesWithTheReference) {
  for (const std::size_t count : {0U, 1U, 2U, 63U, 64U, 65U, 700U}) {
    for (const int num_classes : {1, 3, 80}) {
      const BoxCandidates candidates = random_candidates(count, num_classes, static_cast<unsigned>(count) + 7U);
      for (const bool is_agnostic : {false, true}) {
        for (const float threshold : {0.0F, 0.45F, 1.0F}) {
          for (const std::size_t max_boxes : {0U, 1U, 10U, 1000U}) {
            const NmsOptions options{threshold, max_boxes, is_agnostic};
            EXPECT_EQ(suppress_overlaps(candidates, options), reference(candidates, options))
                << count << " boxes, " << num_classes << " classes, IoU " << threshold << ", max " << max_boxes;
          }
        }
      }
    }
  }
}

TEST(Nms, TiesGoByClassThenIndex) {
  BoxCandidates candidates;
  candidates.add({0, 0, 1, 1}, 0.5F, 2);
  candidates.add({10, 0, 11, 1}, 0.5F, 1);
  candidates.add({20, 0, 21, 1}, 0.9F, 3);
  candidates.add({30, 0, 31, 1}, 0.5F, 1);
  EXPECT_EQ(order_by_score(candidates), (std::vector<std::size_t>{2, 1, 3, 0}));
}

TEST(Nms, ZeroAndNegativeScoresKeepTheirOrder) {
  BoxCandidates candidates;
  for (const float score : {-1.0F, 0.0F, -0.0F, 1e-40F, -1e30F, std::numeric_limits<float>::infinity()}) {
    candidates.add({0, 0, 0, 0}, score, 0);
  }
  EXPECT_EQ(order_by_score(candidates), (std::vector<std::size_t>{5, 3, 1, 2, 0, 4}));
}

TEST(Nms, ABoxWithoutAreaSuppressesNothing) {
  BoxCandidates candidates;
  candidates.add({5, 5, 5, 9}, 0.9F, 0);
  candidates.add({0, 0, 10, 10}, 0.8F, 0);
  candidates.add({9, 9, 3, 3}, 0.7F, 0);  // corners swapped
  EXPECT_EQ(suppress_overlaps(candidates, {0.1F, 300, false}).size(), 3U);
}

}  // namespace
}  // namespace pajamas
