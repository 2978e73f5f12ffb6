// Every family of the README, end to end through the program: published files (as PyTorch's two exporters write them)
// and checkpoints are recognised, built and proven for each target, and on OpenVINO find in a photo what the framework
// they come from finds. Models and answers are made by tools/goldens/make_family_models.py.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "support/program.h"

namespace pajamas::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

const fs::path kFamilies = fs::path(PAJAMAS_TEST_DATA) / "families";

const nlohmann::json& goldens() {
  static const nlohmann::json json = nlohmann::json::parse(read_file(kFamilies / "goldens.json"));
  return json;
}

std::vector<std::string> case_names() {
  std::vector<std::string> names;
  for (const auto& [name, golden] : goldens().items()) names.push_back(name);
  return names;
}

double iou(const nlohmann::json& a, const nlohmann::json& b) {
  const auto at = [](const nlohmann::json& box, int i) { return box[static_cast<std::size_t>(i)].get<double>(); };
  const double width = std::min(at(a, 2), at(b, 2)) - std::max(at(a, 0), at(b, 0));
  const double height = std::min(at(a, 3), at(b, 3)) - std::max(at(a, 1), at(b, 1));
  if (width <= 0 || height <= 0) return 0;
  const auto area = [&](const nlohmann::json& box) { return (at(box, 2) - at(box, 0)) * (at(box, 3) - at(box, 1)); };
  return width * height / (area(a) + area(b) - width * height);
}

/// Every box of the golden has a partner of its own: same class, score within 0.001, IoU above 0.9. Boxes thinner than
/// half a pixel are not held to an overlap: the golden's decimals are too coarse for it.
void expect_detections(const nlohmann::json& found, const nlohmann::json& expected) {
  ASSERT_GE(expected.size(), 5U) << "the golden says too little";
  ASSERT_EQ(found.size(), expected.size());
  std::vector<bool> is_taken(found.size());
  for (const auto& box : expected) {
    const bool is_thin = std::min(box["box"][2].get<double>() - box["box"][0].get<double>(),
                                  box["box"][3].get<double>() - box["box"][1].get<double>()) < 0.5;
    bool has_partner = false;
    for (std::size_t i = 0; i < found.size() && !has_partner; ++i) {
      has_partner = !is_taken[i] && found[i]["class_index"] == box["class"] &&
                    std::abs(found[i]["score"].get<double>() - box["score"].get<double>()) <= 1e-3 &&
                    (is_thin || iou(found[i]["box_px"], box["box"]) > 0.9);
      if (has_partner) is_taken[i] = true;
    }
    EXPECT_TRUE(has_partner) << box;
  }
}

/// In any order of `found`: the score of each class.
void expect_probabilities(const nlohmann::json& found, const nlohmann::json& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (const auto& entry : found) {
    const auto index = entry["class_index"].get<std::size_t>();
    EXPECT_NEAR(entry["score"].get<double>(), expected[index].get<double>(), 1e-4) << "class " << index;
  }
}

void expect_vector(const nlohmann::json& found, const nlohmann::json& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(found[i].get<double>(), expected[i].get<double>(), 1e-4) << "element " << i;
  }
}

class FamilyTest : public testing::TestWithParam<std::string> {
 protected:
  ProgramRun pajamas(const std::vector<std::string>& arguments) { return run_program(PAJAMAS_PROGRAM, arguments); }
  std::string bundle() const { return (folder_ / "b").string(); }
  std::string photo() const { return (kFamilies / "photo.png").string(); }
  const nlohmann::json& golden() const { return goldens()[GetParam()]; }

  ProgramRun build(const std::vector<std::string>& options) {
    static const std::string kCheckpoint = "checkpoint/";
    const std::string& name = GetParam();
    const fs::path source = name.starts_with(kCheckpoint)
                                ? fs::path(PAJAMAS_TEST_DATA) / "huggingface" / name.substr(kCheckpoint.size())
                                : kFamilies / (name + ".onnx");
    std::vector<std::string> arguments{"build", source.string(), "-o", bundle(), "--json"};
    if (golden().contains("task")) arguments.insert(arguments.end(), {"--task", golden()["task"]});
    arguments.insert(arguments.end(), options.begin(), options.end());
    return pajamas(arguments);
  }

  nlohmann::json result_of(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"run", bundle(), "--json"});
    const ProgramRun run = pajamas(arguments);
    EXPECT_EQ(run.exit_code, 0) << run.errors;
    if (run.exit_code != 0) return {};
    EXPECT_EQ(schema_violations(run.json(), "run"), "");
    return nlohmann::json(run.json()["results"][0]);
  }

  TemporaryFolder folder_;
};

TEST_P(FamilyTest, OnOpenVinoFindsWhatTheFrameworkFinds) {
  const ProgramRun built = build({"--target", "openvino", "--precision", "fp32"});
  ASSERT_EQ(built.exit_code, 0) << built.errors;
  const auto manifest = nlohmann::json::parse(read_file(folder_ / "b/manifest.json"));
  for (const auto& part : manifest["parts"]) EXPECT_TRUE(part["proof"]["is_passed"].get<bool>()) << part["name"];
  if (golden().contains("detections")) {
    EXPECT_EQ(manifest["task"]["head"], golden()["head"]);
    const double threshold = golden().value("threshold", 0.25);
    expect_detections(result_of({photo(), "--threshold", std::to_string(threshold)})["detections"],
                      golden()["detections"]);
  }
  if (golden().contains("probabilities")) {
    expect_probabilities(result_of({photo(), "--top-k", "100"})["classes"], golden()["probabilities"]);
  }
  if (golden().contains("embedding")) expect_vector(result_of({photo()})["embedding"], golden()["embedding"]);
  if (golden().contains("text_embedding")) {
    expect_vector(result_of({"--text", "a photo of a cat"})["embedding"], golden()["text_embedding"]);
    expect_probabilities(result_of({photo(), "--labels", "cat,dog"})["classes"], golden()["zero_shot"]);
    EXPECT_EQ(pajamas({"bench", bundle(), "--part", "text", "--seconds", "0.05"}).exit_code, 0);
    EXPECT_EQ(pajamas({"verify", bundle()}).exit_code, 0);
  }
}

TEST_P(FamilyTest, OnTensorRtIsBuiltAndProvenOrRefusedWithTheOperator) {
  const std::string precision = golden().value("tensorrt_precision", "fp16");
  const ProgramRun built = build({"--target", "tensorrt", "--gpu", "sm86,sm89,sm120", "--precision", precision});
  if (golden().contains("tensorrt_refuses")) {
    EXPECT_EQ(built.exit_code, 3) << built.errors;
    EXPECT_THAT(built.errors, HasSubstr(golden()["tensorrt_refuses"].get<std::string>()));
    EXPECT_FALSE(fs::exists(folder_ / "b"));
    return;
  }
  ASSERT_EQ(built.exit_code, 0) << built.errors;
  const auto manifest = nlohmann::json::parse(read_file(folder_ / "b/manifest.json"));
  for (const auto& part : manifest["parts"]) EXPECT_TRUE(part["proof"]["is_passed"].get<bool>()) << part["name"];
}

std::string name_of(const testing::TestParamInfo<std::string>& parameter) {
  std::string name = parameter.param;
  std::ranges::replace_if(
      name, [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Published, FamilyTest, testing::ValuesIn(case_names()), name_of);

}  // namespace
}  // namespace pajamas::test
