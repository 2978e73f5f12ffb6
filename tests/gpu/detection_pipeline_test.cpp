// From picture bytes to boxes on the GPU against the host's way through the same engine: equal to the last bit for the
// same pixels; files of every kind, turned, damaged and odd; limits that change; runs side by side; memory.
#include <gmock/gmock.h>

#include <cmath>
#include <cstring>
#include <random>
#include <thread>

#include "gpu/run_on_gpu.h"
#include "graph/graph_builder.h"
#include "media/codecs.h"
#include "media/jpeg_header.h"
#include "pajamas/error.h"
#include "targets/cuda/runtime/cuda_detection_pipeline.h"
#include "tasks/detection_runner.h"

namespace pajamas {
namespace {

using test::build_on_gpu;
using test::lowered_for_gpu;
using test::random_tensor;
using testing::HasSubstr;

constexpr int kSide = 64;
constexpr std::int64_t kClasses = 3;
constexpr std::int64_t kRows = 4 + kClasses;
constexpr std::int64_t kBoxes = 256;

/// A detector in the form of YOLOv8's outputs that looks at every pixel: [batch, 3, 64, 64] to [batch, 7, 256].
Model detector_model(const Dimension& batch) {
  GraphBuilder graph("detector");
  const auto x = graph.input("images", DType::kFloat32,
                             {batch, Dimension::known(3), Dimension::known(kSide), Dimension::known(kSide)});
  const auto weight = graph.weight("w", random_tensor(DType::kFloat32, {kRows, 3, 4, 4}, 21));
  const auto bias = graph.weight("b", random_tensor(DType::kFloat32, {kRows}, 22));
  const auto map =
      graph.node("Conv", {x, weight, bias},
                 {{"kernel_shape", std::vector<std::int64_t>{4, 4}}, {"strides", std::vector<std::int64_t>{4, 4}}});
  const std::int64_t shape[] = {0, kRows, kBoxes};
  const auto rows = graph.node(
      "Reshape",
      {map, graph.weight("shape", Tensor::of<std::int64_t>(Shape{3}, std::span<const std::int64_t>(shape)))});
  const float scales[kRows] = {64, 64, 30, 30, 1, 1, 1};
  const auto y = graph.node(
      "Mul", {graph.node("Sigmoid", {rows}),
              graph.weight("scales", Tensor::of<float>(Shape{1, kRows, 1}, std::span<const float>(scales)))});
  graph.output("out", y, DType::kFloat32, {batch, Dimension::known(kRows), Dimension::known(kBoxes)});
  return graph.build();
}

std::shared_ptr<const cuda::CudaEngine> open_batch_engine(Precision precision = Precision::kFp32) {
  return build_on_gpu(lowered_for_gpu(detector_model(Dimension::named("batch")), precision), precision,
                      {{"images", {1, 3, kSide, kSide}, {2, 3, kSide, kSide}, {4, 3, kSide, kSide}}})
      .engine;
}

DetectionFacts facts() {
  DetectionFacts facts;
  facts.head = DetectionHead::kYoloV8;
  facts.image.input = "images";
  facts.image.width_px = kSide;
  facts.image.height_px = kSide;
  facts.image.resize = ImageInput::Resize::kLetterbox;
  facts.image.mean = {0.4, 0.5, 0.6};
  facts.image.std = {0.2, 0.25, 0.3};
  facts.num_classes = kClasses;
  facts.boxes_output = "out";
  facts.score_threshold = 0.4;
  return facts;
}

Image random_picture(int width, int height, unsigned seed) {
  std::mt19937 random(seed);
  Image image{width, height, std::vector<std::uint8_t>(static_cast<std::size_t>(width) * height * 3)};
  for (std::uint8_t& level : image.pixels) level = static_cast<std::uint8_t>(random());
  return image;
}

/// As photographs are: what decoders round differently stays small.
Image smooth_picture(int width, int height, unsigned seed) {
  Image image{width, height, std::vector<std::uint8_t>(static_cast<std::size_t>(width) * height * 3)};
  const double phase = seed;
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (int c = 0; c < 3; ++c) {
        const double level =
            128 + 70 * std::sin(x * 0.031 + phase + c) + 50 * std::cos(y * 0.023 - phase * 0.5 + 2 * c);
        image.pixels[(static_cast<std::size_t>(y) * width + x) * 3 + c] =
            static_cast<std::uint8_t>(std::clamp(level, 0.0, 255.0));
      }
    }
  }
  return image;
}

