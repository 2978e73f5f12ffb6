// See bench_pictures.h.
#include "bench_pictures.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <iostream>
#include <random>
#include <thread>

#include "base/files.h"
#include "bench/statistics.h"
#include "kernels/detection_kernels.h"
#include "kernels/picture_kernels.h"
#include "media/codecs.h"
#include "media/placement.h"
#include "pajamas/error.h"
#include "targets/cuda/runtime/jpeg_decoder.h"
#include "tasks/detection_runner.h"

namespace pajamas::gpu_bench {
namespace {

using Clock = std::chrono::steady_clock;

double ms_of(Clock::duration duration) { return std::chrono::duration<double, std::milli>(duration).count(); }

/// Shapes and noise, so that a JPEG of it is as large as that of a photograph.
Image made_picture(int width, int height, unsigned seed) {
  std::mt19937 random(seed);
  Image image{width, height, std::vector<std::uint8_t>(static_cast<std::size_t>(width) * height * 3)};
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      const double shape =
          60 * std::sin(0.011 * x + seed) * std::cos(0.017 * y) + ((x / 90 + y / 70) % 2 == 0 ? 30 : -30);
      for (int c = 0; c < 3; ++c) {
        const double level = 128 + shape + 20 * c + static_cast<double>(random() % 17) - 8;
        image.pixels[(static_cast<std::size_t>(y) * width + x) * 3 + c] =
            static_cast<std::uint8_t>(std::clamp(level, 0.0, 255.0));
      }
    }
  }
  return image;
}

std::vector<std::vector<std::byte>> made_files(const PictureOptions& options) {
  std::vector<std::vector<std::byte>> files;
  if (!options.file.empty()) {
    const std::string text = read_file(options.file);
    const auto bytes = std::as_bytes(std::span(text));
    files.emplace_back(bytes.begin(), bytes.end());
    return files;
  }
  for (unsigned i = 0; i < 8; ++i) {
    files.push_back(encode_jpeg(made_picture(options.width_px, options.height_px, i), 85));
  }
  return files;
}

/// The facts that the model's tensors tell: the head by the output's shape.
DetectionFacts facts_of(const cuda::CudaEngine& engine, std::int64_t batch) {
  const TensorInfo& input = engine.inputs().at(0);
  DetectionFacts facts;
  facts.image.input = input.name;
  facts.image.resize = ImageInput::Resize::kLetterbox;
  const auto extent = [](const TensorInfo& info, std::size_t axis) {
    return axis < info.shape.size() && info.shape[axis].is_known() ? info.shape[axis].extent() : 0;
  };
  facts.image.height_px = extent(input, 2);
  facts.image.width_px = extent(input, 3);
  for (const TensorInfo& output : engine.outputs()) {
    if (output.shape.size() != 3) continue;
    const std::int64_t rows = extent(output, 1);
    const std::int64_t columns = extent(output, 2);
    if (columns == 6) {
      facts.head = DetectionHead::kYoloEndToEnd;
    } else if (rows > 4 && rows < columns) {
      facts.head = DetectionHead::kYoloV8;
      facts.num_classes = rows - 4;
    } else if (columns > 5) {
      facts.head = DetectionHead::kYoloV5;
      facts.num_classes = columns - 5;
    } else {
      continue;
    }
    facts.boxes_output = output.name;
    break;
  }
  if (engine.inputs().size() != 1 || facts.boxes_output.empty() || facts.image.width_px == 0 || batch < 1) {
    throw Error(ErrorKind::kUnsupported, "the model has no boxes as YOLO gives them");
  }
  return facts;
}

bool is_equal(const std::vector<DetectionResult>& a, const std::vector<DetectionResult>& b) {
  return std::ranges::equal(a, b, [](const DetectionResult& left, const DetectionResult& right) {
    return std::ranges::equal(left.detections, right.detections, [](const Detection& x, const Detection& y) {
      return x.score == y.score && x.class_index == y.class_index && x.box.x1 == y.box.x1 && x.box.y1 == y.box.y1 &&
             x.box.x2 == y.box.x2 && x.box.y2 == y.box.y2;
    });
  });
}

