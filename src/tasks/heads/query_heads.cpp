// The heads that give finished boxes beside their scores: RT-DETR (queries × classes) and torchvision's Faster R-CNN.
#include <cmath>
#include <string>

#include "pajamas/error.h"
#include "tasks/heads/detection_head.h"

namespace pajamas {

namespace {

/// Every pair of query and class counts as a box of its own; the best of all pairs are the detections, without
/// suppression (Zhao et al., "DETRs Beat YOLOs on Real-time Object Detection", 2024).
class RtdetrDecoder : public DetectionHeadDecoder {
 public:
  explicit RtdetrDecoder(DetectionFacts facts) : facts_(std::move(facts)) {}

  BoxCandidates decode(const HeadRequest& request) const override {
    const bool is_joined = request.scores.name.empty();
    const HeadOutput& scores_output = is_joined ? request.boxes : request.scores;
    const HeadRows boxes = rows_of(request, request.boxes, 2, facts_.head);
    const HeadRows scores = rows_of(request, scores_output, 2, facts_.head);
    const std::int64_t num_before = is_joined ? 4 : 0;
    const std::int64_t num_columns = scores.shape[1] - num_before;
    if (!is_joined && boxes.shape[1] != 4) throw_unfit_output(request.boxes, facts_.head, "boxes [batch, queries, 4]");
    if (num_columns <= facts_.background_classes || scores.shape[0] != boxes.shape[0] ||
        (facts_.num_classes > 0 && num_columns != facts_.num_classes + facts_.background_classes)) {
      throw_unfit_output(
          scores_output, facts_.head,
          std::string(is_joined ? "[batch, queries, 4 + classes]" : "scores [batch, queries, classes]") +
              " of as many queries as boxes" +
              (facts_.num_classes > 0 ? " and " + std::to_string(facts_.num_classes) + " classes" : std::string()));
    }
    const auto row_size = static_cast<std::size_t>(scores.shape[1]);
    const auto box_size = static_cast<std::size_t>(boxes.shape[1]);
    const auto width = static_cast<float>(request.canvas_width_px);
    const auto height = static_cast<float>(request.canvas_height_px);
    const float least = facts_.is_score_logit ? logit_below(request.score_threshold) : request.score_threshold;
    BoxCandidates candidates;
    for (std::size_t query = 0; query < static_cast<std::size_t>(scores.shape[0]); ++query) {
      const std::span<const float> row = scores.values.subspan(query * row_size + static_cast<std::size_t>(num_before),
                                                               static_cast<std::size_t>(num_columns));
      require_no_nan(scores_output, row);
      for (auto c = static_cast<std::size_t>(facts_.background_classes); c < row.size(); ++c) {
        if (!(row[c] > least)) continue;
        const float score = facts_.is_score_logit ? sigmoid(row[c]) : row[c];
        if (!(score > request.score_threshold)) continue;
        const float* box = boxes.values.data() + query * box_size;
        add_checked(candidates, scores_output, facts_.head,
                    {(box[0] - box[2] / 2) * width, (box[1] - box[3] / 2) * height, (box[0] + box[2] / 2) * width,
                     (box[1] + box[3] / 2) * height},
                    score, static_cast<std::int32_t>(c) - static_cast<std::int32_t>(facts_.background_classes));
      }
    }
    return candidates;
  }

 private:
  DetectionFacts facts_;
};

class FasterRcnnDecoder : public DetectionHeadDecoder {
 public:
  explicit FasterRcnnDecoder(DetectionFacts facts) : facts_(std::move(facts)) {}

  BoxCandidates decode(const HeadRequest& request) const override {
    const HeadRows boxes = rows_of(request, request.boxes, 2, facts_.head);
    const HeadRows scores = rows_of(request, request.scores, 1, facts_.head);
    const HeadRows labels = rows_of(request, request.labels, 1, facts_.head);
    if (boxes.shape[1] != 4) throw_unfit_output(request.boxes, facts_.head, "boxes [n, 4]");
    if (scores.shape[0] != boxes.shape[0]) throw_unfit_output(request.scores, facts_.head, "as many scores as boxes");
    if (labels.shape[0] != boxes.shape[0]) throw_unfit_output(request.labels, facts_.head, "as many labels as boxes");
    require_no_nan(request.scores, scores.values);
    BoxCandidates candidates;
    for (std::size_t i = 0; i < scores.values.size(); ++i) {
      if (!(scores.values[i] > request.score_threshold)) continue;
      const double class_index = double{labels.values[i]} - static_cast<double>(facts_.background_classes);
      const double limit = facts_.num_classes > 0 ? static_cast<double>(facts_.num_classes) : 1 << 24;
      if (!(class_index >= 0 && class_index < limit)) {
        throw Error(ErrorKind::kBadInput,
                    "output '" + request.labels.name + "' gives the class " + std::to_string(labels.values[i]) +
                        ", which is none of " + std::to_string(facts_.num_classes) + " classes after " +
                        std::to_string(facts_.background_classes) + " for the background",
                    {}, "name the head the model really has with --head when building");
      }
      const float* box = boxes.values.data() + 4 * i;
      add_checked(candidates, request.boxes, facts_.head, {box[0], box[1], box[2], box[3]}, scores.values[i],
                  static_cast<std::int32_t>(class_index));
    }
    return candidates;
  }

 private:
  DetectionFacts facts_;
};

void require_output(const std::string& name, const char* which, DetectionHead head) {
  if (!name.empty()) return;
  throw Error(ErrorKind::kBadInput,
              std::string("the manifest names no ") + which + " for the head '" + to_string(head) + "'", {},
              "build the bundle again from the model");
}

}  // namespace

std::unique_ptr<DetectionHeadDecoder> make_rtdetr_decoder(const DetectionFacts& facts) {
  return std::make_unique<RtdetrDecoder>(facts);
}

std::unique_ptr<DetectionHeadDecoder> make_faster_rcnn_decoder(const DetectionFacts& facts) {
  require_output(facts.scores_output, "scores_output", facts.head);
  require_output(facts.labels_output, "labels_output", facts.head);
  return std::make_unique<FasterRcnnDecoder>(facts);
}

}  // namespace pajamas
