// The target openvino on small hand-built models: numbers, shapes, threads, damaged files. Real models and the
// conformance cases are elsewhere (tests/parity).
#include "engine/target.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <thread>

#include "base/files.h"
#include "pajamas/error.h"
#include "targets/openvino/cpu_features.h"
#include "targets/registry.h"

namespace pajamas {
namespace {

using ::testing::HasSubstr;

class OpenvinoTargetTest : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_ =
        std::filesystem::temp_directory_path() / ("pajamas-openvino-" + std::to_string(::getpid()) + "-" +
                                                  ::testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::create_directories(directory_);
    plan_.target = "openvino";
    plan_.precision = Precision::kFp32;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  const Target& target_ = find_target("openvino");
  std::filesystem::path directory_;
  BuildPlan plan_;
  bool is_cache_intact_ = true;

  CompiledPart compile(const Model& model) { return target_.compile({model, plan_, "model", directory_, {}}); }
  std::shared_ptr<const Engine> load(const CompiledPart& part, const SessionOptions& options = {}) {
    const auto open = [this](const CompiledFile& file) -> std::shared_ptr<const MappedFile> {
      if (file.role == "cache" && !is_cache_intact_) return nullptr;
      return MappedFile::open(directory_ / file.name);
    };
    return target_.load({directory_, "model", part.files, open, part.facts, plan_, options});
  }
  std::filesystem::path file_of(const CompiledPart& part, const std::string& role) {
    for (const CompiledFile& file : part.files) {
      if (file.role == role) return directory_ / file.name;
    }
    return {};
  }
};

ValueInfo tensor_info(std::string name, DType dtype, std::vector<Dimension> shape) {
  ValueType type;
  type.dtype = dtype;
  type.shape = std::move(shape);
  return {std::move(name), type, {}, {}};
}

Model empty_model(std::int64_t opset = 17) {
  Model model;
  model.ir_version = 8;
  model.opset_imports = {{"", opset}};
  model.graph.name = "test";
  return model;
}

/// y[batch, 3] = relu(x[batch, 2] · w + b)
Model dense_model() {
  Model model = empty_model();
  Graph& graph = model.graph;
  graph.inputs = {tensor_info("x", DType::kFloat32, {Dimension::named("batch"), Dimension::known(2)})};
  graph.outputs = {tensor_info("y", DType::kFloat32, {Dimension::named("batch"), Dimension::known(3)})};
  graph.set_initializer("w", Tensor::of<float>(Shape{2, 3}, {1, 2, 3, 4, 5, 6}));
  graph.set_initializer("b", Tensor::of<float>(Shape{3}, {0, -20, 1}));
  graph.nodes.push_back({"dense", "Gemm", "", "", {"x", "w", "b"}, {"h"}, {}, "", {}, ""});
  graph.nodes.push_back({"relu", "Relu", "", "", {"h"}, {"y"}, {}, "", {}, ""});
  return model;
}

std::vector<float> dense_reference(const std::vector<float>& x) {
  const float w[2][3] = {{1, 2, 3}, {4, 5, 6}};
  const float b[3] = {0, -20, 1};
  std::vector<float> y;
  for (std::size_t row = 0; row + 1 < x.size(); row += 2) {
    for (int column = 0; column < 3; ++column) {
      y.push_back(std::max(0.0F, x[row] * w[0][column] + x[row + 1] * w[1][column] + b[column]));
    }
  }
  return y;
}

std::vector<float> run_dense(Session& session, const std::vector<float>& x) {
  const Shape shape{static_cast<std::int64_t>(x.size() / 2), 2};
  session.set_input(0, {DType::kFloat32, shape, reinterpret_cast<const std::byte*>(x.data())});
  session.run();
  const TensorView y = session.output(0);
  EXPECT_EQ(y.shape, (Shape{shape[0], 3}));
  const auto values = y.as<float>();
  return {values.begin(), values.end()};
}

template <typename Call>
Error error_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "no error was thrown";
  return Error(ErrorKind::kInternal, "none");
}

TEST_F(OpenvinoTargetTest, ComputesEveryBatchOfADynamicModel) {
  const CompiledPart part = compile(dense_model());
  ASSERT_EQ(part.inputs.size(), 1U);
  EXPECT_EQ(part.inputs[0].shape[0].to_string(), "batch");
  const auto engine = load(part);
  EXPECT_EQ(engine->describe().at("loaded_from"), "cache");
  EXPECT_EQ(engine->describe().at("precision"), "fp32");
  const auto session = engine->new_session();
  for (const std::size_t batch : {1U, 3U, 7U, 2U, 0U}) {
    std::vector<float> x;
    for (std::size_t i = 0; i < batch * 2; ++i) x.push_back(static_cast<float>(i) - 1.5F);
    EXPECT_EQ(run_dense(*session, x), dense_reference(x)) << "batch " << batch;
  }
}

}  // namespace
}  // namespace pajamas
