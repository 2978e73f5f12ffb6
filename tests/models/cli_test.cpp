// The real program from the command line: exit codes, JSON against the published schemas, and that bad input leaves
// nothing behind. Uses the demo models that tools/fetch_models makes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "graph/graph.h"
#include "io/onnx_writer.h"
#include "support/program.h"

namespace pajamas::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

const fs::path kDeps = PAJAMAS_DEPS_DIR;

ProgramRun pajamas(const std::vector<std::string>& arguments, const std::string& prefix = {}) {
  return run_program(PAJAMAS_PROGRAM, arguments, prefix);
}

/// Expects a failure with this exit code, a text that says why, and the same as JSON.
void expect_failure(std::vector<std::string> arguments, int exit_code, const std::string& text) {
  const ProgramRun run = pajamas(arguments);
  EXPECT_EQ(run.exit_code, exit_code) << run.errors;
  EXPECT_THAT(run.errors, HasSubstr(text));
  if (exit_code == 2 && run.output.empty()) return;  // the options themselves were wrong: --json may not have been read
  arguments.emplace_back("--json");
  const ProgramRun json_run = pajamas(arguments);
  EXPECT_EQ(json_run.exit_code, exit_code);
  EXPECT_EQ(schema_violations(json_run.json(), "error"), "");
}

/// y = Relu(x), [batch, 4]: the smallest model that builds.
Model relu_model() {
  Model model;
  model.ir_version = 8;
  model.opset_imports = {{"", 17}};
  model.graph.name = "relu";
  ValueType type;
  type.dtype = DType::kFloat32;
  type.shape = {Dimension::named("batch"), Dimension::known(4)};
  model.graph.inputs.push_back({"x", type, {}, {}});
  model.graph.outputs.push_back({"y", type, {}, {}});
  Node node;
  node.op_type = "Relu";
  node.name = "relu";
  node.inputs = {"x"};
  node.outputs = {"y"};
  model.graph.nodes.push_back(node);
  return model;
}

