// See pipelined_detection.h.
#include "tasks/pipelined_detection.h"

#include <algorithm>
#include <utility>

#include "engine/tensor_lookup.h"
#include "media/jpeg_header.h"
#include "pajamas/error.h"
#include "tasks/detection_runner.h"

namespace pajamas {

namespace {

using Clock = std::chrono::steady_clock;

std::optional<BoxRows> rows_of(DetectionHead head) {
  switch (head) {
    case DetectionHead::kYoloV8: return BoxRows::kYoloV8;
    case DetectionHead::kYoloV5: return BoxRows::kYoloV5;
    case DetectionHead::kYoloEndToEnd: return BoxRows::kYoloEndToEnd;
    default: return std::nullopt;
  }
}

Image decoded(const GivenPicture& picture) { return decode_image(std::get<std::span<const std::byte>>(picture)); }

}  // namespace

PipelineRequestOrReason pipeline_request(const DetectionFacts& facts, const ResolvedDetectorOptions& options,
                                         const Engine& engine, std::size_t max_batch) {
  const std::optional<BoxRows> rows = rows_of(facts.head);
  if (!rows) return std::string("the boxes of the head '") + to_string(facts.head) + "' are found on the host";
  if (options.max_detections > kMaxPipelineBoxes) {
    return "more than " + std::to_string(kMaxPipelineBoxes) + " detections are chosen on the host";
  }
  const ImageInput& image = facts.image;
  if (image.interpolation != ImageInput::Interpolation::kBilinear || image.is_antialiased) {
    return "pictures are scaled by this model's filter on the host";
  }
  if (image.resize == ImageInput::Resize::kFit) return "pictures become inputs of many sizes";
  const std::size_t input_index = find_tensor(engine.inputs(), image.input, "input");
  const DType dtype = engine.inputs()[input_index].dtype;
  if (dtype != DType::kFloat32 && dtype != DType::kFloat16 && dtype != DType::kBfloat16) {
    return std::string("inputs of type ") + to_string(dtype) + " are made on the host";
  }
  DetectionPipelineRequest request;
  request.picture.input_index = input_index;
  request.picture.width_px = static_cast<int>(image.width_px);
  request.picture.height_px = static_cast<int>(image.height_px);
  request.picture.has_batch = image.has_batch;
  request.picture.is_nhwc = image.is_nhwc;
  request.picture.is_bgr = image.is_bgr;
  const PreprocessOptions preprocess = preprocess_options(image, dtype);
  request.picture.pad_level = preprocess.pad_value;
  for (std::size_t channel = 0; channel < 3; ++channel) {
    for (std::size_t level = 0; level < 256; ++level) {
      request.picture.values[channel * 256 + level] = static_cast<float>(level_value(preprocess, channel, level));
    }
  }
  request.output_index = find_tensor(engine.outputs(), facts.boxes_output, "output");
  request.rows = *rows;
  request.num_classes = facts.num_classes;
  request.max_batch = max_batch;
  return request;
}

PipelinedDetection::PipelinedDetection(const DetectionFacts& facts, const ResolvedDetectorOptions& options,
                                       const ImagePipeline& image_pipeline, std::unique_ptr<DetectionPipeline> pipeline,
                                       std::function<DetectionResult(const Image&)> on_host)
    : facts_(facts), image_pipeline_(image_pipeline), pipeline_(std::move(pipeline)), on_host_(std::move(on_host)) {
  limits_.score_threshold = options.score_threshold;
  limits_.iou_threshold = options.iou_threshold;
  limits_.max_boxes = options.max_detections;
  limits_.is_class_agnostic = options.is_nms_class_agnostic;
  limits_.is_suppressed = options.is_suppressed;
}

Placement PipelinedDetection::give(std::size_t lane, std::size_t index, const GivenPicture& picture) {
  const auto give_pixels = [&](const Image& image) {
    const Placement placement = image_pipeline_.place(image.width_px, image.height_px);
    require_whole(image);
    pipeline_->give_pixels(lane, index, image.pixels, placement);
    return placement;
  };
  if (const auto* image = std::get_if<const Image*>(&picture)) return give_pixels(**image);
  const auto bytes = std::get<std::span<const std::byte>>(picture);
  if (const std::optional<JpegHeader> header = read_jpeg_header(bytes);
      header && header->is_plain && pipeline_->decodes_jpeg()) {
    const bool is_turned = header->exif_orientation >= 5;
    const Placement placement = image_pipeline_.place(is_turned ? header->height_px : header->width_px,
                                                      is_turned ? header->width_px : header->height_px);
    if (pipeline_->give_jpeg(lane, index, bytes, header->width_px, header->height_px, header->exif_orientation,
                             placement)) {
      return placement;
    }
  }
  return give_pixels(decoded(picture));
}

void PipelinedDetection::collect(std::size_t lane, std::span<const GivenPicture> pictures,
                                 std::vector<DetectionResult>& results) {
  Run& run = runs_[lane];
  const std::size_t count = std::exchange(run.count, 0);
  const PipelineRun found = pipeline_->wait(lane);
  const auto share = static_cast<std::int64_t>(count);
  for (std::size_t i = 0; i < count; ++i) {
    const auto start = Clock::now();
    const std::size_t index = run.begin + i;
    DetectionResult& result = results[index];
    if (found.pictures[i].is_doubtful) {
      try {
        const auto* image = std::get_if<const Image*>(&pictures[index]);
        result = image != nullptr ? on_host_(**image) : on_host_(decoded(pictures[index]));
      } catch (const Error& error) {
        throw_of_picture(error, index, pictures.size());
      }
      continue;
    }
    result.detections = place_detections(found.pictures[i].boxes, run.placements[i], facts_);
    result.timing.preprocess = run.host_time / share;
    result.timing.inference = found.device / share;
    result.timing.postprocess = Clock::now() - start;
  }
}

std::vector<DetectionResult> PipelinedDetection::detect(std::span<const GivenPicture> pictures) {
  std::vector<DetectionResult> results(pictures.size());
  std::size_t lane = 0;
  const auto collect_if_busy = [&](std::size_t busy) {
    if (runs_[busy].count > 0) collect(busy, pictures, results);
  };
  try {
    for (std::size_t begin = 0; begin < pictures.size(); lane = (lane + 1) % runs_.size()) {
      collect_if_busy(lane);
      const auto start = Clock::now();
      Run& run = runs_[lane];
      run.begin = begin;
      run.placements.clear();
      const std::size_t count = std::min(pipeline_->max_batch(), pictures.size() - begin);
      for (std::size_t i = 0; i < count; ++i) {
        try {
          run.placements.push_back(give(lane, i, pictures[begin + i]));
        } catch (const Error& error) {
          throw_of_picture(error, begin + i, pictures.size());
        }
      }
      pipeline_->start(lane, count, limits_);
      run.count = count;
      run.host_time = Clock::now() - start;
      begin += count;
    }
    for (std::size_t i = 0; i < runs_.size(); ++i) collect_if_busy((lane + i) % runs_.size());
  } catch (...) {
    // What is under way ends before the pictures may go, and before the next call.
    for (std::size_t busy = 0; busy < runs_.size(); ++busy) {
      if (std::exchange(runs_[busy].count, 0) == 0) continue;
      try {
        pipeline_->wait(busy);
      } catch (const Error&) {
        // The first error is the one to tell.
      }
    }
    throw;
  }
  return results;
}

}  // namespace pajamas
