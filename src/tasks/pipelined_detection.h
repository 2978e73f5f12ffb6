// Detection through an engine's DetectionPipeline: which models and options it fits, and pictures through it two runs
// at a time. What does not fit is the affair of DetectionRunner's own way over the host.
#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "bundle/task_facts.h"
#include "engine/detection_pipeline.h"
#include "pajamas/detection.h"
#include "tasks/image_pipeline.h"

namespace pajamas {

struct ResolvedDetectorOptions;

/// A picture to look at: pixels, or the bytes of a file. Borrowed.
using GivenPicture = std::variant<const Image*, std::span<const std::byte>>;

/// Or the reason why there is no request: one clause, for reports.
using PipelineRequestOrReason = std::variant<DetectionPipelineRequest, std::string>;

/// What to ask of an engine with these inputs and outputs. `max_batch`: pictures of one run.
PipelineRequestOrReason pipeline_request(const DetectionFacts& facts, const ResolvedDetectorOptions& options,
                                         const Engine& engine, std::size_t max_batch);

/// One thread at a time.
class PipelinedDetection {
 public:
  /// `on_host` detects in a picture that the pipeline has doubts about, and throws when they are justified.
  PipelinedDetection(const DetectionFacts& facts, const ResolvedDetectorOptions& options,
                     const ImagePipeline& image_pipeline, std::unique_ptr<DetectionPipeline> pipeline,
                     std::function<DetectionResult(const Image&)> on_host);

  /// In order. Throws Error as decoding and the device do; where there are several pictures the error says which one
  /// it was. May be used again afterwards.
  std::vector<DetectionResult> detect(std::span<const GivenPicture> pictures);
  nlohmann::json describe() { return pipeline_->describe(); }

 private:
  struct Run {
    std::size_t begin = 0;
    std::size_t count = 0;  ///< 0: the lane is idle.
    std::vector<Placement> placements;
    std::chrono::nanoseconds host_time{0};
  };

  /// Decodes the picture, or hands it over to be decoded on the device, and says where it lands.
  Placement give(std::size_t lane, std::size_t index, const GivenPicture& picture);
  void collect(std::size_t lane, std::span<const GivenPicture> pictures, std::vector<DetectionResult>& results);

  const DetectionFacts& facts_;
  DetectionLimits limits_;
  const ImagePipeline& image_pipeline_;
  std::unique_ptr<DetectionPipeline> pipeline_;
  std::function<DetectionResult(const Image&)> on_host_;
  std::array<Run, DetectionPipeline::kNumLanes> runs_;
};

}  // namespace pajamas