std::size_t num_entries(const fs::path& folder) {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

class CliTest : public testing::Test {
 protected:
  void SetUp() override { write_onnx(relu_model(), folder_ / "relu.onnx"); }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  TemporaryFolder folder_;
};

TEST_F(CliTest, UsageErrorsExitWith2) {
  EXPECT_EQ(pajamas({}).exit_code, 2);
  EXPECT_EQ(pajamas({"frobnicate"}).exit_code, 2);
  EXPECT_EQ(pajamas({"build"}).exit_code, 2);
  EXPECT_EQ(pajamas({"run", "x", "--threshold", "2"}).exit_code, 2);
  EXPECT_EQ(pajamas({"run", "x", "--no-such-option"}).exit_code, 2);
  expect_failure({"build", path("relu.onnx"), "--target", "abacus"}, 2, "openvino");
  expect_failure({"build", path("relu.onnx"), "--target", "openvino", "--precision", "fp7"}, 2, "fp7");
  expect_failure({"build", path("relu.onnx"), "--target", "openvino", "--shapes", "x:axb"}, 2, "--shapes");
  expect_failure({"build", path("relu.onnx"), "--target", "openvino", "--shapes", "x:4x4,2x4,4x4"}, 2, "do not rise");
}

TEST_F(CliTest, HelpAndVersionExitWith0) {
  EXPECT_EQ(pajamas({"--help"}).exit_code, 0);
  EXPECT_EQ(pajamas({"build", "--help"}).exit_code, 0);
  EXPECT_THAT(pajamas({"--version"}).output, HasSubstr("."));
}

TEST_F(CliTest, HelpNamesEveryTaskAndHead) {
  for (const char* command : {"build", "inspect"}) {
    const std::string help = pajamas({command, "--help"}).output;
    for (const char* name : {"detection", "classification", "embedding", "generation", "transcription", "yolo_end2end",
                             "rtdetr_end2end", "faster_rcnn"}) {
      EXPECT_THAT(help, HasSubstr(name)) << command;
    }
  }
}

TEST_F(CliTest, ResultsThatCannotBeWrittenAreAFailure) {
  const ProgramRun run = run_program("/bin/sh", {"-c", std::string(PAJAMAS_PROGRAM) + " doctor --json >/dev/full"});
  EXPECT_EQ(run.exit_code, 4);
  EXPECT_THAT(run.errors, HasSubstr("standard output"));
}

TEST_F(CliTest, DoctorReportsWhatIsHere) {
  const ProgramRun run = pajamas({"doctor", "--json"});
  ASSERT_EQ(run.exit_code, 0) << run.errors;
  EXPECT_EQ(schema_violations(run.json(), "doctor"), "");
  EXPECT_TRUE(run.json()["targets"]["openvino"]["available"].get<bool>());
  EXPECT_TRUE(run.json()["targets"].contains("tensorrt"));
  EXPECT_TRUE(run.json()["targets"].contains("cuda"));
  EXPECT_EQ(pajamas({"doctor"}).exit_code, 0);
}

TEST_F(CliTest, SmallModelBuildsInspectsAndVerifies) {
  const ProgramRun built =
      pajamas({"build", path("relu.onnx"), "--target", "openvino", "--precision", "fp32", "-o", path("b"), "--json"});
  ASSERT_EQ(built.exit_code, 0) << built.errors;
  EXPECT_EQ(schema_violations(built.json(), "build"), "");
  EXPECT_EQ(schema_violations(nlohmann::json::parse(read_file(folder_ / "b/manifest.json")), "manifest"), "");
  const ProgramRun inspected = pajamas({"inspect", path("b"), "--json"});
  ASSERT_EQ(inspected.exit_code, 0) << inspected.errors;
  EXPECT_EQ(schema_violations(inspected.json(), "inspect"), "");
  EXPECT_TRUE(inspected.json()["intact"].get<bool>());
  const ProgramRun model = pajamas({"inspect", path("relu.onnx"), "--json"});
  ASSERT_EQ(model.exit_code, 0) << model.errors;
  EXPECT_EQ(schema_violations(model.json(), "inspect"), "");
  EXPECT_EQ(pajamas({"inspect", path("relu.onnx")}).exit_code, 0);
  const ProgramRun verified = pajamas({"verify", path("b"), "--json"});
  ASSERT_EQ(verified.exit_code, 0) << verified.errors;
  EXPECT_EQ(schema_violations(verified.json(), "verify"), "");
  const ProgramRun measured = pajamas({"bench", path("b"), "--seconds", "0.2", "--batch", "3", "--json"});
  ASSERT_EQ(measured.exit_code, 0) << measured.errors;
  EXPECT_EQ(schema_violations(measured.json(), "bench"), "");
  EXPECT_EQ(measured.json()["batch"], 3);
  // A model whose task is not known cannot take pictures.
  expect_failure({"run", path("b"), (kDeps / "data/bus.jpg").string()}, 3, "--task");
}

TEST_F(CliTest, BenchCountsTheItemsOfAFixedBatch) {
  ASSERT_EQ(
      pajamas({"build", path("relu.onnx"), "--target", "openvino", "--shapes", "x:5x4", "-o", path("b")}).exit_code, 0);
  const ProgramRun measured = pajamas({"bench", path("b"), "--seconds", "0.2", "--batch", "5", "--json"});
  ASSERT_EQ(measured.exit_code, 0) << measured.errors;
  EXPECT_EQ(measured.json()["batch"], 5);
  EXPECT_EQ(measured.json()["inputs"]["x"][0], 5);
}

TEST_F(CliTest, VerifyRefusesAnotherSource) {
  ASSERT_EQ(pajamas({"build", path("relu.onnx"), "--target", "openvino", "-o", path("b")}).exit_code, 0);
  Model other = relu_model();
  other.graph.nodes[0].op_type = "Sigmoid";
  write_onnx(other, folder_ / "other.onnx");
  expect_failure({"verify", path("b"), "--source", path("other.onnx")}, 4, "other.onnx");
  fs::remove(folder_ / "relu.onnx");
  expect_failure({"verify", path("b")}, 4, "--source");
}

TEST_F(CliTest, BadModelsLeaveNothingBehind) {
  write_file(folder_ / "empty.onnx", "");
  write_file(folder_ / "text.onnx", "this is not a model");
  std::string truncated = read_file(folder_ / "relu.onnx");
  truncated.resize(truncated.size() / 2);
  write_file(folder_ / "truncated.onnx", truncated);
  fs::create_directory(folder_ / "folder");
  fs::create_directory(folder_ / "out");
  for (const char* target : {"openvino", "tensorrt"}) {
    for (const char* name : {"missing.onnx", "empty.onnx", "text.onnx", "truncated.onnx", "folder"}) {
      expect_failure({"build", path(name), "--target", target, "-o", path("out/b")}, 4, name);
      EXPECT_EQ(num_entries(folder_ / "out"), 0U) << name;
    }
  }
}

TEST_F(CliTest, DamagedBundlesAreRefused) {
  expect_failure({"run", path("none"), "x.jpg"}, 4, "none");
  expect_failure({"run", path("relu.onnx"), "x.jpg"}, 4, "relu.onnx");
  ASSERT_EQ(pajamas({"build", path("relu.onnx"), "--target", "openvino", "-o", path("b")}).exit_code, 0);
  const std::string manifest = read_file(folder_ / "b/manifest.json");
  write_file(folder_ / "b/manifest.json", manifest.substr(0, manifest.size() / 2));
  expect_failure({"bench", path("b")}, 4, "manifest.json");
  write_file(folder_ / "b/manifest.json", manifest);
  for (const auto& entry : fs::directory_iterator(folder_ / "b")) {
    if (entry.path().filename() == "manifest.json") continue;
    std::string bytes = read_file(entry.path());
    bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 0x40);
    write_file(entry.path(), bytes);
  }
  expect_failure({"bench", path("b"), "--seconds", "0.1"}, 4, "digest");
  EXPECT_FALSE(pajamas({"inspect", path("b"), "--json"}).json()["intact"].get<bool>());
}

