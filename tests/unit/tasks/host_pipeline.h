// A DetectionPipeline on the host, over a fake engine: it places pictures with the arithmetic of the GPU's kernels,
// stored turned as a decoder leaves them, and finds boxes with the host's heads. So tests see what PipelinedDetection
// makes of it without a GPU.
#pragma once

#include <array>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "engine/detection_pipeline.h"
#include "fake_engine.h"
#include "kernels/picture_math.h"
#include "media/codecs.h"
#include "media/nms.h"
#include "pajamas/error.h"
#include "tasks/heads/detection_head.h"

namespace pajamas::test {

/// What a test may set, and what it may look at afterwards; shared with the pipelines of an engine.
struct HostPipelineState {
  std::size_t max_batch = 1;
  bool decodes_jpeg = true;
  bool refuses_jpeg = false;        ///< decodes_jpeg, but takes none.
  bool has_no_pipeline = false;     ///< new_detection_pipeline gives null.
  int num_failing_starts = 0;       ///< So many starts throw.
  DetectionFacts facts;             ///< For the host's head decoder.
  std::vector<std::string> events;  ///< "jpeg 0.1", "pixels 0.0", "start 0 2", "wait 0", in order.
  std::vector<Tensor> inputs;       ///< Of each run.
  std::vector<DetectionLimits> limits;
  std::vector<DetectionPipelineRequest> requests;
};

class HostPipeline : public DetectionPipeline {
 public:
  HostPipeline(FakeFunction function, DetectionPipelineRequest request, std::shared_ptr<HostPipelineState> state)
      : function_(std::move(function)), request_(std::move(request)), state_(std::move(state)) {
    for (auto& lane : lanes_) lane.pictures.resize(state_->max_batch);
  }

  std::size_t max_batch() const override { return state_->max_batch; }
  bool decodes_jpeg() override { return state_->decodes_jpeg; }

  bool give_jpeg(std::size_t lane, std::size_t index, std::span<const std::byte> jpeg, int width_px, int height_px,
                 int exif_orientation, const Placement& placement) override {
    if (state_->refuses_jpeg) return false;
    state_->events.push_back("jpeg " + std::to_string(lane) + "." + std::to_string(index));
    const DecodedImage decoded = decode_jpeg(jpeg, kMaxImagePixels);
    if (decoded.image.width_px != width_px || decoded.image.height_px != height_px ||
        decoded.exif_orientation != exif_orientation) {
      throw std::logic_error("the header says another thing than the decoder");
    }
    keep(lane, index, decoded.image.pixels, width_px, height_px, exif_orientation, placement);
    return true;
  }

  void give_pixels(std::size_t lane, std::size_t index, std::span<const std::uint8_t> pixels,
                   const Placement& placement) override {
    state_->events.push_back("pixels " + std::to_string(lane) + "." + std::to_string(index));
    keep(lane, index, pixels, placement.source_width_px, placement.source_height_px, 1, placement);
  }

  void start(std::size_t lane, std::size_t count, const DetectionLimits& limits) override {
    state_->events.push_back("start " + std::to_string(lane) + " " + std::to_string(count));
    if (lanes_[lane].count != 0) throw std::logic_error("a lane is started twice");
    if (state_->num_failing_starts > 0) {
      --state_->num_failing_starts;
      throw Error(ErrorKind::kInternal, "the device fell over");
    }
    lanes_[lane].count = count;
    state_->limits.push_back(limits);
  }

  PipelineRun wait(std::size_t lane) override {
    state_->events.push_back("wait " + std::to_string(lane));
    const std::size_t count = std::exchange(lanes_.at(lane).count, 0);
    if (count == 0) throw std::logic_error("a lane is waited for that was not started");
    const PictureInput& input = request_.picture;
    Shape shape{static_cast<std::int64_t>(count), 3, input.height_px, input.width_px};
    Tensor canvas(DType::kFloat32, shape);
    const std::size_t plane = static_cast<std::size_t>(input.width_px) * static_cast<std::size_t>(input.height_px);
    for (std::size_t i = 0; i < count; ++i) {
      float* out = canvas.mutable_as<float>().data() + 3 * plane * i;
      for (int y = 0; y < input.height_px; ++y) {
        for (int x = 0; x < input.width_px; ++x, ++out) {
          std::uint32_t levels[3];
          kernels::placed_levels(lanes_[lane].pictures[i].placement, x, y, input.pad_level, levels);
          for (std::size_t c = 0; c < 3; ++c) {
            out[c * plane] = input.values[c * 256 + (input.is_bgr ? levels[2 - c] : levels[c])];
          }
        }
      }
    }
    state_->inputs.push_back(canvas);
    const std::vector<Tensor> outputs = function_({canvas});
    PipelineRun run;
    for (std::size_t i = 0; i < count; ++i) {
      run.pictures.push_back(find(outputs.at(request_.output_index), count, i, state_->limits.back()));
    }
    run.device = std::chrono::nanoseconds(1000);
    return run;
  }