/// A JPEG with an EXIF block that holds nothing but the orientation.
std::vector<std::byte> turned_jpeg(const Image& image, int orientation, int quality = 95) {
  std::vector<std::byte> bytes = encode_jpeg(image, quality);
  const unsigned char segment[] = {0xFF, 0xE1, 0, 34, 'E', 'x', 'i', 'f', 0, 0,
                                   'M',  'M',  0, 42, 0,   0,   0,   8,   0, 1,
                                   1,    18,   0, 3,  0,   0,   0,   1,   0, static_cast<unsigned char>(orientation),
                                   0,    0,    0, 0,  0,   0};
  const auto* begin = reinterpret_cast<const std::byte*>(segment);
  bytes.insert(bytes.begin() + 20, begin, begin + sizeof(segment));  // Behind the JFIF segment.
  return bytes;
}

void expect_equal(const std::vector<DetectionResult>& actual, const std::vector<DetectionResult>& expected,
                  const std::string& what) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    ASSERT_EQ(actual[i].detections.size(), expected[i].detections.size()) << what << ", picture " << i;
    for (std::size_t k = 0; k < actual[i].detections.size(); ++k) {
      const Detection& a = actual[i].detections[k];
      const Detection& e = expected[i].detections[k];
      EXPECT_EQ(a.score, e.score) << what << ", picture " << i << ", box " << k;
      EXPECT_EQ(a.class_index, e.class_index) << what << ", picture " << i;
      EXPECT_EQ(a.box.x1, e.box.x1) << what << ", picture " << i;
      EXPECT_EQ(a.box.y1, e.box.y1) << what << ", picture " << i;
      EXPECT_EQ(a.box.x2, e.box.x2) << what << ", picture " << i;
      EXPECT_EQ(a.box.y2, e.box.y2) << what << ", picture " << i;
    }
  }
}

std::vector<std::span<const std::byte>> spans(const std::vector<std::vector<std::byte>>& files) {
  return {files.begin(), files.end()};
}

/// The backends that this GPU and its nvJPEG have; empty where there is no nvJPEG, with the reason printed.
std::vector<std::shared_ptr<const cuda::JpegService>> jpeg_services() {
  std::vector<std::shared_ptr<const cuda::JpegService>> services;
  for (const auto backend : {cuda::JpegBackend::kHardware, cuda::JpegBackend::kCuda, cuda::JpegBackend::kHybrid}) {
    try {
      services.push_back(cuda::JpegService::of(backend));
    } catch (const Error& error) {
      std::cout << "no JPEG decoder '" << cuda::to_string(backend) << "': " << error.message() << '\n';
    }
  }
  return services;
}

/// The stored picture as nvJPEG decodes it; empty where it refuses.
Image decoded_on_gpu(const std::shared_ptr<const cuda::JpegService>& service, std::span<const std::byte> jpeg) {
  const auto header = read_jpeg_header(jpeg);
  const std::size_t row = static_cast<std::size_t>(header->width_px) * 3;
  const std::size_t pitch = (row + 511) / 256 * 256;  // As the pipeline's, and a little apart.
  const cuda::DeviceMemory memory(pitch * static_cast<std::size_t>(header->height_px));
  cuda::JpegDecoder decoder(service);
  if (!decoder.decode(jpeg, memory.data(), pitch, nullptr)) {
    std::cout << "refused by '" << cuda::to_string(service->backend()) << "': " << decoder.last_refusal() << '\n';
    return {};
  }
  Image image{header->width_px, header->height_px, {}};
  image.pixels.resize(row * static_cast<std::size_t>(header->height_px));
  cuda::check(cudaDeviceSynchronize(), "decoding");
  cuda::check(cudaMemcpy2D(image.pixels.data(), row, memory.data(), pitch, row,
                           static_cast<std::size_t>(header->height_px), cudaMemcpyDeviceToHost),
              "copying a picture");
  return image;
}