TEST_F(CliTest, WriteFailuresAreReported) {
  // A file size limit stands in for a full disk: writes fail midway with an error instead of a signal.
  const ProgramRun run = pajamas(
      {"build", (kDeps / "models/efficientnet_lite0.onnx").string(), "--target", "openvino", "-o", path("full/b")},
      "trap '' XFSZ; ulimit -f 2000; exec ");
  EXPECT_EQ(run.exit_code, 4) << run.errors;
  EXPECT_FALSE(fs::exists(folder_ / "full/b"));
  write_file(folder_ / "file", "x");
  expect_failure({"build", path("relu.onnx"), "--target", "openvino", "-o", path("file/b")}, 4, "file");
}

TEST_F(CliTest, OneBundleForTwoBuildsAtOnce) {
  const std::string build = shell_quoted(PAJAMAS_PROGRAM) + " build " + shell_quoted(path("relu.onnx")) +
                            " --target openvino -o " + shell_quoted(path("b")) + " >/dev/null";
  const ProgramRun run = run_program("true", {}, build + " & a=$!; " + build + " & b=$!; wait $a && wait $b && ");
  EXPECT_EQ(run.exit_code, 0) << run.errors;
  EXPECT_TRUE(pajamas({"inspect", path("b"), "--json"}).json()["intact"].get<bool>());
  EXPECT_EQ(num_entries(folder_.path()), 2U) << "the model and the bundle, nothing staged";
}

TEST_F(CliTest, KilledBuildLeavesNoBundle) {
  const ProgramRun run =
      run_program("true", {},
                  shell_quoted(PAJAMAS_PROGRAM) + " build " +
                      shell_quoted((kDeps / "models/ssd_mobilenet_v2_coco.onnx").string()) + " --target openvino -o " +
                      shell_quoted(path("b")) + " & sleep 0.7; kill -9 $!; wait $! 2>/dev/null; sleep 0.5; ");
  EXPECT_EQ(run.exit_code, 0) << run.errors;
  EXPECT_FALSE(fs::exists(folder_ / "b"));
  ASSERT_EQ(pajamas({"build", path("relu.onnx"), "--target", "openvino", "-o", path("b")}).exit_code, 0);
  EXPECT_EQ(num_entries(folder_.path()), 2U) << "what the killed build left was removed";
}

