// OpenVINO at fp32 against ONNX Runtime, another code base, on models and shapes that unit tests do not reach: a random
// convolutional network at odd sizes and batches, and the demo models where they have been made.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <random>

#include "base/files.h"
#include "engine/target.h"
#include "io/onnx_reader.h"
#include "io/onnx_writer.h"
#include "targets/registry.h"
#include "verify/onnxruntime_reference.h"

namespace pajamas {
namespace {

constexpr float kRelativeTolerance = 1e-4F;  // the project's promise for fp32 outputs
constexpr float kAbsoluteTolerance = 1e-5F;

class OpenvinoAgreementTest : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_ =
        std::filesystem::temp_directory_path() / ("pajamas-agreement-" + std::to_string(::getpid()) + "-" +
                                                  ::testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::create_directories(directory_);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  /// Compiles the model once and compares it at each of `shapes` of its only input.
  void expect_agreement(const Model& model, const std::vector<Shape>& shapes) {
    const Target& target = find_target("openvino");
    BuildPlan plan;
    plan.target = "openvino";
    plan.precision = Precision::kFp32;
    const CompiledPart part = target.compile({model, plan, "model", directory_, {}});
    const auto open = [&](const CompiledFile& file) { return MappedFile::open(directory_ / file.name); };
    const auto engine = target.load({directory_, "model", part.files, open, part.facts, plan, {}});
    const auto session = engine->new_session();
    const std::string bytes = serialize_onnx(model);
    const OnnxRuntimeSession reference(std::as_bytes(std::span(bytes)), {});
    std::mt19937 generator(7);
    std::uniform_real_distribution<float> uniform(-1.0F, 1.0F);
    for (const Shape& shape : shapes) {
      Tensor input(DType::kFloat32, shape);
      for (float& value : input.mutable_as<float>()) value = uniform(generator);
      session->set_input(0, input.view());
      session->run();
      const std::vector<TensorView> views{input.view()};
      const std::vector<Tensor> expected = reference.run(views);
      ASSERT_EQ(expected.size(), engine->outputs().size());
      for (std::size_t i = 0; i < expected.size(); ++i) {
        const TensorView found = session->output(i);
        ASSERT_EQ(found.shape, expected[i].shape()) << "input " << shape.to_string();
        const auto a = found.as<float>();
        const auto b = expected[i].as<float>();
        float scale = 0;
        for (const float value : b) scale = std::max(scale, std::abs(value));
        for (std::size_t k = 0; k < b.size(); ++k) {
          ASSERT_NEAR(a[k], b[k], kAbsoluteTolerance + kRelativeTolerance * scale)
              << "output " << i << ", element " << k << ", input " << shape.to_string();
        }
      }
    }
  }

  std::filesystem::path directory_;
};

ValueInfo image_info(const char* name, std::int64_t channels) {
  ValueType type;
  type.dtype = DType::kFloat32;
  type.shape = {Dimension::named("batch"), Dimension::known(channels), Dimension::named("height"),
                Dimension::named("width")};
  return {name, type, {}, {}};
}

TEST_F(OpenvinoAgreementTest, ConvolutionsAtOddSizesAndBatches) {
  Model model;
  model.ir_version = 8;
  model.opset_imports = {{"", 17}};
  Graph& graph = model.graph;
  graph.name = "net";
  graph.inputs = {image_info("x", 3)};
  graph.outputs = {image_info("y", 5)};
  std::mt19937 generator(3);
  std::normal_distribution<float> normal(0.0F, 0.3F);
  const auto weights = [&](const char* name, Shape shape) {
    Tensor tensor(DType::kFloat32, std::move(shape));
    for (float& value : tensor.mutable_as<float>()) value = normal(generator);
    graph.set_initializer(name, tensor);
  };
  weights("w1", Shape{7, 3, 3, 3});
  weights("b1", Shape{7});
  weights("w2", Shape{7, 1, 5, 5});
  weights("w3", Shape{5, 7, 1, 1});
  const auto add = [&](const char* type, std::vector<std::string> inputs, const char* output) -> Node& {
    graph.nodes.push_back({output, type, "", "", std::move(inputs), {output}, {}, "", {}, ""});
    return graph.nodes.back();
  };
  Node& first = add("Conv", {"x", "w1", "b1"}, "c1");
  first.set_attribute("strides", std::vector<std::int64_t>{2, 2});
  first.set_attribute("pads", std::vector<std::int64_t>{1, 1, 1, 1});
  add("Sigmoid", {"c1"}, "s1");
  add("Mul", {"c1", "s1"}, "a1");
  Node& second = add("Conv", {"a1", "w2"}, "c2");
  second.set_attribute("group", std::int64_t{7});
  second.set_attribute("pads", std::vector<std::int64_t>{2, 2, 2, 2});
  Node& pool = add("MaxPool", {"c2"}, "p");
  pool.set_attribute("kernel_shape", std::vector<std::int64_t>{3, 3});
  pool.set_attribute("strides", std::vector<std::int64_t>{2, 2});
  pool.set_attribute("ceil_mode", std::int64_t{1});
  add("Conv", {"p", "w3"}, "c3");
  Node& softmax = add("Softmax", {"c3"}, "y");
  softmax.set_attribute("axis", std::int64_t{1});
  expect_agreement(model, {Shape{1, 3, 33, 47}, Shape{3, 3, 17, 64}, Shape{7, 3, 9, 9}, Shape{2, 3, 128, 5}});
}

TEST_F(OpenvinoAgreementTest, EfficientNetLite0) {
  const std::filesystem::path path = std::filesystem::path(PAJAMAS_DEPS_DIR) / "models" / "efficientnet_lite0.onnx";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " has not been made";
  expect_agreement(read_onnx(path), {Shape{1, 3, 224, 224}, Shape{3, 3, 224, 224}});
}

TEST_F(OpenvinoAgreementTest, Yolov8n) {
  const std::filesystem::path path = std::filesystem::path(PAJAMAS_DEPS_DIR) / "models" / "yolov8n_nudenet.onnx";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " has not been made";
  expect_agreement(read_onnx(path), {Shape{1, 3, 320, 320}, Shape{2, 3, 256, 352}});
}

}  // namespace
}  // namespace pajamas
