// The head of SSD: offsets against anchors, a score for each class. A box may count for several classes.
#include "tasks/heads/ssd_head.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "pajamas/error.h"
#include "tasks/heads/detection_head.h"

namespace pajamas {

namespace {

constexpr std::size_t kMaxAnchors = std::size_t{1} << 24;

struct AnchorSize {
  double scale;
  double aspect_ratio;
};

/// Kinds of anchors of one layer. Liu et al., "SSD: Single Shot MultiBox Detector", 2016, section 2.2: scales evenly
/// from min to max, the interpolated one the geometric mean with the next layer's (1.0 after the last).
std::vector<AnchorSize> sizes_of_layer(const SsdAnchors& facts, std::size_t layer) {
  const std::size_t num_layers = facts.feature_map_sizes.size();
  const auto scale_at = [&](std::size_t index) {
    if (index >= num_layers) return 1.0;
    if (num_layers == 1) return facts.min_scale;
    return facts.min_scale +
           (facts.max_scale - facts.min_scale) * static_cast<double>(index) / static_cast<double>(num_layers - 1);
  };
  const double scale = scale_at(layer);
  if (layer == 0 && facts.reduce_boxes_in_lowest_layer) return {{0.1, 1.0}, {scale, 2.0}, {scale, 0.5}};
  std::vector<AnchorSize> sizes;
  for (const double aspect_ratio : facts.aspect_ratios) sizes.push_back({scale, aspect_ratio});
  if (facts.interpolated_scale_aspect_ratio > 0) {
    sizes.push_back({std::sqrt(scale * scale_at(layer + 1)), facts.interpolated_scale_aspect_ratio});
  }
  return sizes;
}

class SsdDecoder : public DetectionHeadDecoder {
 public:
  explicit SsdDecoder(const DetectionFacts& facts) : facts_(facts) {
    if (!facts.ssd) {
      throw Error(ErrorKind::kBadInput, "the manifest describes an SSD head without its anchors", {},
                  "build the bundle again from the model");
    }
    anchors_ = make_ssd_anchors(*facts.ssd);
    for (const double scale : facts.ssd->box_coder_scales) {
      if (!(scale > 0)) throw Error(ErrorKind::kBadInput, "the manifest gives a box coder scale that is not positive");
    }
  }

  BoxCandidates decode(const HeadRequest& request) const override {
    const HeadRequest& r = request;
    const auto num_anchors = static_cast<std::int64_t>(anchors_.size());
    const std::span<const float> boxes =
        anchor_rows(r, r.boxes, 4, "[batch, " + std::to_string(num_anchors) + ", 1, 4]");
    const std::int64_t num_columns = num_score_columns(r);
    const std::string expected =
        "[batch, " + std::to_string(num_anchors) + ", " + std::to_string(facts_.background_classes) + " + classes]" +
        (facts_.num_classes > 0 ? " with " + std::to_string(facts_.num_classes) + " classes" : std::string());
    if (num_columns <= facts_.background_classes ||
        (facts_.num_classes > 0 && num_columns != facts_.num_classes + facts_.background_classes)) {
      throw_unfit_output(r.scores, facts_.head, expected);
    }
    const std::span<const float> scores = anchor_rows(r, r.scores, num_columns, expected);
    require_no_nan(r.scores, scores);
    const float least = facts_.is_score_logit ? logit_below(r.score_threshold) : r.score_threshold;
    BoxCandidates candidates;
    for (std::size_t i = 0; i < anchors_.size(); ++i) {
      const float* row = scores.data() + i * static_cast<std::size_t>(num_columns);
      for (std::int64_t c = facts_.background_classes; c < num_columns; ++c) {
        if (!(row[c] > least)) continue;
        const float score = facts_.is_score_logit ? sigmoid(row[c]) : row[c];
        if (!(score > r.score_threshold)) continue;
        add_checked(candidates, r.scores, facts_.head,
                    decode_box(boxes.data() + 4 * i, anchors_[i], r.canvas_width_px, r.canvas_height_px), score,
                    static_cast<std::int32_t>(c - facts_.background_classes));
      }
    }
    return candidates;
  }