TEST_F(CliTest, InterruptedBuildExitsWith130AndLeavesNothing) {
  const ProgramRun run =
      run_program("true", {},
                  "set -m; " + shell_quoted(PAJAMAS_PROGRAM) + " build " +
                      shell_quoted((kDeps / "models/ssd_mobilenet_v2_coco.onnx").string()) + " --target openvino -o " +
                      shell_quoted(path("b")) + " & sleep 0.7; kill -INT $!; wait $!; code=$?; test $code -eq 130 && ");
  EXPECT_EQ(run.exit_code, 0) << run.errors;
  EXPECT_EQ(num_entries(folder_.path()), 1U);
}

TEST_F(CliTest, TrtexecBuildsABareProvenEngine) {
  const ProgramRun built = pajamas({"trtexec", "--onnx=" + path("relu.onnx"), "--saveEngine=" + path("r.engine"),
                                    "--fp16", "--minShapes=x:1x4", "--optShapes=x:2x4", "--maxShapes=x:8x4", "--json"});
  ASSERT_EQ(built.exit_code, 0) << built.errors;
  EXPECT_EQ(schema_violations(built.json(), "trtexec"), "");
  EXPECT_TRUE(built.json()["build"]["proof"]["is_passed"].get<bool>());
  EXPECT_TRUE(fs::exists(folder_ / "r.engine"));
  expect_failure({"trtexec", "--onnx=" + path("none.onnx"), "--saveEngine=" + path("n.engine")}, 4, "none.onnx");
  EXPECT_FALSE(fs::exists(folder_ / "n.engine"));
  EXPECT_EQ(pajamas({"trtexec", "--noSuchFlag"}).exit_code, 2);
}

/// Intersection over union of two boxes [x1, y1, x2, y2].
double iou(const nlohmann::json& a, const nlohmann::json& b) {
  const double width =
      std::min(a[2].get<double>(), b[2].get<double>()) - std::max(a[0].get<double>(), b[0].get<double>());
  const double height =
      std::min(a[3].get<double>(), b[3].get<double>()) - std::max(a[1].get<double>(), b[1].get<double>());
  if (width <= 0 || height <= 0) return 0;
  const auto area = [](const nlohmann::json& box) {
    return (box[2].get<double>() - box[0].get<double>()) * (box[3].get<double>() - box[1].get<double>());
  };
  return width * height / (area(a) + area(b) - width * height);
}

TEST_F(CliTest, SsdFindsTheBusAndThePersons) {
  const fs::path model = kDeps / "models/ssd_mobilenet_v2_coco.onnx";
  ASSERT_EQ(pajamas({"build", model.string(), "--target", "openvino", "-o", path("b")}).exit_code, 0);
  const ProgramRun run = pajamas({"run", path("b"), (kDeps / "data/bus.jpg").string(), "--threshold", "0.4",
                                  "--annotate", path("out.jpg"), "--json"});
  ASSERT_EQ(run.exit_code, 0) << run.errors;
  EXPECT_EQ(schema_violations(run.json(), "run"), "");
  int num_buses = 0;
  int num_persons = 0;
  const nlohmann::json bus_json = run.json();
  for (const auto& detection : bus_json["results"][0]["detections"]) {
    num_buses += detection["label"] == "bus" ? 1 : 0;
    num_persons += detection["label"] == "person" ? 1 : 0;
  }
  EXPECT_EQ(num_buses, 1);
  EXPECT_GE(num_persons, 3);
  EXPECT_TRUE(fs::exists(folder_ / "out.jpg"));
  // Nothing that was given, and no other annotated picture, is written over.
  fs::copy_file(kDeps / "data/bus.jpg", folder_ / "bus.jpg");
  fs::create_directory(folder_ / "annotated");
  expect_failure({"run", path("b"), path("bus.jpg"), "--annotate", path("bus.jpg")}, 2, "replace the picture itself");
  expect_failure({"run", path("b"), path("bus.jpg"), path("out.jpg"), "--annotate", folder_.path().string()}, 2,
                 "replace the picture itself");
  expect_failure(
      {"run", path("b"), path("bus.jpg"), (kDeps / "data/bus.jpg").string(), "--annotate", path("annotated")}, 2,
      "in this one file");

  // The VOC photo with its published boxes: at least 5 of the 7 persons at IoU 0.5.
  const nlohmann::json truth = nlohmann::json::parse(read_file(kDeps / "data/voc.json"));
  const ProgramRun voc = pajamas({"run", path("b"), (kDeps / "data/voc.jpg").string(), "--threshold", "0.3", "--json"});
  ASSERT_EQ(voc.exit_code, 0) << voc.errors;
  const nlohmann::json voc_json = voc.json();
  int num_found = 0;
  int num_true = 0;
  for (const auto& object : truth["boxes"]) {
    if (object["label"] != "person") continue;
    ++num_true;
    const nlohmann::json box = {object["x1"], object["y1"], object["x2"], object["y2"]};
    for (const auto& detection : voc_json["results"][0]["detections"]) {
      if (detection["label"] == "person" && iou(box, detection["box_px"]) >= 0.5) {
        ++num_found;
        break;
      }
    }
  }
  EXPECT_EQ(num_true, 7);
  EXPECT_GE(num_found, 5);
}

