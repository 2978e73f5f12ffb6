// Tests of bundles: what is written reads back, and every kind of damage is refused with the place named.
#include "bundle/bundle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "base/json_reader.h"
#include "pajamas/error.h"
#include "support/temporary_folder.h"

namespace pajamas {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

Manifest example() {
  Manifest manifest;
  manifest.model = "yolov8n";
  manifest.target = "openvino";
  manifest.precision = "fp32";
  manifest.plan = nlohmann::json::object();
  manifest.task.name = "detection";
  DetectionFacts facts;
  facts.image.input = "images";
  facts.image.width_px = 640;
  facts.image.height_px = 480;
  facts.image.resize = ImageInput::Resize::kLetterbox;
  facts.image.mean = {0.1, 0.2, 0.3};
  facts.head = DetectionHead::kSsd;
  facts.ssd = SsdAnchors{};
  facts.ssd->feature_map_sizes = {{19, 19}, {10, 10}};
  facts.labels = {"cat", "dog"};
  facts.num_classes = 2;
  facts.boxes_output = "boxes";
  facts.scores_output = "scores";
  manifest.task.detection = facts;
  manifest.parts.push_back({"model",
                            {{"model.onnx", "engine", {}, 0}, {"model.blob", "cache", {}, 0}},
                            {{"images", "float32", {"batch", "3", "480", "640"}}},
                            {{"boxes", "float32", {"batch", "?", "4"}}},
                            nlohmann::json::object(),
                            nullptr});
  manifest.source = {{"file", "yolov8n.onnx"}};
  manifest.made_by = {{"pajamas", "0.1.0"}};
  manifest.created_at = "2026-01-01T00:00:00Z";
  return manifest;
}

class BundleTest : public testing::Test {
 protected:
  void SetUp() override {
    StagedDirectory staged(folder_ / "b");
    write_file(staged.path() / "model.onnx", "engine bytes");
    write_file(staged.path() / "model.blob", "cache bytes");
    Manifest manifest = example();
    write_bundle(staged, manifest);
    manifest_text_ = read_file(folder_ / "b/manifest.json");
  }
  /// The message of opening the bundle with this manifest text.
  std::string refusal(const std::string& text) {
    write_file(folder_ / "b/manifest.json", text);
    try {
      Bundle::open(folder_ / "b");
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }
  std::string edited(const std::function<void(nlohmann::json&)>& edit) {
    nlohmann::json json = nlohmann::json::parse(manifest_text_);
    edit(json);
    return refusal(json.dump());
  }
  const test::TemporaryFolder temporary_;
  const fs::path folder_ = temporary_.path();
  std::string manifest_text_;
};

TEST_F(BundleTest, ReadsBackWhatWasWritten) {
  const Bundle bundle = Bundle::open(folder_ / "b");
  EXPECT_EQ(to_json(bundle.manifest()), nlohmann::json::parse(manifest_text_));
  ASSERT_TRUE(bundle.manifest().task.detection);
  EXPECT_EQ(bundle.manifest().task.detection->image.height_px, 480);
  EXPECT_EQ(bundle.manifest().parts[0].files[0].size_bytes, 12U);
  EXPECT_NO_THROW(bundle.verify_digests());
  EXPECT_NE(bundle.open_checked(bundle.manifest().parts[0].files[1]), nullptr);
}

TEST_F(BundleTest, APartMayStayInFloat32) {
  EXPECT_FALSE(Bundle::open(folder_ / "b").manifest().parts[0].is_float32);
  EXPECT_EQ(edited([](auto& json) { json["parts"][0]["is_float32"] = true; }), "no error");
  const Bundle bundle = Bundle::open(folder_ / "b");
  EXPECT_TRUE(bundle.manifest().parts[0].is_float32);
  EXPECT_EQ(to_json(bundle.manifest())["parts"][0]["is_float32"], true);
  EXPECT_THAT(edited([](auto& json) { json["parts"][0]["is_float32"] = "yes"; }), HasSubstr("parts[0].is_float32"));
}

TEST_F(BundleTest, NamesOfAnyBytesAndDigitsAreWritten) {
  Manifest manifest = example();
  // Names of open extents come from the model file: digits too many for a number stay a name.
  manifest.parts[0].inputs[0].shape = {"99999999999999999999", "007", "-1", "4"};
  manifest.source = {{"path", "mod\xE8le.onnx"}};
  StagedDirectory staged(folder_ / "c");
  write_file(staged.path() / "model.onnx", "engine bytes");
  write_file(staged.path() / "model.blob", "cache bytes");
  write_bundle(staged, manifest);
  const Bundle bundle = Bundle::open(folder_ / "c");
  EXPECT_EQ(bundle.manifest().parts[0].inputs[0].shape,
            (std::vector<std::string>{"99999999999999999999", "7", "-1", "4"}));
  EXPECT_EQ(bundle.manifest().source["path"], "mod\xEF\xBF\xBDle.onnx");
}

TEST_F(BundleTest, DamagedEngineIsRefusedAndDamagedCacheIsIgnored) {
  const Bundle bundle = Bundle::open(folder_ / "b");
  write_file(folder_ / "b/model.blob", "cache bytez");
  EXPECT_EQ(bundle.open_checked(bundle.manifest().parts[0].files[1]), nullptr);
  fs::remove(folder_ / "b/model.blob");
  EXPECT_EQ(bundle.open_checked(bundle.manifest().parts[0].files[1]), nullptr);
  EXPECT_NO_THROW(Bundle::open(folder_ / "b"));
  write_file(folder_ / "b/model.onnx", "engine bytez");
  EXPECT_THROW(bundle.verify_digests(), Error);
  write_file(folder_ / "b/model.onnx", "short");
  EXPECT_THROW(Bundle::open(folder_ / "b"), Error);
}

TEST_F(BundleTest, FilesAreOpenedByNameWholeOrNotAtAll) {
  const Bundle bundle = Bundle::open(folder_ / "b");
  EXPECT_EQ(bundle.open_checked("model.onnx")->bytes().size(), 12U);
  // A file that is there but not listed, and one outside of the bundle.
  write_file(folder_ / "b/other", "engine bytes");
  write_file(folder_ / "other", "engine bytes");
  for (const char* name : {"other", "../other", "manifest.json", ""}) {
    EXPECT_THROW(bundle.open_checked(name), Error) << name;
  }
  write_file(folder_ / "b/model.onnx", "engine bytez");
  EXPECT_THROW(bundle.open_checked("model.onnx"), Error);
  write_file(folder_ / "b/model.blob", "cache bytez");
  EXPECT_THROW(bundle.open_checked("model.blob"), Error) << "asked for by name, a cache is wanted too";
}

TEST_F(BundleTest, RefusalsNameThePlace) {
  EXPECT_THAT(refusal(""), HasSubstr("not valid JSON"));
  EXPECT_THAT(refusal("{}"), HasSubstr("not the manifest of a bundle"));
  EXPECT_THAT(refusal(std::string(100000, '[')), HasSubstr("nested deeper"));
  EXPECT_THAT(edited([](auto& json) { json["format_version"] = 2; }), HasSubstr("format version 2"));
  EXPECT_THAT(edited([](auto& json) { json["task"]["head"] = "yolo99"; }), HasSubstr("task.head: is 'yolo99'"));
  EXPECT_THAT(edited([](auto& json) { json["task"]["image"]["width_px"] = -1; }), HasSubstr("task.image.width_px"));
  EXPECT_THAT(edited([](auto& json) { json["task"]["image"].erase("input"); }), HasSubstr("has no 'input'"));
  EXPECT_THAT(edited([](auto& json) { json["parts"] = nlohmann::json::array(); }), HasSubstr("parts"));
  EXPECT_THAT(edited([](auto& json) { json["parts"][0]["files"][0]["name"] = "../x"; }),
              HasSubstr("parts[0].files[0].name"));
  EXPECT_THAT(edited([](auto& json) { json["parts"][0]["files"][0]["name"] = "/etc/passwd"; }),
              HasSubstr("parts[0].files[0].name"));
  EXPECT_THAT(edited([](auto& json) { json["model"] = "../evil"; }), HasSubstr("model"));
  EXPECT_THAT(edited([](auto& json) { json["task"]["image"]["std"] = {1, 0, 1}; }), HasSubstr("must not be 0"));
  EXPECT_THAT(edited([](auto& json) { json["parts"][0]["inputs"][0]["dtype"] = "float99"; }), HasSubstr("float99"));
  EXPECT_THAT(edited([](auto& json) { json["parts"][0]["files"][0]["size_bytes"] = 18446744073709551615ULL; }),
              HasSubstr("too large"));
}

TEST_F(BundleTest, DamagedManifestsNeverCrash) {
  std::mt19937 random(7);
  for (int round = 0; round < 2000; ++round) {
    std::string text = manifest_text_;
    const int num_flips = 1 + static_cast<int>(random() % 4);
    for (int i = 0; i < num_flips; ++i) text[random() % text.size()] = static_cast<char>(random() % 256);
    if (round % 3 == 0) text.resize(random() % text.size());
    try {
      parse_manifest(text, "manifest.json");
    } catch (const Error& error) {
      EXPECT_THAT(std::string(error.what()), HasSubstr("manifest.json")) << "seed 7, round " << round;
    }
  }
}

TEST(FolderName, KeepsWhatIsSafe) {
  EXPECT_EQ(folder_name("yolov8n"), "yolov8n");
  EXPECT_EQ(folder_name("../a b/c"), "_a_b_c");
  EXPECT_EQ(folder_name(""), "model");
}

}  // namespace
}  // namespace pajamas
