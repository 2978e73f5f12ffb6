// From a detector's raw outputs to boxes with scores: one decoder for each way of giving boxes (DetectionHead). Not
// suppression (media/nms.h) and not the way back to the picture (media/placement.h).
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "bundle/task_facts.h"
#include "engine/target.h"
#include "media/nms.h"
#include "pajamas/tensor.h"

namespace pajamas {

/// One output of a run.
struct HeadOutput {
  std::string name;
  Tensor values;  ///< float32; may have been converted.
};

/// What a decoder is given: the outputs of a whole run, and which picture of it.
struct HeadRequest {
  HeadOutput boxes;   ///< Everything, for the one-output heads.
  HeadOutput scores;  ///< Empty name: the head has none.
  HeadOutput labels;  ///< Empty name: the head has none.
  std::size_t batch = 1;
  std::size_t picture = 0;  ///< < batch
  int canvas_width_px = 0;  ///< Size of the model's input.
  int canvas_height_px = 0;
  float score_threshold = 0;  ///< Boxes scored above this are given.
};

/// Decodes one picture's boxes into pixels of the model's input, classes counted after the background. Immutable;
/// thread-safe. All decoders throw Error{kBadInput}: when an output's shape does not fit the head (naming output, shape
/// and head), when scores are NaN, and when scores or boxes cannot be what the head says (a score of 300, a box of
/// NaN).
class DetectionHeadDecoder {
 public:
  virtual ~DetectionHeadDecoder() = default;
  virtual BoxCandidates decode(const HeadRequest& request) const = 0;
};

/// The decoder for the facts. Throws Error{kBadInput} when the facts lack what the head needs (SSD without anchors).
std::unique_ptr<DetectionHeadDecoder> make_head_decoder(const DetectionFacts& facts);

/// Whether the model leaves overlapping boxes to be suppressed.
bool needs_suppression(DetectionHead head) noexcept;

// The decoders by family; make_head_decoder chooses.
std::unique_ptr<DetectionHeadDecoder> make_yolo_decoder(
    const DetectionFacts& facts);  // yolo_heads.cpp, RT-DETR's finished rows too
std::unique_ptr<DetectionHeadDecoder> make_ssd_decoder(const DetectionFacts& facts);          // ssd_head.cpp
std::unique_ptr<DetectionHeadDecoder> make_rtdetr_decoder(const DetectionFacts& facts);       // query_heads.cpp
std::unique_ptr<DetectionHeadDecoder> make_faster_rcnn_decoder(const DetectionFacts& facts);  // query_heads.cpp

// --- shared by the decoders ---

/// A picture's part of an output that has `batch` rows first: borrowed values, and the shape without the batch. Leading
/// and trailing extents of 1 beyond `rank` are dropped. Throws Error{kBadInput} when the rank does not fit.
struct HeadRows {
  std::span<const float> values;
  std::vector<std::int64_t> shape;  ///< [rank]
};
HeadRows rows_of(const HeadRequest& request, const HeadOutput& output, std::size_t rank, DetectionHead head);

/// Throws the error of an output that does not fit its head; `expected` says what the head takes.
[[noreturn]] void throw_unfit_output(const HeadOutput& output, DetectionHead head, const std::string& expected);

/// Whether any value is NaN. Vectorised.
bool has_nan(std::span<const float> values);
/// Throws Error{kBadInput} naming the output and the first place when a score is NaN.
void require_no_nan(const HeadOutput& output, std::span<const float> scores);
/// Adds the box after checking that its score is a probability and its corners are numbers. Corners in any order of
/// size; they are clipped to ±1e6 pixels, so that infinities cannot spread.
void add_checked(BoxCandidates& candidates, const HeadOutput& output, DetectionHead head, const BoxXyxyPx& box,
                 float score, std::int32_t class_index);

float sigmoid(float logit);
/// A logit whose sigmoid is a little below `probability`, to pass over most boxes without an exponential.
float logit_below(float probability);

}  // namespace pajamas