TEST_F(CliTest, EfficientNetNamesThePhotos) {
  const fs::path model = kDeps / "models/efficientnet_lite0.onnx";
  ASSERT_EQ(pajamas({"build", model.string(), "--target", "openvino", "-o", path("b")}).exit_code, 0);
  std::vector<std::string> arguments = {"run", path("b"), "--top-k", "1", "--json"};
  for (const auto& entry : fs::directory_iterator(kDeps / "data/foolbox")) {
    if (entry.path().extension() == ".jpg") arguments.push_back(entry.path().string());
  }
  const ProgramRun run = pajamas(arguments);
  ASSERT_EQ(run.exit_code, 0) << run.errors;
  EXPECT_EQ(schema_violations(run.json(), "run"), "");
  int num_right = 0;
  const nlohmann::json json = run.json();
  for (const auto& result : json["results"]) {
    // imagenet_NN_LABEL.jpg: the class index stands in the name.
    const std::string name = fs::path(result["image"].get<std::string>()).stem().string();
    const int label = std::stoi(name.substr(name.rfind('_') + 1));
    num_right += result["classes"][0]["class_index"].get<int>() == label ? 1 : 0;
  }
  EXPECT_EQ(json["results"].size(), 20U);
  EXPECT_GE(num_right, 18);
}

TEST_F(CliTest, OptionsOfAnotherTaskAreRefused) {
  const fs::path model = kDeps / "models/efficientnet_lite0.onnx";
  ASSERT_EQ(pajamas({"build", model.string(), "--target", "openvino", "-o", path("b")}).exit_code, 0);
  const std::string photo = (kDeps / "data/bus.jpg").string();
  expect_failure({"run", path("b"), photo, "--threshold", "0.5"}, 2, "--threshold");
  expect_failure({"run", path("b"), photo, "--labels", "a,b"}, 2, "--labels");
  expect_failure({"run", path("b")}, 2, "picture");
  expect_failure({"run", path("b"), path("relu.onnx")}, 4, "relu.onnx");
}

TEST_F(CliTest, TensorRtWithoutAGpuBuildsButDoesNotRun) {
  const ProgramRun built = pajamas({"build", path("relu.onnx"), "--target", "tensorrt", "--gpu", "sm86", "--shapes",
                                    "x:1x4,2x4,8x4", "-o", path("b"), "--json"});
  ASSERT_EQ(built.exit_code, 0) << built.errors;
  EXPECT_EQ(schema_violations(built.json(), "build"), "");
  EXPECT_EQ(schema_violations(nlohmann::json::parse(read_file(folder_ / "b/manifest.json")), "manifest"), "");
  const ProgramRun run = pajamas({"bench", path("b"), "--seconds", "0.1"});
  EXPECT_TRUE(run.exit_code == 5 || run.exit_code == 3 || run.exit_code == 0) << run.exit_code << run.errors;
}

}  // namespace
}  // namespace pajamas::test