  nlohmann::json describe() override { return {{"jpeg_decoder", state_->decodes_jpeg ? "fake" : "host"}}; }

 private:
  struct Picture {
    std::vector<std::uint8_t> pixels;
    kernels::PicturePlacement placement;
  };
  struct Lane {
    std::vector<Picture> pictures;
    std::size_t count = 0;
  };

  void keep(std::size_t lane, std::size_t index, std::span<const std::uint8_t> pixels, int width_px, int height_px,
            int orientation, const Placement& placement) {
    if (lanes_.at(lane).count != 0) throw std::logic_error("a picture is given to a lane under way");
    Picture& picture = lanes_[lane].pictures.at(index);
    // Rows apart, as decoders leave them; what lies between must not matter.
    const std::size_t row = static_cast<std::size_t>(width_px) * 3;
    const std::size_t pitch = row + 5;
    picture.pixels.assign(pitch * static_cast<std::size_t>(height_px), 0xEE);
    for (std::size_t y = 0; y < static_cast<std::size_t>(height_px); ++y) {
      std::memcpy(picture.pixels.data() + y * pitch, pixels.data() + y * row, row);
    }
    const kernels::PixelWalk walk =
        kernels::upright_walk(orientation, width_px, height_px, static_cast<std::int64_t>(pitch));
    picture.placement.pixels = picture.pixels.data() + walk.start_bytes;
    picture.placement.step_x_bytes = walk.step_x_bytes;
    picture.placement.step_y_bytes = walk.step_y_bytes;
    picture.placement.source_width_px = placement.source_width_px;
    picture.placement.source_height_px = placement.source_height_px;
    picture.placement.scaled_width_px = placement.scaled_width_px;
    picture.placement.scaled_height_px = placement.scaled_height_px;
    picture.placement.offset_x_px = placement.offset_x_px;
    picture.placement.offset_y_px = placement.offset_y_px;
  }

  FoundBoxes find(const Tensor& output, std::size_t batch, std::size_t picture, const DetectionLimits& limits) const {
    HeadRequest request;
    request.boxes = {"out", output};
    request.batch = batch;
    request.picture = picture;
    request.canvas_width_px = request_.picture.width_px;
    request.canvas_height_px = request_.picture.height_px;
    request.score_threshold = limits.score_threshold;
    FoundBoxes found;
    try {
      const BoxCandidates candidates = make_head_decoder(state_->facts)->decode(request);
      std::vector<std::size_t> kept;
      if (limits.is_suppressed) {
        kept = suppress_overlaps(candidates, {limits.iou_threshold, limits.max_boxes, limits.is_class_agnostic});
      } else {
        kept = order_by_score(candidates);
        kept.resize(std::min(kept.size(), limits.max_boxes));
      }
      for (const std::size_t i : kept) {
        found.boxes.push_back({candidates.box(i), candidates.score[i], candidates.class_index[i]});
      }
    } catch (const Error&) {
      found.is_doubtful = true;
    }
    return found;
  }

  FakeFunction function_;
  DetectionPipelineRequest request_;
  std::shared_ptr<HostPipelineState> state_;
  std::array<Lane, kNumLanes> lanes_;
};

class PipelineEngine : public FakeEngine, public DetectionPipelineSource {
 public:
  PipelineEngine(std::vector<TensorInfo> inputs, std::vector<TensorInfo> outputs, FakeFunction function,
                 std::shared_ptr<HostPipelineState> state)
      : FakeEngine(std::move(inputs), std::move(outputs), function), function_(function), state_(std::move(state)) {}
  std::unique_ptr<DetectionPipeline> new_detection_pipeline(const DetectionPipelineRequest& request) const override {
    state_->requests.push_back(request);
    if (state_->has_no_pipeline) return nullptr;
    return std::make_unique<HostPipeline>(function_, request, state_);
  }

 private:
  FakeFunction function_;
  std::shared_ptr<HostPipelineState> state_;
};

}  // namespace pajamas::test