TEST(JpegDecoderOnGpu, gives_the_pixels_of_the_host_but_for_rounding) {
  PAJAMAS_NEED_GPU();
  const auto services = jpeg_services();
  if (services.empty()) GTEST_SKIP() << "nvJPEG is not installed";
  for (const auto& service : services) {
    std::cout << "decoder '" << cuda::to_string(service->backend()) << "', nvJPEG " << service->library().version
              << ", flags " << service->flags() << '\n';
    for (const auto& [width, height] : {std::pair{1280, 720}, {427, 641}, {65, 1000}, {64, 64}}) {
      for (const int quality : {95, 80}) {
        const std::vector<std::byte> jpeg = encode_jpeg(smooth_picture(width, height, 3), quality);
        const Image expected = decode_image(jpeg);
        const Image actual = decoded_on_gpu(service, jpeg);
        ASSERT_EQ(actual.pixels.size(), expected.pixels.size())
            << cuda::to_string(service->backend()) << " took no picture of " << width << " x " << height;
        double sum = 0;
        int largest = 0;
        for (std::size_t i = 0; i < expected.pixels.size(); ++i) {
          const int difference = std::abs(int{actual.pixels[i]} - int{expected.pixels[i]});
          sum += difference;
          largest = std::max(largest, difference);
        }
        const double mean = sum / static_cast<double>(expected.pixels.size());
        std::cout << "  " << width << " x " << height << (quality >= 90 ? " 4:4:4" : " 4:2:0") << ": levels differ by "
                  << mean << " on average, " << largest << " at most\n";
        EXPECT_LE(mean, 1.0);
        EXPECT_LE(largest, 12);
      }
    }
  }
}

class DetectionPipelineOnGpu : public testing::TestWithParam<Precision> {};

TEST_P(DetectionPipelineOnGpu, gives_the_boxes_of_the_host_for_pictures_of_any_size) {
  PAJAMAS_NEED_GPU();
  const auto engine = open_batch_engine(GetParam());
  std::vector<Image> images;
  unsigned seed = 0;
  for (const auto& [width, height] :
       {std::pair{1, 1}, {17, 1000}, {1280, 720}, {64, 64}, {333, 77}, {5, 3}, {1000, 1}, {2000, 1500}}) {
    images.push_back(random_picture(width, height, ++seed));
  }
  for (const std::size_t max_batch : {1U, 2U, 4U}) {
    DetectionRunner on_gpu(facts(), engine, {}, max_batch);
    ASSERT_EQ(on_gpu.describe()["pictures"], "device") << on_gpu.describe().dump();
    DetectionRunner on_host(facts(), engine, {}, max_batch, DetectionPath::kHost);
    const auto expected = on_host.detect(images);
    for (int run = 0; run < 3; ++run) {
      expect_equal(on_gpu.detect(images), expected, "batch " + std::to_string(max_batch));
    }
    std::size_t num_boxes = 0;
    for (const DetectionResult& result : expected) num_boxes += result.detections.size();
    EXPECT_GT(num_boxes, images.size());
  }
  // A number of pictures that is no power of two runs padded.
  DetectionRunner padded(facts(), engine, {}, 4);
  EXPECT_EQ(padded.detect(std::span(images).first(3)).size(), 3U);
  expect_equal(padded.detect(std::span(images).first(4)),
               DetectionRunner(facts(), engine, {}, 4, DetectionPath::kHost).detect(std::span(images).first(4)), "4");
}

INSTANTIATE_TEST_SUITE_P(Precisions, DetectionPipelineOnGpu, testing::Values(Precision::kFp32, Precision::kFp16),
                         [](const auto& test_case) { return std::string(to_string(test_case.param)); });

