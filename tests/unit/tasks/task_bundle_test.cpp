// Tests of what the tasks say before any engine is loaded: wrong bundles, wrong options, the table of tasks.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/files.h"
#include "bundle/bundle.h"
#include "pajamas/classification.h"
#include "pajamas/detection.h"
#include "pajamas/embedding.h"
#include "pajamas/error.h"
#include "tasks/image_pipeline.h"
#include "tasks/registry.h"

namespace pajamas {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class TaskBundle : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() / ("pajamas_tasks_" + std::to_string(getpid()));
    StagedDirectory staged(folder_);
    write_file(staged.path() / "model.bin", std::string_view("not an engine"));
    Manifest manifest;
    manifest.model = "tiny";
    manifest.target = "openvino";
    manifest.precision = "fp32";
    manifest.plan = to_json(BuildPlan{});
    manifest.task.name = "classification";
    manifest.task.classification.emplace();
    manifest.task.classification->image.input = "image";
    manifest.task.classification->image.width_px = 4;
    manifest.task.classification->image.height_px = 4;
    manifest.task.classification->scores_output = "logits";
    manifest.task.classification->num_classes = 2;
    ManifestPart part;
    part.name = "model";
    part.target_facts = nlohmann::json::object();
    part.files.push_back({"model.bin", "engine", "", 0});
    manifest.parts.push_back(part);
    manifest.source = nlohmann::json::object();
    manifest.made_by = nlohmann::json::object();
    manifest.created_at = "2026-01-01T00:00:00Z";
    write_bundle(staged, manifest);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::filesystem::path folder_;
};

TEST_F(TaskBundle, OfAnotherTaskIsRefusedWithTheRightClass) {
  try {
    Detector detector(folder_);
    FAIL() << "a classification bundle was opened as a detector";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
    EXPECT_THAT(error.what(), AllOf(HasSubstr(folder_.string()), HasSubstr("classification"), HasSubstr("Classifier")));
  }
  EXPECT_THROW(Embedder{folder_}, Error);
}

TEST_F(TaskBundle, WithADamagedEngineOrWrongOptionsIsAnError) {
  EXPECT_THROW(Classifier{folder_}, Error);
  ClassifierOptions options;
  options.num_threads = -1;
  try {
    Classifier classifier(folder_, options);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
  }
  EXPECT_THROW(Detector{folder_ / "missing"}, Error);
}

TEST(Tasks, AreFoundByName) {
  EXPECT_EQ(find_task("detection").class_name, "Detector");
  try {
    find_task("segmentation");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("segmentation"), HasSubstr("detection, classification, embedding")));
  }
}

TEST(ImagePipeline, FollowsTheFacts) {
  ImageInput facts;
  facts.width_px = 48;
  facts.height_px = 32;
  facts.resize_px = 40;
  using Resize = ImageInput::Resize;
  const auto place = [&](Resize resize) {
    facts.resize = resize;
    return ImagePipeline(facts, DType::kFloat32).place(100, 80);
  };
  EXPECT_EQ(place(Resize::kStretch), stretch(100, 80, 48, 32));
  EXPECT_EQ(place(Resize::kLetterbox), letterbox(100, 80, 48, 32));
  EXPECT_EQ(place(Resize::kLetterboxTopLeft), letterbox_top_left(100, 80, 48, 32));
  EXPECT_EQ(place(Resize::kShortestEdge), shortest_edge_crop(100, 80, 40, 48, 32));
  EXPECT_EQ(place(Resize::kFit), fit(100, 80, 40, 0));
  const Placement placement = place(Resize::kStretch);
  const auto shape = [&] { return ImagePipeline(facts, DType::kFloat32).tensor_shape(placement, 5).to_string(); };
  EXPECT_EQ(shape(), "[5, 3, 32, 48]");
  facts.is_nhwc = true;
  EXPECT_EQ(shape(), "[5, 32, 48, 3]");
  facts.has_batch = false;
  EXPECT_EQ(shape(), "[32, 48, 3]");
  facts.is_nhwc = false;
  EXPECT_EQ(shape(), "[3, 32, 48]");
}

TEST(ImagePipeline, RefusesImpossibleFactsAndPictures) {
  ImageInput facts;
  EXPECT_THROW(ImagePipeline(facts, DType::kFloat32), Error);  // no size
  facts.width_px = facts.height_px = 32;
  EXPECT_NO_THROW(ImagePipeline(facts, DType::kFloat32));
  EXPECT_THROW(ImagePipeline(facts, DType::kString), Error);
  facts.std[2] = 0;
  EXPECT_THROW(ImagePipeline(facts, DType::kFloat32), Error);
  facts.std[2] = 1;
  facts.resize = ImageInput::Resize::kFit;
  EXPECT_THROW(ImagePipeline(facts, DType::kFloat32), Error);  // no resize_px
  facts.resize_px = 800;
  const ImagePipeline pipeline(facts, DType::kFloat32);
  EXPECT_THROW(pipeline.place(0, 10), Error);
  EXPECT_THROW(pipeline.place(10000, 1), Error);  // 8,000,000 × 800 without a limit on the longer edge
  facts.max_px = 1333;
  EXPECT_NO_THROW(ImagePipeline(facts, DType::kFloat32).place(10000, 1));
}

}  // namespace
}  // namespace pajamas