class Bench {
 public:
  Bench(const Prepared& prepared, const PictureOptions& options)
      : engine_(prepared.built.engine),
        max_batch_(static_cast<std::size_t>(prepared.batch)),
        options_(options),
        facts_(facts_of(*engine_, prepared.batch)),
        files_(made_files(options)) {
    for (const auto& file : files_) images_.push_back(decode_image(file));
    // Random weights score as they like: a threshold that leaves a few boxes makes the suppression work.
    for (const double threshold : {0.25, 0.1, 0.03, 0.01, 0.001, 0.0}) {
      detector_options_.score_threshold = threshold;
      const auto results = runner(DetectionPath::kHost)->detect(std::span(images_).first(1));
      num_boxes_ = results[0].detections.size();
      if (num_boxes_ >= 20) break;
    }
  }

  nlohmann::json run() {
    nlohmann::json report{{"width_px", images_[0].width_px},
                          {"height_px", images_[0].height_px},
                          {"file_kb", static_cast<double>(files_[0].size()) / 1000},
                          {"batch", max_batch_},
                          {"score_threshold", *detector_options_.score_threshold},
                          {"num_boxes", num_boxes_}};
    verify();
    report["verified"] = "equal to the host's boxes";
    report["pixels"] = latency_of_pixels();
    for (const auto backend : {cuda::JpegBackend::kHardware, cuda::JpegBackend::kCuda, cuda::JpegBackend::kHybrid}) {
      ::setenv("PAJAMAS_JPEG_DECODER", cuda::to_string(backend), 1);
      report["files"].push_back(by_decoder(cuda::to_string(backend)));
    }
    ::unsetenv("PAJAMAS_JPEG_DECODER");
    report["files"].push_back(by_decoder("default"));
    report["host"] = latency(*runner(DetectionPath::kHost), std::min(options_.num_runs, 100));
    report["host"]["decoder"] = "host way";
    return report;
  }

 private:
  std::unique_ptr<DetectionRunner> runner(DetectionPath path = DetectionPath::kBest) const {
    return std::make_unique<DetectionRunner>(facts_, engine_, detector_options_, max_batch_, path);
  }

  std::vector<std::span<const std::byte>> batch_of_files(std::size_t first) const {
    std::vector<std::span<const std::byte>> files;
    for (std::size_t i = 0; i < max_batch_; ++i) files.emplace_back(files_[(first + i) % files_.size()]);
    return files;
  }

  void verify() const {
    std::vector<Image> images;
    for (std::size_t i = 0; i < max_batch_ || images.size() < files_.size(); ++i) {
      images.push_back(images_[i % images_.size()]);
    }
    // Whole batches: others would run as other shapes on the two ways.
    while (images.size() % max_batch_ != 0) images.push_back(images_[images.size() % images_.size()]);
    const auto on_gpu = runner();
    if (on_gpu->describe()["pictures"] != "device") {
      throw Error(ErrorKind::kUnsupported, "the engine has no pipeline for this model: " + on_gpu->describe().dump());
    }
    if (!is_equal(on_gpu->detect(images), runner(DetectionPath::kHost)->detect(images))) {
      throw Error(ErrorKind::kUnsupported, "the pipeline gives other boxes than the host for the same pixels");
    }
  }

  /// Wall time of one batch after the other, each waited for, and what of it is the GPU's.
  nlohmann::json latency(DetectionRunner& detector, int num_runs) const {
    std::vector<double> times_ms;
    std::vector<double> device_ms;
    std::vector<double> given_ms;
    const int num_warm = 20;
    for (int i = 0; i < num_warm + num_runs; ++i) {
      const auto files = batch_of_files(static_cast<std::size_t>(i) * max_batch_);
      const auto begin = Clock::now();
      const auto results = detector.detect_encoded(files);
      const double time_ms = ms_of(Clock::now() - begin);
      if (i < num_warm) continue;
      times_ms.push_back(time_ms);
      device_ms.push_back(ms_of(results[0].timing.inference) * static_cast<double>(max_batch_));
      given_ms.push_back(ms_of(results[0].timing.preprocess) * static_cast<double>(max_batch_));
    }
    return {{"ms", to_json(statistics_of(times_ms))},
            {"graph_ms", to_json(statistics_of(device_ms))},
            {"giving_ms", to_json(statistics_of(given_ms))}};
  }

