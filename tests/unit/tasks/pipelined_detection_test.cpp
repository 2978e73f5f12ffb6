// Tests of detection through an engine's own pipeline, by a pipeline on the host: the same results as over the host's
// way to the last bit, runs that overlap, files of every kind, faults in the middle, and what does not fit.
#include "tasks/pipelined_detection.h"
#include "support/thrown_by.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>

#include "base/files.h"
#include "host_pipeline.h"
#include "media/codecs.h"
#include "pajamas/error.h"
#include "tasks/detection_runner.h"

namespace pajamas {
namespace {

using test::HostPipelineState;
using test::known;
using test::tensor_info;
using test::thrown_by;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int kSide = 48;

DetectionFacts facts() {
  DetectionFacts facts;
  facts.head = DetectionHead::kYoloV8;
  facts.image.input = "images";
  facts.image.width_px = kSide;
  facts.image.height_px = kSide;
  facts.image.resize = ImageInput::Resize::kLetterbox;
  facts.image.mean = {0.4, 0.5, 0.6};
  facts.image.std = {0.2, 0.25, 0.3};
  facts.num_classes = 2;
  facts.boxes_output = "out";
  return facts;
}

/// Boxes whose scores are sums over the whole canvas, so that any other pixel gives another score.
std::vector<Tensor> summing(const std::vector<Tensor>& inputs) {
  constexpr std::int64_t kBoxes = 5;
  const std::int64_t batch = inputs[0].shape()[0];
  Tensor out(DType::kFloat32, Shape{batch, 6, kBoxes});
  const std::size_t size = 3 * kSide * kSide;
  for (std::int64_t b = 0; b < batch; ++b) {
    const auto picture = inputs[0].as<float>().subspan(static_cast<std::size_t>(b) * size, size);
    for (std::int64_t k = 0; k < kBoxes; ++k) {
      double sum = 0;
      for (std::size_t i = 0; i < size; ++i) sum += picture[i] * static_cast<double>((i * (7 + k)) % 31);
      const auto level = static_cast<float>(0.3 + 0.7 * std::abs(sum / 37.0 - std::floor(sum / 37.0)));
      const float column[6] = {
          10.0F + 6.0F * static_cast<float>(k), 20, 9, 12, k % 2 == 0 ? level : 0.1F, k % 2 == 0 ? 0.1F : level};
      for (std::int64_t row = 0; row < 6; ++row) {
        out.mutable_as<float>()[static_cast<std::size_t>((b * 6 + row) * kBoxes + k)] = column[row];
      }
    }
  }
  return {out};
}

struct Fixture {
  explicit Fixture(std::size_t max_batch = 1, DetectionFacts given = facts(), test::FakeFunction function = summing)
      : state(std::make_shared<HostPipelineState>()), task(std::move(given)) {
    state->max_batch = max_batch;
    state->facts = task;
    engine = std::make_shared<test::PipelineEngine>(std::vector{tensor_info("images", known({-1, 3, kSide, kSide}))},
                                                    std::vector{tensor_info("out", known({-1, 6, 5}))},
                                                    std::move(function), state);
  }
  DetectionRunner runner(const DetectorOptions& options = {}, DetectionPath path = DetectionPath::kBest) const {
    return {task, engine, options, state->max_batch, path};
  }
  std::shared_ptr<HostPipelineState> state;
  DetectionFacts task;
  std::shared_ptr<const Engine> engine;
};

Image random_picture(int width, int height, unsigned seed) {
  std::mt19937 random(seed);
  Image image{width, height, std::vector<std::uint8_t>(static_cast<std::size_t>(width) * height * 3)};
  for (std::uint8_t& level : image.pixels) level = static_cast<std::uint8_t>(random());
  return image;
}

std::vector<std::byte> file(const std::string& name) {
  const std::string text = read_file(std::filesystem::path(PAJAMAS_TEST_DATA) / "media" / name);
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

std::vector<std::span<const std::byte>> spans(const std::vector<std::vector<std::byte>>& files) {
  return {files.begin(), files.end()};
}

void expect_equal(const std::vector<DetectionResult>& actual, const std::vector<DetectionResult>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) {
    ASSERT_EQ(actual[i].detections.size(), expected[i].detections.size()) << "picture " << i;
    for (std::size_t k = 0; k < actual[i].detections.size(); ++k) {
      const Detection& a = actual[i].detections[k];
      const Detection& e = expected[i].detections[k];
      EXPECT_EQ(a.score, e.score) << "picture " << i;
      EXPECT_EQ(a.class_index, e.class_index);
      EXPECT_EQ(a.label, e.label);
      EXPECT_EQ(a.box.x1, e.box.x1);
      EXPECT_EQ(a.box.y1, e.box.y1);
      EXPECT_EQ(a.box.x2, e.box.x2);
      EXPECT_EQ(a.box.y2, e.box.y2);
    }
  }
}

TEST(PipelinedDetection, GivesThePicturesAndBoxesOfTheHost) {
  std::vector<Image> images;
  unsigned seed = 0;
  for (const auto& [width, height] :
       {std::pair{1, 1}, {17, 1000}, {1000, 1}, {48, 48}, {333, 77}, {20, 31}, {96, 96}}) {
    images.push_back(random_picture(width, height, ++seed));
  }
  using Resize = ImageInput::Resize;
  for (const Resize resize : {Resize::kLetterbox, Resize::kLetterboxTopLeft, Resize::kStretch, Resize::kShortestEdge}) {
    DetectionFacts task = facts();
    task.image.resize = resize;
    task.image.resize_px = 60;
    task.image.is_bgr = resize == Resize::kStretch;
    for (const std::size_t max_batch : {1U, 3U}) {
      const Fixture fixture(max_batch, task);
      auto on_device = fixture.runner();
      EXPECT_EQ(on_device.describe()["pictures"], "device");
      const auto actual = on_device.detect(images);
      EXPECT_FALSE(fixture.state->inputs.empty());
      expect_equal(actual, fixture.runner({}, DetectionPath::kHost).detect(images));
    }
  }
}

TEST(PipelinedDetection, TakesFilesOfEveryKindAndTurn) {
  std::vector<std::vector<std::byte>> files;
  for (int i = 1; i <= 8; ++i) files.push_back(file("exif_" + std::to_string(i) + ".jpg"));
  for (const char* name : {"grey.jpg", "progressive.jpg", "cmyk.jpg", "rgb_420.jpg", "rgba.png", "exif_6.png",
                           "lossy.webp", "palette.bmp", "one_pixel.png", "grey16.png"}) {
    files.push_back(file(name));
  }
  files.push_back(encode_jpeg(random_picture(17, 1000, 9), 80));
  for (const bool decodes_jpeg : {true, false}) {
    for (const bool refuses_jpeg : {true, false}) {
      const Fixture fixture(2);
      fixture.state->decodes_jpeg = decodes_jpeg;
      fixture.state->refuses_jpeg = refuses_jpeg;
      auto runner = fixture.runner();
      expect_equal(runner.detect_encoded(spans(files)),
                   fixture.runner({}, DetectionPath::kHost).detect_encoded(spans(files)));
      const auto num_jpegs = std::count_if(fixture.state->events.begin(), fixture.state->events.end(),
                                           [](const std::string& event) { return event.starts_with("jpeg"); });
      EXPECT_EQ(num_jpegs, decodes_jpeg && !refuses_jpeg ? 10 : 0);
    }
  }
}

TEST(PipelinedDetection, GivesTheNextPicturesWhileARunIsUnderWay) {
  const Fixture fixture(2);
  std::vector<Image> images;
  for (unsigned i = 0; i < 7; ++i) images.push_back(random_picture(10 + static_cast<int>(i), 20, i));
  auto runner = fixture.runner();
  expect_equal(runner.detect(images), fixture.runner({}, DetectionPath::kHost).detect(images));
  EXPECT_THAT(fixture.state->events, ElementsAre("pixels 0.0", "pixels 0.1", "start 0 2", "pixels 1.0", "pixels 1.1",
                                                 "start 1 2", "wait 0", "pixels 0.0", "pixels 0.1", "start 0 2",
                                                 "wait 1", "pixels 1.0", "start 1 1", "wait 0", "wait 1"));
  EXPECT_TRUE(runner.detect(std::span<const Image>()).empty());
  EXPECT_TRUE(runner.detect_encoded({}).empty());
}

TEST(PipelinedDetection, NamesTheDamagedPictureAndGoesOn) {
  const Fixture fixture;
  std::vector<std::vector<std::byte>> files;
  for (unsigned i = 0; i < 4; ++i) files.push_back(encode_jpeg(random_picture(80, 90, i), 90));
  auto on_host = fixture.runner({}, DetectionPath::kHost);
  const auto expected = on_host.detect_encoded(spans(files));
  auto runner = fixture.runner();
  const std::vector<std::byte> whole = files[2];
  const auto expect_same_error = [&](const char* text) {
    const Error actual = thrown_by([&] { runner.detect_encoded(spans(files)); });
    EXPECT_EQ(actual.kind(), ErrorKind::kBadInput);
    EXPECT_STREQ(actual.what(), thrown_by([&] { on_host.detect_encoded(spans(files)); }).what());
    EXPECT_THAT(actual.what(), HasSubstr("picture 3 of 4"));
    EXPECT_THAT(actual.what(), HasSubstr(text));
    const std::vector<std::span<const std::byte>> damaged{files[2]};
    const Error alone = thrown_by([&] { runner.detect_encoded(damaged); });
    EXPECT_STREQ(alone.what(), thrown_by([&] { on_host.detect_encoded(damaged); }).what());
  };
  files[2].resize(whole.size() / 2);
  expect_same_error("damaged");
  files[2].assign(20, std::byte{0x41});
  expect_same_error("not a picture");
  files[2].clear();
  expect_same_error("empty");
  files[2] = whole;
  expect_equal(runner.detect_encoded(spans(files)), expected);
}

TEST(PipelinedDetection, GoesOnAfterTheDeviceFailed) {
  const Fixture fixture;
  const std::vector<Image> images(3, random_picture(30, 20, 1));
  auto runner = fixture.runner();
  fixture.state->num_failing_starts = 1;
  EXPECT_THAT(thrown_by([&] { runner.detect(images); }).what(), HasSubstr("fell over"));
  expect_equal(runner.detect(images), fixture.runner({}, DetectionPath::kHost).detect(images));
}

TEST(PipelinedDetection, LetsTheHostSayWhatIsWrongWithTheScores) {
  bool is_poisoned = true;
  const Fixture fixture(1, facts(), [&](const std::vector<Tensor>& inputs) {
    std::vector<Tensor> outputs = summing(inputs);
    if (is_poisoned) outputs[0].mutable_as<float>()[4 * 5 + 2] = std::numeric_limits<float>::quiet_NaN();
    return outputs;
  });
  const std::vector<Image> images{random_picture(30, 20, 1), random_picture(31, 20, 2), random_picture(32, 20, 3)};
  auto runner = fixture.runner();
  const Error error = thrown_by([&] { runner.detect(images); });
  EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
  EXPECT_THAT(error.what(), HasSubstr("1 scores that are not a number in output 'out'"));
  EXPECT_THAT(error.what(), HasSubstr("picture 1 of 3"));
  is_poisoned = false;
  expect_equal(runner.detect(images), fixture.runner({}, DetectionPath::kHost).detect(images));
}

TEST(PipelinedDetection, RefusesEmptyAndUnfitPicturesAsTheHostDoes) {
  const Fixture fixture;
  for (const Image& image : {Image{}, Image{3, 3, std::vector<std::uint8_t>(5)}}) {
    const std::vector<Image> images{random_picture(4, 4, 1), image};
    auto runner = fixture.runner();
    auto on_host = fixture.runner({}, DetectionPath::kHost);
    EXPECT_STREQ(thrown_by([&] { runner.detect(images); }).what(), thrown_by([&] { on_host.detect(images); }).what());
  }
}

TEST(PipelinedDetection, PassesTheOptionsOn) {
  const Fixture fixture;
  DetectorOptions options;
  options.score_threshold = 0.5;
  options.iou_threshold = 0.125;
  options.max_detections = 1;
  options.is_nms_class_agnostic = true;
  const std::vector<Image> images{random_picture(30, 20, 1)};
  auto runner = fixture.runner(options);
  expect_equal(runner.detect(images), fixture.runner(options, DetectionPath::kHost).detect(images));
  const DetectionLimits& limits = fixture.state->limits.at(0);
  EXPECT_EQ(limits.score_threshold, 0.5F);
  EXPECT_EQ(limits.iou_threshold, 0.125F);
  EXPECT_EQ(limits.max_boxes, 1U);
  EXPECT_TRUE(limits.is_class_agnostic);
  EXPECT_TRUE(limits.is_suppressed);
  const DetectionPipelineRequest& request = fixture.state->requests.at(0);
  EXPECT_EQ(request.num_classes, 2);
  EXPECT_EQ(request.rows, BoxRows::kYoloV8);
  EXPECT_EQ(request.picture.pad_level, 114);
  EXPECT_EQ(request.picture.values[256 + 128], static_cast<float>((128.0 / 255.0 - 0.5) / 0.25));
}

TEST(PipelinedDetection, StaysOnTheHostWhereItDoesNotFitAndSaysWhy) {
  const auto why = [](const DetectionFacts& task, const DetectorOptions& options = {}, bool has_no_pipeline = false) {
    const Fixture fixture(1, task);
    fixture.state->has_no_pipeline = has_no_pipeline;
    auto runner = fixture.runner(options);
    const nlohmann::json description = runner.describe();
    EXPECT_EQ(description["pictures"], "host");
    return description["why_host"].get<std::string>();
  };
  DetectionFacts task = facts();
  task.head = DetectionHead::kRtdetr;
  EXPECT_THAT(why(task), HasSubstr("rtdetr"));
  task = facts();
  task.image.is_antialiased = true;
  EXPECT_THAT(why(task), HasSubstr("filter"));
  task = facts();
  task.image.interpolation = ImageInput::Interpolation::kNearest;
  EXPECT_THAT(why(task), HasSubstr("filter"));
  task = facts();
  task.image.resize = ImageInput::Resize::kFit;
  task.image.resize_px = 48;
  EXPECT_THAT(why(task), HasSubstr("sizes"));
  DetectorOptions many;
  many.max_detections = 5000;
  EXPECT_THAT(why(facts(), many), HasSubstr("1024"));
  EXPECT_THAT(why(facts(), {}, true), HasSubstr("type or shape"));
  // An engine that offers none, and files through the host's way.
  const auto plain = std::make_shared<test::FakeEngine>(std::vector{tensor_info("images", known({1, 3, kSide, kSide}))},
                                                        std::vector{tensor_info("out", known({1, 6, 5}))}, summing);
  DetectionRunner runner(facts(), plain, {});
  EXPECT_THAT(runner.describe()["why_host"].get<std::string>(), HasSubstr("no pipeline"));
  const std::vector<std::vector<std::byte>> files{encode_png(random_picture(30, 20, 1)),
                                                  encode_png(random_picture(20, 30, 2))};
  EXPECT_EQ(runner.detect_encoded(spans(files)).size(), 2U);
}

}  // namespace
}  // namespace pajamas