TEST(DetectionPipelineFiles, fill_a_fixed_batch) {
  PAJAMAS_NEED_GPU();
  const auto engine =
      build_on_gpu(lowered_for_gpu(detector_model(Dimension::known(3)), Precision::kFp32), Precision::kFp32).engine;
  std::vector<Image> images;
  for (unsigned i = 0; i < 5; ++i) images.push_back(random_picture(30 + 7 * static_cast<int>(i), 50, i));
  DetectionRunner on_gpu(facts(), engine, {});
  ASSERT_EQ(on_gpu.describe()["max_batch"], 3);
  expect_equal(on_gpu.detect(images), DetectionRunner(facts(), engine, {}, 0, DetectionPath::kHost).detect(images),
               "fixed batch");
}

TEST(DetectionPipelineFiles, are_decoded_on_the_gpu_or_the_host_and_turned) {
  PAJAMAS_NEED_GPU();
  const auto engine = open_batch_engine();
  std::vector<std::vector<std::byte>> files;
  for (int orientation = 1; orientation <= 8; ++orientation) {
    files.push_back(turned_jpeg(smooth_picture(300, 200, static_cast<unsigned>(orientation)), orientation,
                                orientation % 2 == 0 ? 95 : 80));
  }
  files.push_back(encode_jpeg(random_picture(17, 1000, 1), 95));  // Too narrow for the GPU's decoders.
  files.push_back(encode_png(random_picture(100, 75, 2)));
  files.push_back(encode_bmp(random_picture(33, 77, 3)));
  files.push_back(encode_webp(random_picture(64, 65, 4)));
  DetectionRunner on_gpu(facts(), engine, {}, 1);
  const auto actual = on_gpu.detect_encoded(spans(files));
  const nlohmann::json description = on_gpu.describe();
  std::cout << description.dump() << '\n';
  // The same pixels by the host's way.
  std::vector<Image> images;
  const bool has_jpeg = description["jpeg_decoder"] != "host";
  for (const auto& file : files) {
    const auto header = read_jpeg_header(file);
    Image image;
    if (has_jpeg && header && cuda::JpegDecoder::takes(header->width_px, header->height_px)) {
      image = oriented(decoded_on_gpu(cuda::JpegService::best(), file), header->exif_orientation);
    }
    images.push_back(image.is_empty() ? decode_image(file) : image);
  }
  expect_equal(actual, DetectionRunner(facts(), engine, {}, 1, DetectionPath::kHost).detect(images), "files");
  if (has_jpeg) {
    EXPECT_EQ(description["pictures_decoded_on_device"], 8);
    EXPECT_EQ(description["pictures_given_as_pixels"], 4);
  }
}

TEST(DetectionPipelineFiles, that_are_damaged_are_named_and_the_pipeline_goes_on) {
  PAJAMAS_NEED_GPU();
  const auto engine = open_batch_engine();
  DetectionRunner on_gpu(facts(), engine, {}, 2);
  DetectionRunner on_host(facts(), engine, {}, 2, DetectionPath::kHost);
  std::vector<std::vector<std::byte>> files;
  for (unsigned i = 0; i < 6; ++i) files.push_back(encode_jpeg(smooth_picture(320, 240, i), 85));
  const auto expected = on_gpu.detect_encoded(spans(files));
  const std::vector<std::byte> whole = files[3];
  const auto error_of = [&](DetectionRunner& runner) {
    try {
      runner.detect_encoded(spans(files));
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
      return std::string(error.what());
    }
    return std::string("no error");
  };
  for (const std::size_t size : {std::size_t{0}, std::size_t{10}, whole.size() / 3, whole.size() - 2}) {
    files[3].assign(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_THAT(error_of(on_gpu), HasSubstr("picture 4 of 6")) << size;
    EXPECT_EQ(error_of(on_gpu), error_of(on_host)) << size;
  }
  // Damage within the data may go unnoticed, as a picture of other pixels; it must not spread to other pictures.
  std::mt19937 random(5);
  for (int round = 0; round < 30; ++round) {
    files[3] = whole;
    for (int i = 0; i < 4; ++i)
      files[3][whole.size() / 2 + random() % (whole.size() / 2)] = std::byte(random() & 0xFFU);
    try {
      auto results = on_gpu.detect_encoded(spans(files));
      results[3] = expected[3];
      expect_equal(results, expected, "beside a damaged picture");
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kBadInput) << error.what();
    }
  }
  files[3] = whole;
  expect_equal(on_gpu.detect_encoded(spans(files)), expected, "after damaged pictures");
}

