// The passes on real models: ONNX Runtime, which shares no code with them, must give the same outputs for the model as
// published and for the model after the passes, in float32 to rounding and in float16 within what the type can hold.
// Time and memory of import and passes are held against the goal of 1.5 s for a ViT-B/16 file of 170 MB.
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <filesystem>
#include <random>

#include "graph/inline_functions.h"
#include "graph/interpreter.h"
#include "graph/passes/pipeline.h"
#include "graph/shape_inference.h"
#include "io/onnx_reader.h"
#include "io/onnx_writer.h"
#include "pajamas/error.h"
#include "verify/onnxruntime_reference.h"

namespace pajamas {
namespace {

const std::filesystem::path kDeps = PAJAMAS_DEPS_DIR;

struct RealModel {
  const char* path;
  double fp16_tolerance;  ///< Relative L2 distance of outputs: roughly the network's depth times 2^-11.
};

void PrintTo(const RealModel& model, std::ostream* out) { *out << model.path; }

constexpr RealModel kModels[] = {
    {"packages/nudenet/nudenet/320n.onnx", 0.002},
    {"models/yolov8n.onnx", 0.002},
    {"models/efficientnet_lite0.onnx", 0.02},
    {"models/ssd_mobilenet_v2_coco.onnx", 0.01},
    {"models/resnet50_bn.onnx", 0.01},
};

std::vector<std::pair<std::string, Tensor>> random_inputs(const OnnxRuntimeSession& session) {
  std::mt19937 random(7);
  std::uniform_real_distribution<float> uniform(0, 1);
  std::vector<std::pair<std::string, Tensor>> inputs;
  for (const TensorInfo& info : session.inputs()) {
    Shape shape;
    for (std::size_t i = 0; i < info.shape.size(); ++i) {
      // Open extents: one image of the published size, which for these models is 320.
      const Dimension& dimension = info.shape[i];
      shape.push_back(dimension.is_known() && dimension.extent() > 0 ? dimension.extent()
                      : i == 0                                       ? 1
                      : i == 1                                       ? 3
                                                                     : 320);
    }
    Tensor tensor(DType::kFloat32, shape);
    for (float& value : tensor.mutable_as<float>()) value = uniform(random);
    inputs.emplace_back(info.name, std::move(tensor));
  }
  return inputs;
}

double relative_l2(const Tensor& found, const Tensor& wanted) {
  EXPECT_EQ(found.dtype(), wanted.dtype());
  EXPECT_EQ(found.shape(), wanted.shape());
  if (found.dtype() != DType::kFloat32 || found.shape() != wanted.shape()) return 1;
  double distance = 0;
  double norm = 0;
  const auto a = found.as<float>();
  const auto b = wanted.as<float>();
  for (std::size_t i = 0; i < a.size(); ++i) {
    distance += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
    norm += std::pow(static_cast<double>(b[i]), 2);
  }
  return std::sqrt(distance) / std::max(std::sqrt(norm), 1e-30);
}

class RealModels : public ::testing::TestWithParam<RealModel> {
 protected:
  void SetUp() override {
    path_ = kDeps / GetParam().path;
    if (!std::filesystem::exists(path_))
      GTEST_SKIP() << path_ << " is not there: run tools/fetch_models or make_models";
  }
  std::filesystem::path path_;
};

TEST_P(RealModels, OutputsStay) {
  OnnxRuntimeOptions plain;
  plain.optimisation = OnnxRuntimeOptions::Optimisation::kNone;
  const OnnxRuntimeSession before(path_, plain);
  const auto inputs = random_inputs(before);
  const auto wanted = before.run(inputs);
  for (const DType dtype : {DType::kFloat32, DType::kFloat16}) {
    Model model = read_onnx(path_);
    inline_functions(model);
    PassOptions options;
    options.float_type = dtype;
    const PassLog log = run_passes(model, options);
    const std::string bytes = serialize_onnx(model);
    const OnnxRuntimeSession after(std::as_bytes(std::span(bytes)), {}, plain);
    const auto found = after.run(inputs);
    ASSERT_EQ(found.size(), wanted.size());
    for (std::size_t i = 0; i < found.size(); ++i) {
      EXPECT_EQ(after.outputs()[i].name, before.outputs()[i].name);
      // BatchNormalization folded into weights rounds them once more: some 2^-23 a layer.
      const double tolerance = dtype == DType::kFloat32 ? 1e-5 : GetParam().fp16_tolerance;
      EXPECT_LT(relative_l2(found[i], wanted[i]), tolerance) << to_string(dtype) << "\n" << log.to_text();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Passes, RealModels, ::testing::ValuesIn(kModels));

TEST(PassesRealModels, InterpreterAgreesWithOnnxRuntime) {
  const auto path = kDeps / "packages/nudenet/nudenet/320n.onnx";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not there: run ./dev setup";
  Model model = read_onnx(path);
  PassOptions options;
  // A small image keeps the plain loops of the interpreter to seconds.
  options.fixed_shapes = {{model.graph.inputs.at(0).name, {1, 3, 64, 64}}};
  PassLog log = run_passes(model, options);
  const std::string bytes = serialize_onnx(model);
  const OnnxRuntimeSession session(std::as_bytes(std::span(bytes)), {}, {});
  const auto inputs = random_inputs(session);
  const auto wanted = session.run(inputs);
  RunOptions run_options;
  run_options.has_all_values = true;
  const auto found = run_graph(model, {inputs.begin(), inputs.end()}, run_options);
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    EXPECT_LT(relative_l2(found.at(session.outputs()[i].name), wanted[i]), 1e-5) << log.to_text();
  }
  // And shape inference with what is computed: every value of a static graph is known.
  const auto facts = infer_facts(model);
  for (const auto& [name, tensor] : found) {
    const ValueFact* fact = facts->find(name);
    ASSERT_NE(fact, nullptr) << name;
    EXPECT_EQ(fact->dtype, tensor.dtype()) << name;
    EXPECT_EQ(fact->static_shape(), tensor.shape()) << name;
  }
}

TEST(PassesRealModels, ImportAndPassesAreFast) {
  const auto path = kDeps / "models/vit_b_16_fp16.onnx";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not there: run tools/make_models";
  const auto start = std::chrono::steady_clock::now();
  Model model = read_onnx(path);
  inline_functions(model);
  run_passes(model, {});
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  RecordProperty("milliseconds", static_cast<int>(seconds * 1000));
  std::printf("import and passes of %.0f MB: %.3f s\n", static_cast<double>(std::filesystem::file_size(path)) / 1e6,
              seconds);
  // Twice the goal, for machines busy with other tests; benchmarks/ hold the goal itself.
  EXPECT_LT(seconds, 3.0);
}

}  // namespace
}  // namespace pajamas
