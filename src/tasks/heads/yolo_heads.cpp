// The heads of the YOLO kin: v5 (rows with objectness), v8 (columns), end-to-end (finished boxes), YOLOX (grid units).
// One class a box: the best scored, the lowest index among equals.
#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include "base/vector_clones.h"
#include "pajamas/error.h"
#include "tasks/heads/detection_head.h"

namespace pajamas {

namespace {

BoxXyxyPx from_center(float center_x, float center_y, float width, float height) {
  return {center_x - width / 2, center_y - height / 2, center_x + width / 2, center_y + height / 2};
}

/// The class columns against the facts: `num_columns` values a box, `num_before` of which are no classes.
std::size_t num_classes_of(const HeadOutput& output, const DetectionFacts& facts, std::int64_t num_columns,
                           std::int64_t num_before, const std::string& layout) {
  const std::int64_t num_classes = num_columns - num_before;
  if (num_classes < 1 || (facts.num_classes > 0 && num_classes != facts.num_classes)) {
    throw_unfit_output(
        output, facts.head,
        layout + (facts.num_classes > 0 ? " with " + std::to_string(facts.num_classes) + " classes" : std::string()));
  }
  return static_cast<std::size_t>(num_classes);
}

/// Best score and class of each of `count` boxes; scores[class * stride + box]. One pass over memory in blocks that
/// stay in the nearest cache. Also says whether a score was NaN.
PAJAMAS_VECTOR_CLONES bool best_of_columns(const float* scores, std::size_t num_classes, std::size_t stride,
                                           std::size_t count, float* best, std::int32_t* best_class) {
  constexpr std::size_t kBlock = 1024;
  std::int32_t is_nan = 0;
  for (std::size_t begin = 0; begin < count; begin += kBlock) {
    const std::size_t size = begin + kBlock < count ? kBlock : count - begin;
    float* block_best = best + begin;
    std::int32_t* block_class = best_class + begin;
    for (std::size_t i = 0; i < size; ++i) {
      const float score = scores[begin + i];
      block_best[i] = score;
      block_class[i] = 0;
      is_nan |= score != score ? 1 : 0;
    }
    for (std::size_t c = 1; c < num_classes; ++c) {
      const float* row = scores + c * stride + begin;
      const auto class_index = static_cast<std::int32_t>(c);
      for (std::size_t i = 0; i < size; ++i) {
        const float score = row[i];
        const bool is_better = score > block_best[i];
        block_best[i] = is_better ? score : block_best[i];
        block_class[i] = is_better ? class_index : block_class[i];
        is_nan |= score != score ? 1 : 0;
      }
    }
  }
  return is_nan != 0;
}

class YoloV8Decoder : public DetectionHeadDecoder {
 public:
  explicit YoloV8Decoder(DetectionFacts facts) : facts_(std::move(facts)) {}

  BoxCandidates decode(const HeadRequest& request) const override {
    const HeadRows rows = rows_of(request, request.boxes, 2, facts_.head);
    const std::size_t num_classes =
        num_classes_of(request.boxes, facts_, rows.shape[0], 4, "[batch, 4 + classes, boxes]");
    const auto num_boxes = static_cast<std::size_t>(rows.shape[1]);
    std::vector<float> best(num_boxes);
    std::vector<std::int32_t> best_class(num_boxes);
    const std::span<const float> scores = rows.values.subspan(4 * num_boxes);
    if (best_of_columns(scores.data(), num_classes, num_boxes, num_boxes, best.data(), best_class.data())) {
      require_no_nan(request.boxes, scores);
    }
    BoxCandidates candidates;
    const float* values = rows.values.data();
    for (std::size_t i = 0; i < num_boxes; ++i) {
      if (!(best[i] > request.score_threshold)) continue;
      add_checked(candidates, request.boxes, facts_.head,
                  from_center(values[i], values[num_boxes + i], values[2 * num_boxes + i], values[3 * num_boxes + i]),
                  best[i], best_class[i]);
    }
    return candidates;
  }

 private:
  DetectionFacts facts_;
};

/// v5 and YOLOX: rows of cx, cy, w, h, objectness, class scores; the score is objectness × class score.
class YoloRowsDecoder : public DetectionHeadDecoder {
 public:
  explicit YoloRowsDecoder(DetectionFacts facts) : facts_(std::move(facts)) {
    for (const std::int64_t stride : facts_.strides) {
      if (stride < 1) throw Error(ErrorKind::kBadInput, "the manifest gives a stride below 1");
    }
  }

  BoxCandidates decode(const HeadRequest& request) const override {
    const HeadRows rows = rows_of(request, request.boxes, 2, facts_.head);
    const std::size_t num_classes =
        num_classes_of(request.boxes, facts_, rows.shape[1], 5, "[batch, boxes, 5 + classes]");
    const auto num_boxes = static_cast<std::size_t>(rows.shape[0]);
    const auto row_size = static_cast<std::size_t>(rows.shape[1]);
    // Box values may overflow where nothing is scored; scores must not.
    if (has_nan(rows.values)) require_scores(request, rows.values, row_size);
    const bool is_grid = facts_.head == DetectionHead::kYolox;
    if (is_grid) check_grid(request, num_boxes);
    BoxCandidates candidates;
    Cell cell = is_grid ? first_cell(request) : Cell{};
    for (std::size_t i = 0; i < num_boxes; ++i) {
      const float* row = rows.values.data() + i * row_size;
      const float objectness = row[4];
      if (objectness > request.score_threshold) {  // class scores are at most 1
        const float* best = std::max_element(row + 5, row + row_size);
        const float score = objectness * *best;
        if (score > request.score_threshold) {
          if (*best > 1.01F) add_checked(candidates, request.boxes, facts_.head, {}, *best, 0);  // throws
          const BoxXyxyPx box = is_grid ? grid_box(row, cell) : from_center(row[0], row[1], row[2], row[3]);
          add_checked(candidates, request.boxes, facts_.head, box, score, static_cast<std::int32_t>(best - row - 5));
        }
      }
      if (is_grid) advance(cell, request);
    }
    static_cast<void>(num_classes);
    return candidates;
  }