/// What the task layer asks for, to drive a pipeline by hand.
DetectionPipelineRequest request_of(const cuda::CudaEngine& engine, std::size_t max_batch) {
  return std::get<DetectionPipelineRequest>(pipeline_request(facts(), resolve_options({}, facts()), engine, max_batch));
}

Placement placement_of(const Image& image) { return letterbox(image.width_px, image.height_px, kSide, kSide); }

TEST(DetectionPipelineRuns, report_scores_that_are_no_numbers_and_recover) {
  PAJAMAS_NEED_GPU();
  const auto engine = open_batch_engine();
  DetectionPipelineRequest request = request_of(*engine, 2);
  request.picture.values[255] = std::nanf("");  // A red of 255 poisons what it touches.
  const auto pipeline = engine->new_detection_pipeline(request);
  ASSERT_TRUE(pipeline);
  Image clean = random_picture(64, 64, 1);
  for (std::uint8_t& level : clean.pixels) level = std::min<std::uint8_t>(level, 254);
  Image poisoned = clean;
  poisoned.pixels[3 * 1000] = 255;
  for (int round = 0; round < 3; ++round) {
    pipeline->give_pixels(0, 0, clean.pixels, placement_of(clean));
    pipeline->give_pixels(0, 1, poisoned.pixels, placement_of(poisoned));
    pipeline->start(0, 2, {});
    const PipelineRun run = pipeline->wait(0);
    ASSERT_EQ(run.pictures.size(), 2U);
    EXPECT_FALSE(run.pictures[0].is_doubtful);
    EXPECT_TRUE(run.pictures[1].is_doubtful);
    EXPECT_GT(run.device.count(), 0);
  }
}

TEST(DetectionPipelineRuns, take_other_limits_each_time_and_two_at_once) {
  PAJAMAS_NEED_GPU();
  const auto engine = open_batch_engine();
  const auto pipeline = engine->new_detection_pipeline(request_of(*engine, 1));
  ASSERT_TRUE(pipeline);
  const Image images[2] = {random_picture(64, 64, 1), random_picture(640, 480, 2)};
  std::vector<DetectionLimits> all(5);
  all[1].score_threshold = 0.7F;
  all[2].max_boxes = 3;
  all[3].is_suppressed = false;
  all[3].score_threshold = 0.0F;
  all[3].max_boxes = kMaxPipelineBoxes;
  all[4].is_class_agnostic = true;
  all[4].iou_threshold = 0.1F;
  for (std::size_t i = 0; i < all.size(); ++i) {
    for (std::size_t lane = 0; lane < 2; ++lane) {
      pipeline->give_pixels(lane, 0, images[lane].pixels, placement_of(images[lane]));
      pipeline->start(lane, 1, all[(i + lane) % all.size()]);
    }
    for (std::size_t lane = 0; lane < 2; ++lane) {
      const DetectionLimits& limits = all[(i + lane) % all.size()];
      DetectorOptions options;
      options.score_threshold = limits.score_threshold;
      options.iou_threshold = limits.iou_threshold;
      options.max_detections = static_cast<int>(limits.max_boxes);
      options.is_nms_class_agnostic = limits.is_class_agnostic;
      const PipelineRun run = pipeline->wait(lane);
      if (!limits.is_suppressed) {
        EXPECT_EQ(run.pictures[0].boxes.size(), static_cast<std::size_t>(kBoxes));
        continue;
      }
      DetectionRunner on_host(facts(), engine, options, 1, DetectionPath::kHost);
      const auto expected = on_host.detect({&images[lane], 1});
      DetectionResult actual;
      actual.detections = place_detections(run.pictures[0].boxes, placement_of(images[lane]), facts());
      expect_equal({actual}, expected, "limits " + std::to_string(i) + ", lane " + std::to_string(lane));
    }
  }
}

