// From a detector's raw output to the boxes that stay, on the GPU in two kernels: the boxes scored above the threshold
// are gathered, then ordered and freed of overlaps by one block. Same order, same comparisons as media/nms.h and the
// heads of tasks/heads on the host. Way back to the picture, labels and the wording of errors: the host's.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "kernels/host_device.h"
#include "pajamas/tensor.h"

namespace pajamas::kernels {

/// How the raw output gives boxes; the names of bundle/task_facts.h, which this layer does not know.
enum class BoxLayout {
  kYoloV8,        ///< [4 + classes, boxes]: centre, size, class scores.
  kYoloV5,        ///< [boxes, 5 + classes]: centre, size, objectness, class scores.
  kYoloEndToEnd,  ///< [boxes, 6]: corners, score, class.
};

/// What may change from run to run. In device memory, read when the kernels run.
struct DetectionThresholds {
  float score = 0.25F;
  float iou = 0.45F;
  std::int32_t max_boxes = 300;  ///< At most kMaxKept.
  std::int32_t is_class_agnostic = 0;
  std::int32_t is_suppressed = 1;  ///< 0: only ordered and cut at max_boxes.
};

inline constexpr int kMaxKept = 1024;
inline constexpr std::int32_t kMaxDetectionClasses = 1 << 12;
inline constexpr std::int32_t kMaxDetectionBoxes = 1 << 20;

struct KeptBox {
  float x1, y1, x2, y2;  ///< Pixels of the model's input.
  float score;
  std::int32_t class_index;
};

/// Result of one picture, in device memory.
struct KeptBoxes {
  std::int32_t count = 0;
  std::int32_t num_candidates = 0;  ///< Scored above the threshold.
  std::int32_t is_invalid = 0;      ///< A score or box was NaN or no probability: let the host say which.
  std::int32_t reserved = 0;
  KeptBox boxes[kMaxKept];
};

/// Falling score, then rising class, then rising index, as one rising number.
PAJAMAS_HOST_DEVICE inline std::uint64_t detection_key(std::uint32_t score_bits, std::int32_t class_index,
                                                       std::int32_t box_index) {
  // Scores above a threshold ≥ 0 are positive, so their bits are ordered as they are.
  return (static_cast<std::uint64_t>(~score_bits) << 32) | (static_cast<std::uint64_t>(class_index) << 20) |
         static_cast<std::uint64_t>(box_index);
}

struct DetectionWork {
  const void* raw = nullptr;      ///< Output of the model for one picture, dense, device memory.
  DType dtype = DType::kFloat32;  ///< float32 or float16.
  BoxLayout layout = BoxLayout::kYoloV8;
  std::int32_t num_boxes = 0;    ///< < kMaxDetectionBoxes
  std::int32_t num_classes = 0;  ///< < kMaxDetectionClasses
  const DetectionThresholds* thresholds = nullptr;
  /// Scratch in device memory, of detection_scratch_bytes(num_boxes).
  void* scratch = nullptr;
  KeptBoxes* result = nullptr;
};

std::size_t detection_scratch_bytes(std::int32_t num_boxes);

/// Enqueues everything, the clearing of the counters too; can be captured. Throws Error{kInternal} when a launch is
/// refused, Error{kUnsupported} for sizes past the limits above or another dtype.
void launch_detect(const DetectionWork& work, cudaStream_t stream);

}  // namespace pajamas::kernels
