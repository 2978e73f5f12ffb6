// Pictures in, boxes out, without leaving the device: what an engine of some targets offers beside sessions. The task
// layer asks for it (find_detection_pipelines) and describes the work by plain structs; where an engine offers none,
// or not for this description, preparation and boxes are the host's affair. No vendor type appears here.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <vector>

#include "engine/target.h"
#include "media/placement.h"
#include "pajamas/detection.h"

namespace pajamas {

/// What the model's input makes of a picture placed on its canvas, sampled bilinearly without widening.
struct PictureInput {
  std::size_t input_index = 0;
  int width_px = 1, height_px = 1;  ///< Of the canvas.
  bool has_batch = true;            ///< Else the input is one bare picture.
  bool is_nhwc = false;
  bool is_bgr = false;
  std::uint8_t pad_level = 114;
  /// Value of each level, [channel of the tensor, level]; rounded to the input's type, to even at a tie.
  std::array<float, 3 * 256> values{};
};

/// How the raw output of one picture gives boxes; the meaning is that of the heads in tasks/heads.
enum class BoxRows {
  kYoloV8,        ///< [4 + classes, boxes]: centre, size, class scores.
  kYoloV5,        ///< [boxes, 5 + classes]: centre, size, objectness, class scores.
  kYoloEndToEnd,  ///< [boxes, 6]: corners, score, class.
};

struct DetectionPipelineRequest {
  PictureInput picture;
  std::size_t output_index = 0;
  BoxRows rows = BoxRows::kYoloV8;
  std::int64_t num_classes = 0;  ///< 0: as many as the output has.
  std::size_t max_batch = 1;     ///< Pictures of one run at most; the engine's own batch where that is fixed.
};

/// What may change from run to run.
struct DetectionLimits {
  float score_threshold = 0.25F;
  float iou_threshold = 0.45F;
  std::size_t max_boxes = 300;  ///< At most kMaxPipelineBoxes.
  bool is_class_agnostic = false;
  bool is_suppressed = true;  ///< Else only ordered by score and cut at max_boxes.
};

/// Boxes of a picture that a pipeline can give.
inline constexpr std::size_t kMaxPipelineBoxes = 1024;

struct FoundBox {
  BoxXyxyPx box;  ///< Pixels of the model's input.
  float score = 0;
  std::int32_t class_index = 0;
};

struct FoundBoxes {
  std::vector<FoundBox> boxes;  ///< Ordered as by media/nms.h.
  /// A score or box was NaN or no probability: compute the picture on the host, which says what is wrong.
  bool is_doubtful = false;
};

struct PipelineRun {
  std::vector<FoundBoxes> pictures;    ///< [count]
  std::chrono::nanoseconds device{0};  ///< From the pictures on the device to the boxes on the host.
};

/// Runs of one execution context. Two runs, called lanes, may be under way, so that pictures are decoded for one while
/// the other computes. For each run: give every picture, start, wait. From one thread at a time.
///
/// Results equal those of the host's preparation, heads and suppression to the last bit where the raw outputs are equal
/// float32 numbers.
class DetectionPipeline {
 public:
  static constexpr std::size_t kNumLanes = 2;

  virtual ~DetectionPipeline() = default;
  virtual std::size_t max_batch() const = 0;

  /// Whether JPEGs can be decoded on the device at all; describe() says why not.
  virtual bool decodes_jpeg() = 0;
  /// Enqueues the decoding of a whole file of which read_jpeg_header() says is_plain; `width_px` × `height_px` as
  /// stored, `placement` of the upright picture. False where the decoder does not take the picture: give its pixels
  /// then. Picture `index` < max_batch() of the lane's next run; the bytes are borrowed until wait(). Throws
  /// Error{kUnsupported} naming bytes when memory does not suffice, Error{kInternal} when the device fails.
  virtual bool give_jpeg(std::size_t lane, std::size_t index, std::span<const std::byte> jpeg, int width_px,
                         int height_px, int exif_orientation, const Placement& placement) = 0;
  /// Copies an upright picture, 3 bytes a pixel without padding, as large as the placement's source. The pixels are
  /// borrowed during the call. Throws as give_jpeg.
  virtual void give_pixels(std::size_t lane, std::size_t index, std::span<const std::uint8_t> pixels,
                           const Placement& placement) = 0;
  /// Enqueues everything for pictures [0, count) given; asynchronous. Throws as give_jpeg.
  virtual void start(std::size_t lane, std::size_t count, const DetectionLimits& limits) = 0;
  /// The boxes of the lane's run, which must have been started. Throws Error{kInternal} when the device failed; the
  /// pipeline may be used again where the device allows.
  virtual PipelineRun wait(std::size_t lane) = 0;
  /// {"jpeg_decoder": "hardware", "jpeg_library": "13.0.0" or the reason why there is none,
  /// "pictures_decoded_on_device": 12, "pictures_given_as_pixels": 3, ...}
  virtual nlohmann::json describe() = 0;
};

/// What an engine inherits beside Engine when it offers pipelines.
class DetectionPipelineSource {
 public:
  virtual ~DetectionPipelineSource() = default;
  /// Null where the engine has none for this request (its types, its shapes, the head). Throws Error{kUnsupported} when
  /// memory does not suffice.
  virtual std::unique_ptr<DetectionPipeline> new_detection_pipeline(const DetectionPipelineRequest& request) const = 0;
};

/// The engine as a source of pipelines; null where it offers none.
inline const DetectionPipelineSource* find_detection_pipelines(const Engine& engine) {
  return dynamic_cast<const DetectionPipelineSource*>(&engine);
}

}  // namespace pajamas
