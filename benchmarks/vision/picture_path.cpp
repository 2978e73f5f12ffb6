// From a JPEG to boxes without the network: decode, letterbox, head, suppression. The network's output is made here,
// with objects at known places, so that the boxes that come out can be checked.
#include <unistd.h>
#include <algorithm>
#include <cmath>

#include <random>
#include <vector>

#include "base/files.h"
#include "bench/measure.h"
#include "media/nms.h"
#include "pajamas/detection.h"
#include "pajamas/error.h"
#include "pajamas/image.h"
#include "rows.h"
#include "tasks/detection_runner.h"

namespace pajamas::benchmark {
namespace {

constexpr int kInputPx = 640;
constexpr int kNumAnchors = 8400;
constexpr int kNumClasses = 80;
constexpr int kNumObjects = 20;
constexpr int kAnchorsPerObject = 20;  ///< Overlapping answers for each, as a real detector gives.
constexpr int kJpegWidthPx = 1280;
constexpr int kJpegHeightPx = 720;
constexpr double kPathGoalMs = 10;
constexpr double kNmsGoalMs = 1;

struct Object {
  float x, y, width, height;
  int class_index;
};

/// Objects on a grid that do not touch each other, in pixels of the network's input (the letterbox leaves rows 140 to
/// 500 to the picture).
std::vector<Object> objects() {
  std::vector<Object> all;
  for (int i = 0; i < kNumObjects; ++i) {
    all.push_back({60.0F + 120.0F * static_cast<float>(i % 5), 190.0F + 80.0F * static_cast<float>(i / 5), 70, 50,
                   i * 4 % kNumClasses});
  }
  return all;
}

/// The output of YOLOv8's head, [1, 84, 8400]: low scores everywhere, and the objects each on several anchors.
std::vector<float> network_output() {
  std::mt19937 generator(1);
  const auto uniform = [&] { return static_cast<float>(generator()) / 4294967296.0F; };
  std::vector<float> output((4 + kNumClasses) * kNumAnchors);
  const auto at = [&](int row, int anchor) -> float& {
    return output[static_cast<std::size_t>(row * kNumAnchors + anchor)];
  };
  for (int anchor = 0; anchor < kNumAnchors; ++anchor) {
    at(0, anchor) = uniform() * kInputPx;
    at(1, anchor) = uniform() * kInputPx;
    at(2, anchor) = at(3, anchor) = 5 + 40 * uniform();
    for (int row = 4; row < 4 + kNumClasses; ++row) at(row, anchor) = 0.05F * uniform();
  }
  const auto all = objects();
  for (int i = 0; i < kNumObjects; ++i) {
    for (int k = 0; k < kAnchorsPerObject; ++k) {
      const int anchor = (i * kAnchorsPerObject + k) * (kNumAnchors / (kNumObjects * kAnchorsPerObject));
      const auto& object = all[static_cast<std::size_t>(i)];
      const float shift = k == 0 ? 0 : 4 * uniform() - 2;
      at(0, anchor) = object.x + shift;
      at(1, anchor) = object.y + shift;
      at(2, anchor) = object.width;
      at(3, anchor) = object.height;
      at(4 + object.class_index, anchor) = k == 0 ? 0.95F : 0.5F + 0.4F * uniform();
    }
  }
  return output;
}

/// An engine whose run() does nothing: what is measured is everything around it.
class FixedOutput final : public Engine, public std::enable_shared_from_this<FixedOutput> {
 public:
  FixedOutput() {
    inputs_.push_back(
        {"images",
         DType::kFloat32,
         {Dimension::known(1), Dimension::known(3), Dimension::known(kInputPx), Dimension::known(kInputPx)}});
    outputs_.push_back({"output0",
                        DType::kFloat32,
                        {Dimension::known(1), Dimension::known(4 + kNumClasses), Dimension::known(kNumAnchors)}});
    const auto values = network_output();
    tensor_ = Tensor::of<float>({1, 4 + kNumClasses, kNumAnchors}, std::span<const float>(values));
  }
  const std::vector<TensorInfo>& inputs() const override { return inputs_; }
  const std::vector<TensorInfo>& outputs() const override { return outputs_; }
  nlohmann::json describe() const override { return {{"device", "none"}}; }
  std::unique_ptr<Session> new_session() const override;

 private:
  friend class FixedSession;
  std::vector<TensorInfo> inputs_;
  std::vector<TensorInfo> outputs_;
  Tensor tensor_;
};

class FixedSession final : public Session {
 public:
  explicit FixedSession(std::shared_ptr<const FixedOutput> engine) : engine_(std::move(engine)) {}
  void set_input(std::size_t, const TensorView&) override {}
  void run() override {}
  TensorView output(std::size_t) const override { return engine_->tensor_.view(); }
  RunTiming last_timing() const override { return {}; }

