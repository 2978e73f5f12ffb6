// Tests of the detection task over a fake engine: batches, odd pictures, options, and outputs that cannot be.
#include "tasks/detection_runner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "fake_engine.h"
#include "pajamas/error.h"
#include "tasks/task_checks.h"

namespace pajamas {
namespace {

using test::known;
using test::tensor_info;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

Image solid(int width_px, int height_px, std::uint8_t level) {
  return {
      width_px, height_px,
      std::vector<std::uint8_t>(static_cast<std::size_t>(width_px) * static_cast<std::size_t>(height_px) * 3, level)};
}

DetectionFacts yolo_facts() {
  DetectionFacts facts;
  facts.head = DetectionHead::kYoloV8;
  facts.image.input = "images";
  facts.image.width_px = 32;
  facts.image.height_px = 32;
  facts.image.resize = ImageInput::Resize::kLetterbox;
  facts.num_classes = 2;
  facts.labels = {"cat", ""};
  facts.boxes_output = "out";
  return facts;
}

/// Gives for each picture one box around its middle, with its first visible level (the middle pixel) / 255 as the score
/// of class 0: so a test sees which picture a result belongs to.
std::vector<Tensor> middle_level(const std::vector<Tensor>& inputs) {
  const std::int64_t batch = inputs[0].shape()[0];
  Tensor out(DType::kFloat32, Shape{batch, 6, 1});
  const auto values = out.mutable_as<float>();
  for (std::int64_t i = 0; i < batch; ++i) {
    const float level = inputs[0].as<float>()[static_cast<std::size_t>(i * 3 * 32 * 32 + 16 * 32 + 16)];
    const std::array<float, 6> column{16, 16, 8, 8, level, level / 2};
    std::copy(column.begin(), column.end(), values.begin() + 6 * i);
  }
  return {out};
}

struct Counter {
  int num_runs = 0;
  std::vector<std::int64_t> batches;
};

std::shared_ptr<const Engine> engine_of_batch(std::int64_t batch, const std::shared_ptr<Counter>& counter) {
  return std::make_shared<test::FakeEngine>(std::vector{tensor_info("images", known({batch, 3, 32, 32}))},
                                            std::vector{tensor_info("out", known({batch, 6, 1}))},
                                            [counter](const std::vector<Tensor>& inputs) {
                                              ++counter->num_runs;
                                              counter->batches.push_back(inputs[0].shape()[0]);
                                              return middle_level(inputs);
                                            });
}

TEST(DetectionRunner, RunsAnyNumberOfPicturesOfMixedSizesInOrder) {
  std::vector<Image> images;
  for (int i = 0; i < 11; ++i)
    images.push_back(solid(20 + 13 * i, 90 - 7 * i, static_cast<std::uint8_t>(100 + 10 * i)));
  struct Expectation {
    std::int64_t batch;
    std::size_t max_batch;
    std::vector<std::int64_t> batches;
  };
  // Batch fixed to 1, to 4 (the last run padded), open, and open up to 3.
  for (const Expectation& expected : {Expectation{1, 0, std::vector<std::int64_t>(11, 1)}, Expectation{4, 0, {4, 4, 4}},
                                      Expectation{-1, 0, {8, 3}}, Expectation{-1, 3, {3, 3, 3, 2}}}) {
    const auto counter = std::make_shared<Counter>();
    DetectionRunner runner(yolo_facts(), engine_of_batch(expected.batch, counter), {}, expected.max_batch);
    const auto results = runner.detect(images);
    EXPECT_EQ(counter->batches, expected.batches);
    ASSERT_EQ(results.size(), images.size());
    for (std::size_t i = 0; i < results.size(); ++i) {
      ASSERT_EQ(results[i].detections.size(), 1U);
      const Detection& detection = results[i].detections[0];
      EXPECT_NEAR(detection.score, static_cast<float>(images[i].pixels[0]) / 255.0F, 1e-6);
      EXPECT_EQ(detection.label, "cat");
      // 8 pixels of 32 in the longer direction, around the middle.
      const auto longer = static_cast<float>(std::max(images[i].width_px, images[i].height_px));
      EXPECT_NEAR(detection.box.x2 - detection.box.x1, longer / 4, longer * 0.05F);
      EXPECT_NEAR((detection.box.x1 + detection.box.x2) / 2, static_cast<float>(images[i].width_px) / 2,
                  longer * 0.05F);
    }
    EXPECT_TRUE(runner.detect({}).empty());
    EXPECT_EQ(runner.detect(std::span(images).subspan(5, 1)).size(), 1U);
  }
}

TEST(DetectionRunner, TakesOddPicturesAndRefusesEmptyOnes) {
  const auto counter = std::make_shared<Counter>();
  DetectionRunner runner(yolo_facts(), engine_of_batch(1, counter), {});
  for (const auto& [width, height] : {std::pair{1, 1}, std::pair{10000, 1}, std::pair{1, 10000}, std::pair{32, 32}}) {
    const std::vector<Image> images{solid(width, height, 200)};
    const auto results = runner.detect(images);
    for (const Detection& detection : results[0].detections) {
      EXPECT_GE(detection.box.x1, 0);
      EXPECT_LE(detection.box.x2, static_cast<float>(width));
      EXPECT_LE(detection.box.y2, static_cast<float>(height));
      EXPECT_LT(detection.box.x1, detection.box.x2);
    }
  }
  const std::vector<Image> images{solid(3, 3, 1), Image{}};
  try {
    runner.detect(images);
    FAIL() << "an empty picture was taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("picture 2 of 2"), HasSubstr("empty")));
  }
}

TEST(DetectionRunner, HonoursOptionsAndRefusesWrongOnes) {
  const DetectionFacts facts = yolo_facts();
  const auto counter = std::make_shared<Counter>();
  const std::vector<Image> images{solid(32, 32, 128)};
  DetectorOptions options;
  options.score_threshold = 0.51;  // 128 / 255 = 0.502
  EXPECT_TRUE(DetectionRunner(facts, engine_of_batch(1, counter), options).detect(images)[0].detections.empty());
  options.score_threshold = 0.0;
  EXPECT_EQ(DetectionRunner(facts, engine_of_batch(1, counter), options).detect(images)[0].detections.size(), 1U);
  for (const double wrong : {-0.1, 1.1, std::nan("")}) {
    DetectorOptions bad;
    bad.score_threshold = wrong;
    EXPECT_THROW(resolve_options(bad, facts), Error);
    bad.score_threshold.reset();
    bad.iou_threshold = wrong;
    EXPECT_THROW(resolve_options(bad, facts), Error);
  }
  DetectorOptions bad;
  bad.max_detections = 0;
  EXPECT_THROW(resolve_options(bad, facts), Error);
}

TEST(DetectionRunner, SuppressesOnTopOfTheModelOnlyWhenAsked) {
  DetectionFacts facts = yolo_facts();
  facts.head = DetectionHead::kYoloEndToEnd;
  EXPECT_FALSE(resolve_options({}, facts).is_suppressed);
  DetectorOptions options;
  options.iou_threshold = 0.5;
  EXPECT_TRUE(resolve_options(options, facts).is_suppressed);
  options.iou_threshold.reset();
  options.is_nms_class_agnostic = true;
  EXPECT_TRUE(resolve_options(options, facts).is_suppressed);
}

/// The error of decoding one picture from these outputs.
std::string error_of(const DetectionFacts& facts, const Tensor& boxes, const Tensor& scores = {},
                     const Tensor& labels = {}) {
  HeadRequest request;
  request.boxes = {"out_boxes", boxes};
  if (scores.dtype() != DType::kUndefined) request.scores = {"out_scores", scores};
  if (labels.dtype() != DType::kUndefined) request.labels = {"out_labels", labels};
  request.canvas_width_px = 32;
  request.canvas_height_px = 32;
  request.score_threshold = 0.25F;
  try {
    make_head_decoder(facts)->decode(request);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
    return error.what();
  }
  return "no error";
}

Tensor filled(Shape shape, float value) {
  Tensor tensor(DType::kFloat32, std::move(shape));
  const auto values = tensor.mutable_as<float>();
  std::fill(values.begin(), values.end(), value);
  return tensor;
}

TEST(DetectionHeads, RefuseShapesThatDoNotFit) {
  const auto unfit = [](const char* shape, const char* head) {
    return AllOf(HasSubstr("out_"), HasSubstr(shape), HasSubstr(head), HasSubstr("--head"));
  };
  DetectionFacts facts = yolo_facts();
  EXPECT_THAT(error_of(facts, filled({1, 7, 5}, 0)), unfit("[1, 7, 5]", "yolov8"));
  EXPECT_THAT(error_of(facts, filled({1, 7, 5}, 0)), HasSubstr("2 classes"));
  EXPECT_THAT(error_of(facts, filled({2, 6, 5}, 0)), unfit("[2, 6, 5]", "1 picture"));
  EXPECT_THAT(error_of(facts, filled({5}, 0)), unfit("[5]", "yolov8"));
  facts.num_classes = 0;  // not known beforehand
  EXPECT_THAT(error_of(facts, filled({1, 4, 5}, 0)), unfit("[1, 4, 5]", "yolov8"));
  facts.num_classes = 2;
  facts.head = DetectionHead::kYoloV5;
  EXPECT_THAT(error_of(facts, filled({1, 5, 8}, 0)), unfit("[1, 5, 8]", "yolov5"));
  facts.head = DetectionHead::kYolox;  // 16 + 4 + 1 cells
  EXPECT_THAT(error_of(facts, filled({1, 22, 7}, 0)), unfit("21 boxes", "yolox"));
  EXPECT_EQ(error_of(facts, filled({1, 21, 7}, 0)), "no error");
  facts.head = DetectionHead::kYoloEndToEnd;
  EXPECT_THAT(error_of(facts, filled({1, 300, 7}, 0)), unfit("[1, 300, 7]", "yolo_end2end"));
  facts.head = DetectionHead::kRtdetr;
  EXPECT_THAT(error_of(facts, filled({1, 9, 4}, 0), filled({1, 9, 3}, 0)), unfit("out_scores", "2 classes"));
  EXPECT_THAT(error_of(facts, filled({1, 9, 4}, 0), filled({1, 8, 2}, 0)), unfit("out_scores", "rtdetr"));
  EXPECT_THAT(error_of(facts, filled({1, 9, 5}, 0), filled({1, 9, 2}, 0)), unfit("out_boxes", "rtdetr"));
  facts.head = DetectionHead::kFasterRcnn;
  facts.scores_output = "out_scores";
  EXPECT_THROW(make_head_decoder(facts), Error);  // no labels output
  facts.labels_output = "out_labels";
  EXPECT_THAT(error_of(facts, filled({3, 4}, 0), filled({2}, 0), filled({3}, 0)), unfit("out_scores", "faster_rcnn"));
  EXPECT_THAT(error_of(facts, filled({3, 4}, 0), filled({3}, 0), filled({2}, 0)), unfit("out_labels", "faster_rcnn"));
  facts.head = DetectionHead::kSsd;
  EXPECT_THROW(make_head_decoder(facts), Error);  // no anchors
  facts.ssd = SsdAnchors{};
  EXPECT_THROW(make_head_decoder(facts), Error);  // no feature maps
  facts.ssd->feature_map_sizes = {{2, 2}};
  facts.background_classes = 1;
  EXPECT_EQ(error_of(facts, filled({1, 12, 1, 4}, 0), filled({1, 12, 3}, 0)), "no error");
  EXPECT_THAT(error_of(facts, filled({1, 13, 1, 4}, 0), filled({1, 12, 3}, 0)), unfit("[1, 13, 1, 4]", "12, 1, 4"));
  EXPECT_THAT(error_of(facts, filled({1, 12, 1, 4}, 0), filled({1, 12, 4}, 0)), unfit("[1, 12, 4]", "2 classes"));
}

TEST(DetectionHeads, AcceptNoBoxesAtAll) {
  DetectionFacts facts = yolo_facts();
  facts.head = DetectionHead::kFasterRcnn;
  facts.scores_output = "s";
  facts.labels_output = "l";
  EXPECT_EQ(error_of(facts, filled({0, 4}, 0), filled({0}, 0), filled({0}, 0)), "no error");
  facts = yolo_facts();
  EXPECT_EQ(error_of(facts, filled({1, 6, 0}, 0)), "no error");
  facts.head = DetectionHead::kYoloEndToEnd;
  EXPECT_EQ(error_of(facts, filled({1, 0, 6}, 0)), "no error");
}

TEST(DetectionHeads, RefuseWhatIsNotAProbabilityOrABox) {
  DetectionFacts facts = yolo_facts();
  Tensor out = filled({1, 6, 3}, 0.1F);
  out.mutable_as<float>()[17] = kNan;  // class 1 of box 2
  EXPECT_THAT(error_of(facts, out), AllOf(HasSubstr("not a number"), HasSubstr("out_boxes"), HasSubstr("verify")));
  out = filled({1, 6, 3}, 0.1F);
  out.mutable_as<float>()[14] = 312.0F;
  EXPECT_THAT(error_of(facts, out), AllOf(HasSubstr("312"), HasSubstr("--head")));
  out = filled({1, 6, 3}, 0.1F);
  out.mutable_as<float>()[14] = std::numeric_limits<float>::infinity();
  EXPECT_THAT(error_of(facts, out), HasSubstr("no probability"));
  out = filled({1, 6, 3}, 0.9F);
  out.mutable_as<float>()[1] = kNan;
  EXPECT_THAT(error_of(facts, out), HasSubstr("box that is not a number"));
  out = filled({1, 6, 3}, 0.1F);
  out.mutable_as<float>()[1] = kNan;  // a box that nobody wants may be anything
  EXPECT_EQ(error_of(facts, out), "no error");

  facts.head = DetectionHead::kYoloV5;
  out = filled({1, 2, 7}, 0.1F);
  out.mutable_as<float>()[4] = kNan;
  EXPECT_THAT(error_of(facts, out), HasSubstr("not a number"));
  facts.head = DetectionHead::kYoloEndToEnd;
  out = filled({1, 1, 6}, 0.5F);
  EXPECT_THAT(error_of(facts, out), HasSubstr("class 0.5"));
  out.mutable_as<float>()[5] = 2;
  EXPECT_THAT(error_of(facts, out), HasSubstr("none of 2 classes"));
  facts.head = DetectionHead::kFasterRcnn;
  facts.scores_output = "s";
  facts.labels_output = "l";
  facts.background_classes = 1;
  EXPECT_THAT(error_of(facts, filled({1, 4}, 0), filled({1}, 0.9F), filled({1}, 0)), HasSubstr("none of 2 classes"));
  EXPECT_THAT(error_of(facts, filled({1, 4}, 0), filled({1}, kNan), filled({1}, 1)), HasSubstr("not a number"));
  facts.head = DetectionHead::kRtdetr;
  facts.background_classes = 0;
  facts.is_score_logit = true;
  EXPECT_THAT(error_of(facts, filled({1, 2, 4}, 0), filled({1, 2, 2}, kNan)), HasSubstr("not a number"));
  EXPECT_THAT(error_of(facts, filled({1, 2, 4}, kNan), filled({1, 2, 2}, 50)), HasSubstr("box that is not a number"));
}

TEST(DetectionHeads, RtdetrGivesFinishedRowsInPartsOfTheInput) {
  DetectionFacts facts = yolo_facts();
  facts.head = DetectionHead::kRtdetrEndToEnd;
  EXPECT_FALSE(needs_suppression(facts.head));
  EXPECT_THAT(error_of(facts, filled({1, 300, 7}, 0)), HasSubstr("rtdetr_end2end"));
  EXPECT_EQ(error_of(facts, filled({1, 0, 6}, 0)), "no error");
  EXPECT_THAT(error_of(facts, filled({1, 1, 6}, 0.5F)), HasSubstr("class 0.5"));
  HeadRequest request;
  request.boxes = {"out", filled({1, 2, 6}, 0)};
  const std::array<float, 6> row{0.5F, 0.25F, 0.5F, 0.125F, 0.75F, 1};
  std::copy(row.begin(), row.end(), request.boxes.values.mutable_as<float>().begin() + 6);
  request.canvas_width_px = 64;
  request.canvas_height_px = 32;
  request.score_threshold = 0.25F;
  const auto detections = finish_detections(make_head_decoder(facts)->decode(request), letterbox(64, 32, 64, 32),
                                            resolve_options({}, facts), facts);
  ASSERT_EQ(detections.size(), 1U);
  EXPECT_FLOAT_EQ(detections[0].box.x1, 16);
  EXPECT_FLOAT_EQ(detections[0].box.y1, 6);
  EXPECT_FLOAT_EQ(detections[0].box.x2, 48);
  EXPECT_FLOAT_EQ(detections[0].box.y2, 10);
  EXPECT_FLOAT_EQ(detections[0].score, 0.75F);
  EXPECT_EQ(detections[0].class_index, 1);
}

TEST(DetectionHeads, InfiniteBoxesEndAtThePicture) {
  DetectionFacts facts = yolo_facts();
  facts.head = DetectionHead::kYolox;
  HeadRequest request;
  request.boxes = {"out", filled({1, 21, 7}, 1000.0F)};  // exp(1000) is infinite
  const auto values = request.boxes.values.mutable_as<float>();
  for (std::size_t i = 0; i < 21; ++i) std::fill_n(values.begin() + static_cast<std::ptrdiff_t>(7 * i + 4), 3, 0.9F);
  for (std::size_t i = 0; i < 21; ++i) values[7 * i] = values[7 * i + 1] = 0;
  request.canvas_width_px = request.canvas_height_px = 32;
  request.score_threshold = 0.25F;
  const auto detections = finish_detections(make_head_decoder(facts)->decode(request), letterbox(64, 64, 32, 32),
                                            resolve_options({}, facts), facts);
  ASSERT_EQ(detections.size(), 1U);
  EXPECT_EQ(detections[0].box.x1, 0);
  EXPECT_EQ(detections[0].box.x2, 64);
}

TEST(DetectionRunner, ConvertsHalfPrecisionOutputs) {
  DetectionFacts facts = yolo_facts();
  const auto engine = std::make_shared<test::FakeEngine>(
      std::vector{tensor_info("images", known({1, 3, 32, 32}), DType::kFloat16)},
      std::vector{tensor_info("out", known({1, 6, 1}), DType::kFloat16)}, [](const std::vector<Tensor>& inputs) {
        EXPECT_EQ(inputs[0].dtype(), DType::kFloat16);
        Tensor out(DType::kFloat16, Shape{1, 6, 1});
        // 16, 16, 8, 8, 0.5, 0.25
        const std::array<std::uint16_t, 6> halves{0x4c00, 0x4c00, 0x4800, 0x4800, 0x3800, 0x3400};
        std::copy_n(reinterpret_cast<const std::byte*>(halves.data()), 12, out.mutable_bytes().begin());
        return std::vector{out};
      });
  const std::vector<Image> images{solid(32, 32, 1)};
  const auto results = DetectionRunner(facts, engine, {}).detect(images);
  ASSERT_EQ(results[0].detections.size(), 1U);
  EXPECT_EQ(results[0].detections[0].score, 0.5F);
  EXPECT_EQ(results[0].detections[0].box.x1, 12);
}

/// The error of a runner for an engine with these tensors.
std::string engine_error(const DetectionFacts& facts, std::vector<TensorInfo> inputs, std::vector<TensorInfo> outputs) {
  try {
    DetectionRunner(facts, std::make_shared<test::FakeEngine>(inputs, outputs, middle_level), {});
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(DetectionRunner, RefusesEnginesThatDoNotFitTheFacts) {
  const DetectionFacts facts = yolo_facts();
  const auto image = tensor_info("images", known({1, 3, 32, 32}));
  const auto out = tensor_info("out", known({1, 6, 1}));
  EXPECT_EQ(engine_error(facts, {image}, {out}), "no error");
  EXPECT_THAT(engine_error(facts, {tensor_info("data", known({1, 3, 32, 32}))}, {out}), HasSubstr("'data'"));
  EXPECT_THAT(engine_error(facts, {image}, {tensor_info("boxes", known({1, 6, 1}))}), HasSubstr("'boxes'"));
  EXPECT_THAT(engine_error(facts, {image, tensor_info("sizes", known({1, 2}))}, {out}), HasSubstr("2 inputs"));
  EXPECT_THAT(engine_error(facts, {tensor_info("images", known({1, 1, 32, 32}))}, {out}), HasSubstr("channels 3"));
  EXPECT_THAT(engine_error(facts, {tensor_info("images", known({1, 3, 48, 32}))}, {out}), HasSubstr("height 32"));
  EXPECT_THAT(engine_error(facts, {tensor_info("images", known({3, 32, 32}))}, {out}), HasSubstr("rank 4"));
  EXPECT_THAT(engine_error(facts, {tensor_info("images", known({1, 3, 32, 32}), DType::kInt64)}, {out}),
              HasSubstr("int64"));
  DetectionFacts mislabelled = facts;
  mislabelled.labels = {"a", "b", "c"};
  EXPECT_THAT(engine_error(mislabelled, {image}, {out}), AllOf(HasSubstr("3 labels"), HasSubstr("2 classes")));
}

TEST(CheckDetection, FindsUnfitOutputsWithoutARun) {
  TaskFacts task;
  task.name = "detection";
  task.detection = yolo_facts();
  const std::vector inputs{tensor_info("images", known({-1, 3, 32, 32}))};
  EXPECT_NO_THROW(check_detection(task, "model", inputs, {tensor_info("out", known({-1, 6, 21}))}));
  EXPECT_NO_THROW(check_detection(task, "model", inputs, {tensor_info("out", known({2, 6, 21}))}));
  EXPECT_NO_THROW(check_detection(task, "model", inputs, {tensor_info("out", known({1, -1, -1}))}));  // open: unknown
  EXPECT_THROW(check_detection(task, "model", inputs, {tensor_info("out", known({-1, 84, 21}))}), Error);
  EXPECT_THROW(check_detection(task, "model", inputs, {tensor_info("other", known({1, 6, 21}))}), Error);
  EXPECT_NO_THROW(check_detection(task, "text", {}, {}));  // another part is none of its business
}

}  // namespace
}  // namespace pajamas
