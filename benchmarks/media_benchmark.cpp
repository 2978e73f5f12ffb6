// What a vision request costs beside the model, on one core: JPEG decoding, letterboxing, head decoding, suppression,
// and all of them in a row. Not the models: those are measured by `pajamas bench`.
// The pictures and outputs are made here from fixed formulas, so that figures compare between machines.
#include <benchmark/benchmark.h>

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "media/codecs.h"
#include "media/nms.h"
#include "media/preprocess.h"
#include "tasks/detection_runner.h"

namespace pajamas {
namespace {

constexpr int kWidthPx = 1280;
constexpr int kHeightPx = 720;
constexpr std::size_t kNumBoxes = 8400;
constexpr std::size_t kNumClasses = 80;

/// Soft shapes with some grain, about as hard to compress as a photo.
Image photo() {
  Image image{kWidthPx, kHeightPx, std::vector<std::uint8_t>(std::size_t{3} * kWidthPx * kHeightPx)};
  std::mt19937 random(7);
  std::normal_distribution<float> grain(0.0F, 4.0F);
  std::size_t at = 0;
  for (int y = 0; y < kHeightPx; ++y) {
    for (int x = 0; x < kWidthPx; ++x) {
      const auto u = static_cast<float>(x) / 90.0F;
      const auto v = static_cast<float>(y) / 70.0F;
      const float level = 128 + 50 * std::sin(u + 2 * std::cos(v)) + 40 * std::sin(3.1F * u * v / 7) + grain(random);
      for (int c = 0; c < 3; ++c) {
        image.pixels[at++] = static_cast<std::uint8_t>(
            std::lrint(std::fmin(255.0F, std::fmax(0.0F, level + 20.0F * static_cast<float>(c)))));
      }
    }
  }
  return image;
}

const std::vector<std::byte>& jpeg() {
  static const std::vector<std::byte> kBytes = encode_jpeg(photo(), 85);
  return kBytes;
}

/// A YOLOv8 output of 8,400 boxes and 80 classes: around each of a few objects a cluster of boxes that all see it, as
/// trained models give them, and almost nothing elsewhere.
const HeadOutput& yolo_output() {
  static const HeadOutput kOutput = [] {
    Tensor values(DType::kFloat32,
                  Shape{1, 4 + static_cast<std::int64_t>(kNumClasses), static_cast<std::int64_t>(kNumBoxes)});
    const auto out = values.mutable_as<float>();
    std::mt19937 random(11);
    std::uniform_real_distribution<float> uniform(0.0F, 1.0F);
    for (std::size_t i = 0; i < kNumBoxes; ++i) {
      const std::size_t object = i % 20;
      const bool is_seen = uniform(random) < 0.05F;  // 400 or so of the boxes
      out[i] = static_cast<float>(30 * object) + 8 * uniform(random);
      out[kNumBoxes + i] = static_cast<float>(25 * object) + 8 * uniform(random);
      out[2 * kNumBoxes + i] = 60 + 8 * uniform(random);
      out[3 * kNumBoxes + i] = 80 + 8 * uniform(random);
      for (std::size_t c = 0; c < kNumClasses; ++c) {
        out[(4 + c) * kNumBoxes + i] = is_seen && c == object ? 0.3F + 0.6F * uniform(random) : 0.02F * uniform(random);
      }
    }
    return HeadOutput{"output0", values};
  }();
  return kOutput;
}

DetectionFacts yolo_facts() {
  DetectionFacts facts;
  facts.head = DetectionHead::kYoloV8;
  facts.num_classes = kNumClasses;
  return facts;
}

HeadRequest yolo_request() {
  HeadRequest request;
  request.boxes = yolo_output();
  request.canvas_width_px = 640;
  request.canvas_height_px = 640;
  request.score_threshold = 0.25F;
  return request;
}

void decode_jpeg_1280x720(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(decode_image(std::span<const std::byte>(jpeg())));
  state.counters["jpeg_bytes"] = static_cast<double>(jpeg().size());
}
BENCHMARK(decode_jpeg_1280x720)->Unit(benchmark::kMillisecond);

void letterbox_1280x720_to_640(benchmark::State& state) {
  const Image image = photo();
  const Placement placement = letterbox(kWidthPx, kHeightPx, 640, 640);
  const Preprocessor preprocessor{PreprocessOptions{}};
  std::vector<float> tensor(std::size_t{3} * 640 * 640);
  for (auto _ : state) {
    preprocessor.write(image, placement, std::as_writable_bytes(std::span(tensor)));
    benchmark::ClobberMemory();
  }
}
BENCHMARK(letterbox_1280x720_to_640)->Unit(benchmark::kMillisecond);

void shortest_edge_bicubic_1280x720_to_224(benchmark::State& state) {
  const Image image = photo();
  const Placement placement = shortest_edge_crop(kWidthPx, kHeightPx, 256, 224, 224);
  PreprocessOptions options;
  options.interpolation = Interpolation::kBicubic;
  options.is_antialiased = true;
  const Preprocessor preprocessor{options};
  std::vector<float> tensor(std::size_t{3} * 224 * 224);
  for (auto _ : state) {
    preprocessor.write(image, placement, std::as_writable_bytes(std::span(tensor)));
    benchmark::ClobberMemory();
  }
}
BENCHMARK(shortest_edge_bicubic_1280x720_to_224)->Unit(benchmark::kMillisecond);

void decode_yolov8_head_8400x80(benchmark::State& state) {
  const auto decoder = make_head_decoder(yolo_facts());
  const HeadRequest request = yolo_request();
  std::size_t num_candidates = 0;
  for (auto _ : state) num_candidates = decoder->decode(request).size();
  state.counters["candidates"] = static_cast<double>(num_candidates);
}
BENCHMARK(decode_yolov8_head_8400x80)->Unit(benchmark::kMillisecond);

/// Suppression of what the head above gives.
void nms_8400x80(benchmark::State& state) {
  const BoxCandidates candidates = make_head_decoder(yolo_facts())->decode(yolo_request());
  std::size_t num_kept = 0;
  for (auto _ : state) num_kept = suppress_overlaps(candidates, NmsOptions{}).size();
  state.counters["candidates"] = static_cast<double>(candidates.size());
  state.counters["kept"] = static_cast<double>(num_kept);
}
BENCHMARK(nms_8400x80)->Unit(benchmark::kMillisecond);

/// The worst case: all 8,400 boxes pass the threshold, with 80 classes, and 300 stay.
void nms_8400_candidates(benchmark::State& state) {
  BoxCandidates candidates;
  std::mt19937 random(5);
  std::uniform_real_distribution<float> place(0.0F, 600.0F);
  std::uniform_real_distribution<float> score(0.25F, 1.0F);
  for (std::size_t i = 0; i < kNumBoxes; ++i) {
    const float x = place(random);
    const float y = place(random);
    candidates.add({x, y, x + 40, y + 40}, score(random), static_cast<std::int32_t>(i % kNumClasses));
  }
  std::size_t num_kept = 0;
  for (auto _ : state) num_kept = suppress_overlaps(candidates, NmsOptions{}).size();
  state.counters["kept"] = static_cast<double>(num_kept);
}
BENCHMARK(nms_8400_candidates)->Unit(benchmark::kMillisecond);

/// The figure of the issue: everything of a detection but the model.
void jpeg_to_boxes_without_inference(benchmark::State& state) {
  const DetectionFacts facts = yolo_facts();
  const auto decoder = make_head_decoder(facts);
  const ResolvedDetectorOptions options = resolve_options({}, facts);
  const HeadRequest request = yolo_request();
  const Preprocessor preprocessor{PreprocessOptions{}};
  std::vector<float> tensor(std::size_t{3} * 640 * 640);
  std::size_t num_detections = 0;
  for (auto _ : state) {
    const Image image = decode_image(std::span<const std::byte>(jpeg()));
    const Placement placement = letterbox(image.width_px, image.height_px, 640, 640);
    preprocessor.write(image, placement, std::as_writable_bytes(std::span(tensor)));
    benchmark::ClobberMemory();
    num_detections = finish_detections(decoder->decode(request), placement, options, facts).size();
  }
  state.counters["detections"] = static_cast<double>(num_detections);
}
BENCHMARK(jpeg_to_boxes_without_inference)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace pajamas

BENCHMARK_MAIN();