 private:
  std::shared_ptr<const FixedOutput> engine_;
};

std::unique_ptr<Session> FixedOutput::new_session() const { return std::make_unique<FixedSession>(shared_from_this()); }

DetectionFacts facts() {
  DetectionFacts f;
  f.head = DetectionHead::kYoloV8;
  f.num_classes = kNumClasses;
  f.boxes_output = "output0";
  f.image.input = "images";
  f.image.width_px = f.image.height_px = kInputPx;
  f.image.resize = ImageInput::Resize::kLetterbox;
  return f;
}

/// The objects in pixels of the 1280 x 720 picture: twice the input's, less the letterbox's bars of 140 rows.
bool finds_objects(const std::vector<Detection>& detections) {
  const auto all = objects();
  if (detections.size() != all.size()) return false;
  return std::all_of(all.begin(), all.end(), [&](const Object& object) {
    const float x1 = 2 * (object.x - object.width / 2);
    const float y1 = 2 * (object.y - object.height / 2 - 140);
    return std::any_of(detections.begin(), detections.end(), [&](const Detection& found) {
      return found.class_index == object.class_index && std::abs(found.box.x1 - x1) < 1 &&
             std::abs(found.box.y1 - y1) < 1;
    });
  });
}

/// A picture with the detail of a photo, for the decoder has more to do the more there is: waves and noise.
Image picture() {
  Image image{kJpegWidthPx, kJpegHeightPx, {}};
  image.pixels.resize(std::size_t{3} * kJpegWidthPx * kJpegHeightPx);
  std::mt19937 generator(2);
  std::size_t i = 0;
  for (int y = 0; y < kJpegHeightPx; ++y) {
    for (int x = 0; x < kJpegWidthPx; ++x) {
      for (int channel = 0; channel < 3; ++channel, ++i) {
        const double wave = std::sin(0.02 * x * (channel + 1)) + std::cos(0.03 * y);
        const double noise = static_cast<double>(generator() % 24);
        image.pixels[i] = static_cast<std::uint8_t>(std::clamp(116 + 50 * wave + noise, 0.0, 255.0));
      }
    }
  }
  return image;
}

void add_nms_row(const Settings& settings, Report& report) {
  // 8,400 boxes that all pass the threshold, in clusters: the worst that a head of that size can hand over.
  std::mt19937 generator(3);
  const auto uniform = [&] { return static_cast<float>(generator()) / 4294967296.0F; };
  BoxCandidates candidates;
  candidates.reserve(kNumAnchors);
  constexpr int kNumClusters = 100;
  std::vector<Object> centres;
  for (int i = 0; i < kNumClusters; ++i) {
    centres.push_back(
        {64.0F * static_cast<float>(i % 10), 64.0F * static_cast<float>(i / 10), 50, 50, i % kNumClasses});
  }
  for (int i = 0; i < kNumAnchors; ++i) {
    const auto& centre = centres[static_cast<std::size_t>(i % kNumClusters)];
    const float x = centre.x + uniform();
    const float y = centre.y + uniform();
    candidates.add({x, y, x + centre.width, y + centre.height}, 0.3F + 0.69F * uniform(), centre.class_index);
  }
  NmsOptions options;
  std::vector<std::size_t> kept = suppress_overlaps(candidates, options);
  const Verified verified = Verified::by("one box of each of 100 clusters stays", kept.size() == kNumClusters);
  MeasureOptions measure_options;
  measure_options.seconds = std::min(settings.seconds, 2.0);
  measure_options.progress = settings.progress;
  const auto result =
      measure({{"nms", [&] { kept = suppress_overlaps(candidates, options); }}}, measure_options).front();
  Figure figure;
  figure.name = "NMS alone, 8,400 boxes of 80 classes";
  figure.value = result.total_ms.p50;
  figure.unit = "ms";
  figure.goal = Goal{Goal::Kind::kAtMost, kNmsGoalMs};
  figure.note = "all 8,400 boxes above the threshold, one thread, median";
  figure.details = to_json(result);
  report.add(std::move(figure), verified);
}

}  // namespace

void add_picture_rows(const Settings& settings, Report& report) {
  settings.progress.step("Measuring the path of a picture");
  const auto path =
      std::filesystem::temp_directory_path() / ("vision_benchmark_" + std::to_string(::getpid()) + ".jpg");
  write_image(picture(), path, 90);
  const std::string jpeg = read_file(path);
  std::filesystem::remove(path);

  DetectionRunner runner(facts(), std::make_shared<const FixedOutput>(), {});
  std::vector<DetectionResult> results;
  double decode_ms = 0;
  const auto once = [&] {
    const auto start = std::chrono::steady_clock::now();
    const Image image = decode_image(std::as_bytes(std::span(jpeg)));
    decode_ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
    results = runner.detect(std::span<const Image>(&image, 1));
  };
  once();
  const Verified verified = Verified::by("the 20 objects planted in the head's output come out at their places",
                                         results.size() == 1 && finds_objects(results[0].detections));
  MeasureOptions measure_options;
  measure_options.seconds = settings.seconds;
  measure_options.progress = settings.progress;
  const auto result = measure({{"picture", once}}, measure_options).front();
  Figure figure;
  figure.name = "JPEG 1280×720 to boxes without inference";
  figure.value = result.total_ms.p50;
  figure.unit = "ms";
  figure.goal = Goal{Goal::Kind::kAtMost, kPathGoalMs};
  const auto ms = [](std::chrono::nanoseconds time) { return std::chrono::duration<double, std::milli>(time).count(); };
  char note[160];
  std::snprintf(note, sizeof(note),
                "one thread, median; of the last one: decode %.2f, letterbox %.2f, head and NMS %.2f ms", decode_ms,
                ms(results[0].timing.preprocess), ms(results[0].timing.postprocess));
  figure.note = note;
  figure.details = to_json(result);
  report.add(std::move(figure), verified);
  add_nms_row(settings, report);
}

}  // namespace pajamas::benchmark