 private:
  struct Cell {
    std::size_t level = 0;
    std::int64_t x = 0, y = 0;
  };

  void require_scores(const HeadRequest& request, std::span<const float> values, std::size_t row_size) const {
    for (std::size_t begin = 0; begin < values.size(); begin += row_size) {
      require_no_nan(request.boxes, values.subspan(begin + 4, row_size - 4));
    }
  }

  void check_grid(const HeadRequest& request, std::size_t num_boxes) const {
    std::int64_t expected = 0;
    std::string strides;
    for (const std::int64_t stride : facts_.strides) {
      expected += (request.canvas_width_px / stride) * (request.canvas_height_px / stride);
      strides += (strides.empty() ? "" : ", ") + std::to_string(stride);
    }
    if (expected != static_cast<std::int64_t>(num_boxes) || expected == 0) {
      throw_unfit_output(request.boxes, facts_.head,
                         std::to_string(expected) + " boxes for an input of " +
                             std::to_string(request.canvas_width_px) + " x " +
                             std::to_string(request.canvas_height_px) + " pixels at strides " + strides);
    }
  }

  /// The first cell of a level that has any.
  Cell first_cell(const HeadRequest& request) const {
    Cell cell;
    skip_empty_levels(cell, request);
    return cell;
  }

  void skip_empty_levels(Cell& cell, const HeadRequest& request) const {
    while (cell.level < facts_.strides.size() && (request.canvas_width_px < facts_.strides[cell.level] ||
                                                  request.canvas_height_px < facts_.strides[cell.level])) {
      ++cell.level;
    }
  }

  void advance(Cell& cell, const HeadRequest& request) const {
    const std::int64_t stride = facts_.strides[cell.level];
    if (++cell.x < request.canvas_width_px / stride) return;
    cell.x = 0;
    if (++cell.y < request.canvas_height_px / stride) return;
    cell.y = 0;
    ++cell.level;
    skip_empty_levels(cell, request);
  }

  /// YOLOX: centres are offsets within a cell, sizes logarithms, both in strides.
  BoxXyxyPx grid_box(const float* row, const Cell& cell) const {
    const auto stride = static_cast<float>(facts_.strides[cell.level]);
    return from_center((row[0] + static_cast<float>(cell.x)) * stride, (row[1] + static_cast<float>(cell.y)) * stride,
                       std::exp(row[2]) * stride, std::exp(row[3]) * stride);
  }

  DetectionFacts facts_;
};

/// Rows of a finished box, its score and its class. YOLO gives the corners in pixels of the input, RT-DETR center and
/// size as parts of it.
class EndToEndDecoder : public DetectionHeadDecoder {
 public:
  explicit EndToEndDecoder(DetectionFacts facts) : facts_(std::move(facts)) {}

  BoxCandidates decode(const HeadRequest& request) const override {
    const HeadRows rows = rows_of(request, request.boxes, 2, facts_.head);
    if (rows.shape[1] != 6) throw_unfit_output(request.boxes, facts_.head, "[batch, boxes, 6]");
    BoxCandidates candidates;
    for (std::size_t begin = 0; begin < rows.values.size(); begin += 6) {
      const float* row = rows.values.data() + begin;
      require_no_nan(request.boxes, {row + 4, 1});
      if (!(row[4] > request.score_threshold)) continue;
      const float class_index = std::nearbyint(row[5]);
      const auto limit = static_cast<float>(facts_.num_classes > 0 ? facts_.num_classes : 1 << 24);
      if (!(class_index >= 0 && class_index < limit && std::abs(class_index - row[5]) < 0.01F)) {
        throw Error(ErrorKind::kBadInput,
                    "output '" + request.boxes.name + "' gives the class " + std::to_string(row[5]) +
                        ", which is none of " + std::to_string(facts_.num_classes) + " classes",
                    {}, "name the head the model really has with --head when building");
      }
      add_checked(candidates, request.boxes, facts_.head, box_of(row, request), row[4],
                  static_cast<std::int32_t>(class_index));
    }
    return candidates;
  }

 private:
  BoxXyxyPx box_of(const float* row, const HeadRequest& request) const {
    if (facts_.head == DetectionHead::kYoloEndToEnd) return {row[0], row[1], row[2], row[3]};
    const auto width = static_cast<float>(request.canvas_width_px);
    const auto height = static_cast<float>(request.canvas_height_px);
    return {(row[0] - row[2] / 2) * width, (row[1] - row[3] / 2) * height, (row[0] + row[2] / 2) * width,
            (row[1] + row[3] / 2) * height};
  }

  DetectionFacts facts_;
};

}  // namespace

std::unique_ptr<DetectionHeadDecoder> make_yolo_decoder(const DetectionFacts& facts) {
  switch (facts.head) {
    case DetectionHead::kYoloV8: return std::make_unique<YoloV8Decoder>(facts);
    case DetectionHead::kYoloEndToEnd:
    case DetectionHead::kRtdetrEndToEnd: return std::make_unique<EndToEndDecoder>(facts);
    default: return std::make_unique<YoloRowsDecoder>(facts);
  }
}

}  // namespace pajamas