TEST(DetectionPipelineRuns, refuse_misuse) {
  PAJAMAS_NEED_GPU();
  const auto engine = open_batch_engine();
  const auto pipeline = engine->new_detection_pipeline(request_of(*engine, 1));
  const Image image = random_picture(64, 64, 1);
  EXPECT_THROW(pipeline->wait(0), Error);
  EXPECT_THROW(pipeline->give_pixels(0, 1, image.pixels, placement_of(image)), Error);
  EXPECT_THROW(pipeline->give_pixels(0, 0, std::span(image.pixels).first(5), placement_of(image)), Error);
  pipeline->give_pixels(0, 0, image.pixels, placement_of(image));
  pipeline->start(0, 1, {});
  EXPECT_THROW(pipeline->start(0, 1, {}), Error);
  EXPECT_THROW(pipeline->give_pixels(0, 0, image.pixels, placement_of(image)), Error);
  EXPECT_EQ(pipeline->wait(0).pictures.size(), 1U);
}

TEST(DetectionPipelineRuns, refuse_outputs_that_do_not_fit) {
  PAJAMAS_NEED_GPU();
  const auto engine = open_batch_engine();
  DetectionPipelineRequest request = request_of(*engine, 1);
  request.num_classes = 5;
  EXPECT_FALSE(engine->new_detection_pipeline(request));
  request = request_of(*engine, 1);
  request.rows = BoxRows::kYoloEndToEnd;
  EXPECT_FALSE(engine->new_detection_pipeline(request));
  request = request_of(*engine, 1);
  request.picture.width_px = 128;
  EXPECT_FALSE(engine->new_detection_pipeline(request));
  request = request_of(*engine, 1);
  request.picture.is_nhwc = true;
  EXPECT_FALSE(engine->new_detection_pipeline(request));
}

TEST(DetectionPipelineRuns, share_an_engine_between_threads) {
  PAJAMAS_NEED_GPU();
  const auto engine = open_batch_engine();
  std::vector<std::vector<std::byte>> files;
  for (unsigned i = 0; i < 4; ++i) files.push_back(encode_jpeg(smooth_picture(640, 480, i), 85));
  for (unsigned i = 0; i < 4; ++i) files.push_back(encode_png(random_picture(80, 60, i)));
  const auto expected = DetectionRunner(facts(), engine, {}, 1).detect_encoded(spans(files));
  std::vector<std::vector<DetectionResult>> results(8);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < results.size(); ++i) {
    threads.emplace_back([&, i] {
      DetectionRunner runner(facts(), engine, {}, 1);
      for (int run = 0; run < 10; ++run) results[i] = runner.detect_encoded(spans(files));
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& result : results) expect_equal(result, expected, "thread");
}

TEST(DetectionPipelineRuns, need_no_more_memory_from_run_to_run) {
  PAJAMAS_NEED_GPU();
  const auto engine = open_batch_engine();
  const auto free_bytes = [] {
    std::size_t free = 0;
    std::size_t total = 0;
    cuda::check(cudaMemGetInfo(&free, &total), "asking for free GPU memory");
    return static_cast<double>(free);
  };
  std::vector<std::vector<std::byte>> files;
  for (unsigned i = 0; i < 4; ++i)
    files.push_back(encode_jpeg(smooth_picture(640 - 40 * static_cast<int>(i), 480, i), 85));
  DetectionRunner runner(facts(), engine, {}, 2);
  for (int i = 0; i < 20; ++i) runner.detect_encoded(spans(files));
  const double before = free_bytes();
  for (int i = 0; i < 500; ++i) runner.detect_encoded(spans(files));
  EXPECT_LE(before - free_bytes(), 16e6);
  for (int i = 0; i < 20; ++i) DetectionRunner(facts(), engine, {}, 2).detect_encoded(spans(files));
  EXPECT_LE(before - free_bytes(), 16e6);
}

}  // namespace
}  // namespace pajamas
