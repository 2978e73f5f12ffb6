// The table of heads, and what the decoders share. See detection_head.h.
#include "tasks/heads/detection_head.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/vector_clones.h"
#include "pajamas/error.h"

namespace pajamas {

namespace {

/// Boxes further out than this are beyond any picture; the limit keeps areas finite in float32.
constexpr float kFarPx = 1e6F;
/// Scores may pass 1 by rounding in 16-bit arithmetic.
constexpr float kMaxScore = 1.01F;

PAJAMAS_VECTOR_CLONES bool has_nan_in(const float* values, std::size_t count) {
  int found = 0;
  for (std::size_t i = 0; i < count; ++i) found |= values[i] != values[i] ? 1 : 0;
  return found != 0;
}

constexpr const char* kHeadRemedy = "name the head the model really has with --head when building";

}  // namespace

std::unique_ptr<DetectionHeadDecoder> make_head_decoder(const DetectionFacts& facts) {
  switch (facts.head) {
    case DetectionHead::kYoloV5:
    case DetectionHead::kYoloV8:
    case DetectionHead::kYoloEndToEnd:
    case DetectionHead::kYolox:
    case DetectionHead::kRtdetrEndToEnd: return make_yolo_decoder(facts);
    case DetectionHead::kSsd: return make_ssd_decoder(facts);
    case DetectionHead::kRtdetr: return make_rtdetr_decoder(facts);
    case DetectionHead::kFasterRcnn: return make_faster_rcnn_decoder(facts);
  }
  throw Error(ErrorKind::kInternal, "a detection head without a decoder");
}

bool needs_suppression(DetectionHead head) noexcept {
  return head == DetectionHead::kYoloV5 || head == DetectionHead::kYoloV8 || head == DetectionHead::kYolox ||
         head == DetectionHead::kSsd;
}

void throw_unfit_output(const HeadOutput& output, DetectionHead head, const std::string& expected) {
  throw Error(ErrorKind::kBadInput,
              "output '" + output.name + "' has shape " + output.values.shape().to_string() + ", but the head '" +
                  to_string(head) + "' takes " + expected,
              {}, kHeadRemedy);
}

HeadRows rows_of(const HeadRequest& request, const HeadOutput& output, std::size_t rank, DetectionHead head) {
  const std::vector<std::int64_t>& extents = output.values.shape().extents();
  const auto batch = static_cast<std::int64_t>(request.batch);
  HeadRows rows;
  std::size_t first = 0;
  if (extents.size() == rank + 1 && extents[0] == batch) {
    first = 1;
  } else if (extents.size() != rank || batch != 1) {
    throw_unfit_output(output, head,
                       "rank " + std::to_string(rank + 1) + " with " + std::to_string(request.batch) +
                           (request.batch == 1 ? " picture" : " pictures") + " in front");
  }
  rows.shape.assign(extents.begin() + static_cast<std::ptrdiff_t>(first), extents.end());
  std::size_t size = 1;
  for (const std::int64_t extent : rows.shape) size *= static_cast<std::size_t>(extent);
  rows.values = output.values.as<float>().subspan(request.picture * size, size);
  return rows;
}

bool has_nan(std::span<const float> values) { return has_nan_in(values.data(), values.size()); }

void require_no_nan(const HeadOutput& output, std::span<const float> scores) {
  if (!has_nan(scores)) return;
  const auto first = std::find_if(scores.begin(), scores.end(), [](float score) { return std::isnan(score); });
  const auto count = std::count_if(scores.begin(), scores.end(), [](float score) { return std::isnan(score); });
  throw Error(ErrorKind::kBadInput,
              "the model computed " + std::to_string(count) + " scores that are not a number in output '" +
                  output.name + "' (the first is value " + std::to_string(first - scores.begin()) + " of the picture)",
              {}, "check the bundle with `pajamas verify`; a build with --precision fp32 may help");
}

void add_checked(BoxCandidates& candidates, const HeadOutput& output, DetectionHead head, const BoxXyxyPx& box,
                 float score, std::int32_t class_index) {
  if (!(score <= kMaxScore)) {
    throw Error(ErrorKind::kBadInput,
                "output '" + output.name + "' holds the score " + std::to_string(score) +
                    ", which is no probability, so it is not what the head '" + to_string(head) + "' gives",
                {}, kHeadRemedy);
  }
  if (std::isnan(box.x1) || std::isnan(box.y1) || std::isnan(box.x2) || std::isnan(box.y2)) {
    throw Error(ErrorKind::kBadInput, "the model computed a box that is not a number in output '" + output.name + "'",
                {}, "check the bundle with `pajamas verify`; a build with --precision fp32 may help");
  }
  const auto near = [](float value) { return std::clamp(value, -kFarPx, kFarPx); };
  candidates.add({near(box.x1), near(box.y1), near(box.x2), near(box.y2)}, std::min(score, 1.0F), class_index);
}

float sigmoid(float logit) { return 1.0F / (1.0F + std::exp(-logit)); }

float logit_below(float probability) {
  if (probability <= 0.0F) return -std::numeric_limits<float>::infinity();
  if (probability >= 1.0F) return 15.0F;  // sigmoid(17) rounds to 1, which is not above 1 either
  const float logit = std::log(probability / (1.0F - probability));
  return logit - 1e-3F * (1.0F + std::abs(logit));
}

}  // namespace pajamas
