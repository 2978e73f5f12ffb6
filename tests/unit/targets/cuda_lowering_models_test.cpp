// Real models lowered for the GPU and run on the host: values, and how many steps of which kind come out. Skips where
// the models are not fetched (tools/make_models).
#include "unit/targets/cuda_lowering_support.h"

namespace pajamas::cuda {
namespace {

Model prepared(const std::string& name, const std::string& input, const Shape& shape, DType dtype) {
  Model model = read_onnx(std::filesystem::path(PAJAMAS_DEPS_DIR) / "models" / name);
  inline_functions(model);
  PassOptions options;
  options.float_type = dtype;
  options.fixed_shapes = {{input, shape}};
  run_passes(model, options);
  return model;
}

bool has_model(const std::string& name) {
  return std::filesystem::exists(std::filesystem::path(PAJAMAS_DEPS_DIR) / "models" / name);
}

void print(const char* what, const LoweredProgram& lowered) {
  std::string text;
  for (const auto& [kind, count] : count_kinds(lowered.program)) text += " " + kind + " " + std::to_string(count);
  std::printf("%s: %zu steps:%s; arena %zu bytes; %d lanes\n", what, lowered.program.steps.size(), text.c_str(),
              lowered.program.arena_bytes, lowered.program.num_lanes);
}

#define NEED_MODEL(name) \
  if (!has_model(name)) GTEST_SKIP() << name << " is not in .deps/models"

TEST(CudaLoweringModels, yolov8n) {
  NEED_MODEL("yolov8n.onnx");
  const auto lowered = expect_same(prepared("yolov8n.onnx", "images", {1, 3, 640, 640}, DType::kFloat32), 5e-3);
  print("yolov8n fp32", lowered);
  EXPECT_EQ(count_kinds(lowered.program)["conv"], 60)
      << "the first convolutions of the two heads are one on each level, and the expectation over bins is a loop";
}

TEST(CudaLoweringModels, nudenet_small_and_odd) {
  NEED_MODEL("yolov8n_nudenet.onnx");
  for (const DType dtype : {DType::kFloat32, DType::kFloat16}) {
    const auto lowered = expect_same(prepared("yolov8n_nudenet.onnx", "images", {2, 3, 64, 96}, dtype),
                                     dtype == DType::kFloat32 ? 1e-4 : 0.05);
    print("nudenet", lowered);
    EXPECT_EQ(count_kinds(lowered.program)["conv"], 60)
        << "the first convolutions of the two heads are one on each level, and the expectation over bins is a loop";
  }
}

TEST(CudaLoweringModels, resnet50) {
  NEED_MODEL("resnet50.onnx");
  const auto lowered = expect_same(prepared("resnet50.onnx", "input", {1, 3, 224, 224}, DType::kFloat16), 0.05);
  print("resnet50 fp16", lowered);
  EXPECT_EQ(count_kinds(lowered.program)["conv"], 53);
  EXPECT_EQ(count_kinds(lowered.program)["matmul"], 1);
}

TEST(CudaLoweringModels, vit_b_16) {
  NEED_MODEL("vit_b_16.onnx");
  const Model model = prepared("vit_b_16.onnx", "pixel_values", {1, 3, 224, 224}, DType::kFloat16);
  const auto lowered = lower(model, table_of(model));
  print("vit fp16", lowered);
  EXPECT_EQ(count_kinds(lowered.program)["attention"], 12);
  EXPECT_EQ(count_kinds(lowered.program)["matmul"], 12 * 4 + 2) << "patches, four a layer (Q, K and V as one), head";
  EXPECT_EQ(count_kinds(lowered.program)["conv"], 0);
}

}  // namespace
}  // namespace pajamas::cuda