  nlohmann::json latency_of_pixels() const {
    const auto detector = runner();
    std::vector<double> times_ms;
    for (int i = 0; i < 20 + options_.num_runs; ++i) {
      const auto begin = Clock::now();
      detector->detect({&images_[static_cast<std::size_t>(i) % images_.size()], 1});
      if (i >= 20) times_ms.push_back(ms_of(Clock::now() - begin));
    }
    return {{"ms", to_json(statistics_of(times_ms))}};
  }

  nlohmann::json by_decoder(const std::string& name) const {
    nlohmann::json report{{"decoder", name}};
    try {
      const auto detector = runner();
      nlohmann::json description = detector->describe();
      if (description["jpeg_decoder"] == "host") {
        report["reason"] = description["jpeg_library"];
        if (name != "default") return report;
      }
      report.update(latency(*detector, options_.num_runs));
      report["per_s"] = throughput(1, 16);
      report["one_by_one_per_s"] = throughput(1, 1);
      report["streams"] = options_.num_streams;
      report["streams_per_s"] = throughput(options_.num_streams, 1);
      description = detector->describe();
      report["pipeline"] = description;
      // Another decoder rounds otherwise; boxes near the threshold may come and go.
      const auto files = batch_of_files(0);
      std::vector<Image> images;
      for (const auto file : files) images.push_back(decode_image(file));
      report["boxes"] = {detector->detect_encoded(files)[0].detections.size(),
                         detector->detect(images)[0].detections.size()};
    } catch (const Error& error) {
      report["reason"] = error.what();
    }
    return report;
  }

  /// Pictures a second of so many threads, each with a pipeline of its own, giving `num_batches` batches a call.
  double throughput(int num_threads, std::size_t num_batches) const {
    std::vector<std::unique_ptr<DetectionRunner>> runners;
    std::vector<std::span<const std::byte>> files;
    for (std::size_t i = 0; i < num_batches; ++i) {
      for (const auto file : batch_of_files(i * max_batch_)) files.push_back(file);
    }
    for (int i = 0; i < num_threads; ++i) {
      runners.push_back(runner());
      runners.back()->detect_encoded(files);
    }
    std::atomic<bool> is_stopped{false};
    std::atomic<std::int64_t> num_pictures{0};
    std::vector<std::thread> threads;
    for (auto& detector : runners) {
      threads.emplace_back([&is_stopped, &num_pictures, &files, &detector = *detector] {
        while (!is_stopped) {
          detector.detect_encoded(files);
          num_pictures += static_cast<std::int64_t>(files.size());
        }
      });
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(200));  // Warm-up.
    const std::int64_t before = num_pictures;
    const auto begin = Clock::now();
    std::this_thread::sleep_for(std::chrono::milliseconds(1000));
    const std::int64_t after = num_pictures;
    const double seconds = ms_of(Clock::now() - begin) / 1000;
    is_stopped = true;
    for (std::thread& thread : threads) thread.join();
    return static_cast<double>(after - before) / seconds;
  }

  std::shared_ptr<const cuda::CudaEngine> engine_;
  std::size_t max_batch_;
  PictureOptions options_;
  DetectionFacts facts_;
  DetectorOptions detector_options_;
  std::vector<std::vector<std::byte>> files_;
  std::vector<Image> images_;
  std::size_t num_boxes_ = 0;
};

cuda::DeviceMemory uploaded(const void* data, std::size_t size_bytes) {
  cuda::DeviceMemory memory(size_bytes);
  cuda::check(cudaMemcpy(memory.data(), data, size_bytes, cudaMemcpyHostToDevice), "copying to the GPU");
  return memory;
}

