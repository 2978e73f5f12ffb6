// The detection task over any engine: what Detector is made of, without the bundle. For tests, verification and
// benchmarks, which have an engine of their own.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "bundle/task_facts.h"
#include "engine/target.h"
#include "pajamas/detection.h"
#include "tasks/heads/detection_head.h"
#include "tasks/image_session.h"
#include "tasks/pipelined_detection.h"

namespace pajamas {

/// Options with the bundle's defaults filled in.
struct ResolvedDetectorOptions {
  float score_threshold = 0;
  float iou_threshold = 0;
  std::size_t max_detections = 0;
  bool is_nms_class_agnostic = false;
  /// The head leaves overlaps, or the user asked for suppression although the model does its own.
  bool is_suppressed = true;
};

/// Throws Error{kUsage} for options out of range.
ResolvedDetectorOptions resolve_options(const DetectorOptions& options, const DetectionFacts& facts);

/// Suppression and the way back: candidates in pixels of the model's input as detections in pixels of the picture.
/// Boxes that lie wholly in the padding fall away.
std::vector<Detection> finish_detections(const BoxCandidates& candidates, const Placement& placement,
                                         const ResolvedDetectorOptions& options, const DetectionFacts& facts);

/// Boxes in pixels of the model's input, best first, as detections in pixels of the picture. Boxes that lie wholly in
/// the padding fall away.
std::vector<Detection> place_detections(std::span<const FoundBox> boxes, const Placement& placement,
                                        const DetectionFacts& facts);

/// Where pictures are prepared and boxes found.
enum class DetectionPath {
  kBest,  ///< In the engine's own pipeline where it offers one that fits, else on the host.
  kHost,
};

/// One thread at a time.
class DetectionRunner {
 public:
  /// `max_batch`: see ImageSession. Throws Error{kBadInput} when the engine does not fit the facts.
  DetectionRunner(const DetectionFacts& facts, std::shared_ptr<const Engine> engine, const DetectorOptions& options,
                  std::size_t max_batch = 0, DetectionPath path = DetectionPath::kBest);
  DetectionRunner(const DetectionRunner&) = delete;
  DetectionRunner& operator=(const DetectionRunner&) = delete;

  std::vector<DetectionResult> detect(std::span<const Image> images);
  /// Pictures as the bytes of their files.
  std::vector<DetectionResult> detect_encoded(std::span<const std::span<const std::byte>> files);
  /// {"pictures": "device" or "host", "why_host": "...", and what the pipeline says of itself}.
  nlohmann::json describe() const;

 private:
  HeadOutput output(const std::string& name) const;
  std::vector<DetectionResult> detect_on_host(std::span<const Image> images);

  DetectionFacts facts_;
  ResolvedDetectorOptions options_;
  std::unique_ptr<DetectionHeadDecoder> decoder_;
  ImageSession session_;
  std::unique_ptr<PipelinedDetection> pipelined_;  ///< Null: everything on the host.
  std::string why_host_;
};

}  // namespace pajamas