 private:
  std::int64_t num_score_columns(const HeadRequest& request) const {
    const Shape& shape = request.scores.values.shape();
    return shape.rank() == 0 ? 0 : shape[shape.rank() - 1];
  }

  /// The picture's rows of an output with one row for each anchor, whatever extents of 1 stand between.
  std::span<const float> anchor_rows(const HeadRequest& request, const HeadOutput& output, std::int64_t row_size,
                                     const std::string& expected) const {
    const Shape& shape = output.values.shape();
    const auto num_anchors = static_cast<std::int64_t>(anchors_.size());
    const auto batch = static_cast<std::int64_t>(request.batch);
    const bool is_fit = shape.rank() >= 2 && shape[shape.rank() - 1] == row_size &&
                        shape.num_elements() == batch * num_anchors * row_size &&
                        std::count(shape.begin(), shape.end(), num_anchors) > 0;
    if (!is_fit) throw_unfit_output(output, facts_.head, expected);
    const std::size_t size = anchors_.size() * static_cast<std::size_t>(row_size);
    return output.values.as<float>().subspan(request.picture * size, size);
  }

  /// Faster R-CNN's box coder: offsets in units of the anchor's size, sizes as logarithms, each with a scale.
  BoxXyxyPx decode_box(const float* encoding, const SsdAnchor& anchor, int width_px, int height_px) const {
    const auto& scales = facts_.ssd->box_coder_scales;
    const double center_y = double{encoding[0]} / scales[0] * anchor.height + anchor.center_y;
    const double center_x = double{encoding[1]} / scales[1] * anchor.width + anchor.center_x;
    const double height = std::exp(double{encoding[2]} / scales[2]) * anchor.height;
    const double width = std::exp(double{encoding[3]} / scales[3]) * anchor.width;
    return {
        static_cast<float>((center_x - width / 2) * width_px), static_cast<float>((center_y - height / 2) * height_px),
        static_cast<float>((center_x + width / 2) * width_px), static_cast<float>((center_y + height / 2) * height_px)};
  }

  DetectionFacts facts_;
  std::vector<SsdAnchor> anchors_;
};

}  // namespace

std::vector<SsdAnchor> make_ssd_anchors(const SsdAnchors& facts) {
  std::vector<SsdAnchor> anchors;
  for (std::size_t layer = 0; layer < facts.feature_map_sizes.size(); ++layer) {
    const auto [num_rows, num_columns] = facts.feature_map_sizes[layer];
    const std::vector<AnchorSize> sizes = sizes_of_layer(facts, layer);
    for (const AnchorSize& size : sizes) {
      if (!(size.scale > 0) || !(size.aspect_ratio > 0)) {
        throw Error(ErrorKind::kBadInput, "the manifest's SSD anchors need positive scales and aspect ratios");
      }
    }
    if (num_rows < 1 || num_columns < 1 || num_rows > 4096 || num_columns > 4096 ||
        static_cast<std::size_t>(num_rows * num_columns) * sizes.size() > kMaxAnchors - anchors.size()) {
      throw Error(ErrorKind::kBadInput, "the manifest's SSD feature maps are empty or too large");
    }
    for (std::int64_t y = 0; y < num_rows; ++y) {
      for (std::int64_t x = 0; x < num_columns; ++x) {
        for (const AnchorSize& size : sizes) {
          const double root = std::sqrt(size.aspect_ratio);
          anchors.push_back({(static_cast<double>(y) + 0.5) / static_cast<double>(num_rows),
                             (static_cast<double>(x) + 0.5) / static_cast<double>(num_columns), size.scale / root,
                             size.scale * root});
        }
      }
    }
  }
  if (anchors.empty()) throw Error(ErrorKind::kBadInput, "the manifest's SSD anchors have no feature map");
  return anchors;
}

std::unique_ptr<DetectionHeadDecoder> make_ssd_decoder(const DetectionFacts& facts) {
  return std::make_unique<SsdDecoder>(facts);
}

}  // namespace pajamas