/// Outputs of YOLOv8 for 8,400 places; a share of them scored above the threshold, in clusters that overlap.
std::vector<float> made_output(std::int32_t num_boxes, std::int32_t num_classes, double share) {
  std::mt19937 random(7);
  std::uniform_real_distribution<float> fraction(0.0F, 1.0F);
  std::vector<float> raw(static_cast<std::size_t>(4 + num_classes) * static_cast<std::size_t>(num_boxes));
  for (std::int32_t box = 0; box < num_boxes; ++box) {
    const auto at = [&](std::int32_t row) -> float& {
      return raw[static_cast<std::size_t>(row) * static_cast<std::size_t>(num_boxes) + static_cast<std::size_t>(box)];
    };
    const float cluster = std::floor(fraction(random) * 12.0F) * 50.0F;
    at(0) = cluster + 30.0F * fraction(random);
    at(1) = cluster + 30.0F * fraction(random);
    at(2) = 20.0F + 60.0F * fraction(random);
    at(3) = 20.0F + 60.0F * fraction(random);
    for (std::int32_t c = 0; c < num_classes; ++c) at(4 + c) = 0.05F * fraction(random);
    if (fraction(random) < share)
      at(4 + static_cast<std::int32_t>(random() % num_classes)) = 0.3F + 0.6F * fraction(random);
  }
  return raw;
}

nlohmann::json timed(cudaStream_t stream, int num_replays, const std::function<void()>& enqueue) {
  enqueue();
  cuda::check(cudaStreamSynchronize(stream), "running kernels");
  const cuda::GraphExec graph = cuda::GraphExec::capture(stream, enqueue);
  const cuda::Event begin;
  const cuda::Event end;
  std::vector<double> times_ms;
  for (int i = 0; i < 10 + num_replays; ++i) {
    begin.record(stream);
    graph.launch(stream);
    end.record(stream);
    cuda::check(cudaStreamSynchronize(stream), "running kernels");
    if (i >= 10) times_ms.push_back(end.us_since(begin) / 1000);
  }
  return to_json(statistics_of(times_ms));
}

}  // namespace

nlohmann::json measure_frame_kernels(const PictureOptions& options, int num_replays) {
  constexpr int kSide = 640;
  constexpr std::int32_t kBoxes = 8400;
  constexpr std::int32_t kClasses = 80;
  const cuda::Stream stream;
  const Image image = made_picture(options.width_px, options.height_px, 1);
  const auto pixels = uploaded(image.pixels.data(), image.pixels.size());
  const Placement placed = letterbox(image.width_px, image.height_px, kSide, kSide);
  kernels::PicturePlacement placement;
  placement.pixels = reinterpret_cast<const std::uint8_t*>(pixels.data());
  placement.step_y_bytes = std::int64_t{3} * image.width_px;
  placement.source_width_px = placed.source_width_px;
  placement.source_height_px = placed.source_height_px;
  placement.scaled_width_px = placed.scaled_width_px;
  placement.scaled_height_px = placed.scaled_height_px;
  placement.offset_x_px = placed.offset_x_px;
  placement.offset_y_px = placed.offset_y_px;
  const auto device_placement = uploaded(&placement, sizeof(placement));
  const auto* placements = reinterpret_cast<const kernels::PicturePlacement*>(device_placement.data());
  std::vector<float> values(3 * 256);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 256) / 255.0F;
  const auto device_values = uploaded(values.data(), values.size() * sizeof(float));
  const cuda::DeviceMemory canvas(std::size_t{3} * kSide * kSide * sizeof(float));
  kernels::PictureTensor tensor;
  tensor.out = canvas.data();
  tensor.width_px = tensor.height_px = kSide;
  tensor.values = reinterpret_cast<const float*>(device_values.data());
  const kernels::DetectionThresholds thresholds;
  const auto device_thresholds = uploaded(&thresholds, sizeof(thresholds));
  const cuda::DeviceMemory scratch(kernels::detection_scratch_bytes(kBoxes));
  const cuda::DeviceMemory result(sizeof(kernels::KeptBoxes));
  nlohmann::json report = nlohmann::json::array();
  for (const double share : {0.01, 0.05, 0.3}) {
    const std::vector<float> raw = made_output(kBoxes, kClasses, share);
    const auto device_raw = uploaded(raw.data(), raw.size() * sizeof(float));
    kernels::DetectionWork work;
    work.raw = device_raw.data();
    work.num_boxes = kBoxes;
    work.num_classes = kClasses;
    work.thresholds = reinterpret_cast<const kernels::DetectionThresholds*>(device_thresholds.data());
    work.scratch = scratch.data();
    work.result = reinterpret_cast<kernels::KeptBoxes*>(result.data());
    const auto place = [&] { kernels::launch_place_picture(tensor, placements, stream.get()); };
    const auto detect = [&] { kernels::launch_detect(work, stream.get()); };
    nlohmann::json row{{"frame", fmt::format("{} x {}", image.width_px, image.height_px)}};
    row["place_ms"] = timed(stream.get(), num_replays, place);
    row["detect_ms"] = timed(stream.get(), num_replays, detect);
    row["both_ms"] = timed(stream.get(), num_replays, [&] {
      place();
      detect();
    });
    kernels::KeptBoxes found;
    cuda::check(cudaMemcpy(&found, result.data(), sizeof(found), cudaMemcpyDeviceToHost), "copying boxes");
    row["num_candidates"] = found.num_candidates;
    row["num_boxes"] = found.count;
    report.push_back(row);
  }
  return report;
}

