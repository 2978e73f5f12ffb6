// Tests of the recognisers on the models that tools/fetch_models makes; skipped where they were not fetched.
#include <gtest/gtest.h>

#include <filesystem>

#include "io/onnx_reader.h"
#include "models/model_definition.h"

namespace pajamas {
namespace {

Recognition recognise_file(const std::string& name) {
  return recognise_model(read_onnx(std::filesystem::path(PAJAMAS_DEPS_DIR) / "models" / name), {});
}

bool is_fetched(const std::string& name) {
  return std::filesystem::exists(std::filesystem::path(PAJAMAS_DEPS_DIR) / "models" / name);
}

TEST(PublishedModels, SsdMobilenet) {
  const char* name = "ssd_mobilenet_v2_coco.onnx";
  if (!is_fetched(name)) GTEST_SKIP() << name << " is not fetched";
  const Recognition found = recognise_file(name);
  EXPECT_EQ(found.family, "ssd");
  const DetectionFacts& facts = found.task.detection.value();
  EXPECT_EQ(facts.head, DetectionHead::kSsd);
  EXPECT_EQ(facts.num_classes, 90);
  EXPECT_EQ(facts.labels.at(0), "person");
  EXPECT_EQ(facts.labels.at(5), "bus");
  EXPECT_EQ(facts.ssd->feature_map_sizes.size(), 6u);
}

TEST(PublishedModels, EfficientNet) {
  const char* name = "efficientnet_lite0.onnx";
  if (!is_fetched(name)) GTEST_SKIP() << name << " is not fetched";
  const Recognition found = recognise_file(name);
  EXPECT_EQ(found.family, "classifier");
  const ClassificationFacts& facts = found.task.classification.value();
  EXPECT_EQ(facts.num_classes, 1000);
  EXPECT_EQ(facts.labels.at(0), "tench");
  EXPECT_EQ(facts.activation, ClassificationFacts::Activation::kSoftmax);
  EXPECT_EQ(facts.image.resize_px, 256);
  EXPECT_EQ(facts.image.interpolation, ImageInput::Interpolation::kBicubic);
}

TEST(PublishedModels, YoloV8OfNudenet) {
  const char* name = "yolov8n_nudenet.onnx";
  if (!is_fetched(name)) GTEST_SKIP() << name << " is not fetched";
  const Recognition found = recognise_file(name);
  EXPECT_EQ(found.family, "yolo");
  const DetectionFacts& facts = found.task.detection.value();
  EXPECT_EQ(facts.head, DetectionHead::kYoloV8);
  EXPECT_EQ(facts.num_classes, 18);
  EXPECT_EQ(facts.labels.size(), 18u);
  EXPECT_EQ(facts.image.width_px, 320);
}

TEST(PublishedModels, RandomModelsOfFullSize) {
  if (is_fetched("yolov8n.onnx")) {
    EXPECT_EQ(recognise_file("yolov8n.onnx").task.detection.value().head, DetectionHead::kYoloV8);
  }
  for (const char* name : {"resnet50.onnx", "vit_b_16.onnx", "vit_b_16_fp16.onnx"}) {
    if (is_fetched(name)) {
      EXPECT_EQ(recognise_file(name).task.name, "classification") << name;
    }
  }
}

}  // namespace
}  // namespace pajamas
