// Detection: boxes with classes and scores in pictures.
#pragma once

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "pajamas/image.h"

namespace pajamas {

class Bundle;

/// Corners in pixels of the picture as given (after EXIF rotation); x to the right, y down; x2, y2 exclusive edges.
/// Clipped to the picture.
struct BoxXyxyPx {
  float x1 = 0, y1 = 0, x2 = 0, y2 = 0;
};

struct Detection {
  BoxXyxyPx box;
  int class_index = 0;
  std::string label;  ///< The class's name, or its index in digits when the model has no names.
  float score = 0;    ///< 0..1
};

struct DetectorOptions {
  std::optional<double> score_threshold;  ///< 0..1; default: the bundle's.
  std::optional<double> iou_threshold;    ///< 0..1; default: the bundle's.
  std::optional<int> max_detections;      ///< default: the bundle's.
  bool is_nms_class_agnostic = false;     ///< One box per place whatever the class.
  int num_threads = 0;                    ///< CPU threads; 0: all.
};

/// Time spent on one picture.
struct TaskTiming {
  std::chrono::nanoseconds preprocess{0};
  std::chrono::nanoseconds inference{0};
  std::chrono::nanoseconds postprocess{0};
};

struct DetectionResult {
  std::vector<Detection> detections;  ///< By falling score.
  TaskTiming timing;
};

/// A loaded detector. `detect` may be called from one thread at a time; make one Detector per thread.
class Detector {
 public:
  /// Opens and loads the bundle. Throws Error: kBadInput (damaged, or of another task), kDeviceMissing, kUnsupported.
  explicit Detector(const std::filesystem::path& bundle, const DetectorOptions& options = {});
  ~Detector();
  Detector(Detector&&) noexcept;
  Detector& operator=(Detector&&) noexcept;

  DetectionResult detect(const Image& image);
  /// Several pictures in one run where the engine's batch allows it; results in order.
  std::vector<DetectionResult> detect(std::span<const Image> images);

  /// The bytes of a picture file (JPEG, PNG, WebP or BMP) in memory. On the target `cuda` plain JPEGs are decoded on
  /// the GPU where nvJPEG is installed, which rounds pixels in its own way; all else as decode_image(). Throws
  /// Error{kBadInput} for damaged files, saying which where there are several; the detector may be used again.
  DetectionResult detect_encoded(std::span<const std::byte> file);
  /// Several: while one run computes, the pictures of the next are decoded.
  std::vector<DetectionResult> detect_encoded(std::span<const std::span<const std::byte>> files);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Draws boxes, labels and scores onto a copy of the picture.
Image annotate(const Image& image, std::span<const Detection> detections);

}  // namespace pajamas