nlohmann::json measure_pictures(const Prepared& prepared, const PictureOptions& options) {
  return Bench(prepared, options).run();
}

void print_frame_kernels(const nlohmann::json& report) {
  for (const nlohmann::json& row : report) {
    const auto p50 = [&](const char* what) { return row[what]["p50"].get<double>(); };
    std::cout << fmt::format(
        "    letterbox + head + NMS, {} float32, {} candidates, {} boxes: {:.4f} ms (letterbox {:.4f}, head + NMS "
        "{:.4f})\n",
        row["frame"].get<std::string>(), row["num_candidates"].get<int>(), row["num_boxes"].get<int>(), p50("both_ms"),
        p50("place_ms"), p50("detect_ms"));
  }
}

void print_pictures(const nlohmann::json& report) {
  std::cout << fmt::format("    JPEG of {} x {}, {:.0f} kB, to boxes, batch {}; {} boxes above {}; {}\n",
                           report["width_px"].get<int>(), report["height_px"].get<int>(),
                           report["file_kb"].get<double>(), report["batch"].get<int>(), report["num_boxes"].get<int>(),
                           report["score_threshold"].get<double>(), report["verified"].get<std::string>());
  const auto print = [&](const nlohmann::json& row) {
    const std::string name = row["decoder"].get<std::string>();
    if (!row.contains("ms")) {
      std::cout << fmt::format("    {:<9} none: {}\n", name, row.value("reason", ""));
      return;
    }
    const double p50 = row["ms"]["p50"].get<double>();
    const double p99 = row["ms"]["p99"].get<double>();
    std::cout << fmt::format("    {:<9} p50 {:.3f} ms, p99 {:.3f} ({:.2f}x), graph {:.3f}, giving {:.3f}", name, p50,
                             p99, p99 / p50, row["graph_ms"]["p50"].get<double>(),
                             row["giving_ms"]["p50"].get<double>());
    if (row.contains("per_s")) {
      const double one = row["one_by_one_per_s"].get<double>();
      const double many = row["streams_per_s"].get<double>();
      std::cout << fmt::format("; {:.0f}/s one by one, {:.0f}/s in a row; {} streams {:.0f}/s ({:.2f}x); {}", one,
                               row["per_s"].get<double>(), row["streams"].get<int>(), many, many / one,
                               row["pipeline"].dump());
    }
    std::cout << '\n';
  };
  for (const nlohmann::json& row : report["files"]) print(row);
  print(report["host"]);
  std::cout << fmt::format("    pixels    p50 {:.3f} ms, p99 {:.3f}\n", report["pixels"]["ms"]["p50"].get<double>(),
                           report["pixels"]["ms"]["p99"].get<double>());
}

}  // namespace pajamas::gpu_bench
