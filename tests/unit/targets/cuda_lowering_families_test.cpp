// The published families of tests/data (tiny, as exporters write them) lowered for the GPU and run on the host in its
// arena and strides, against the interpreter on the model as published. What tests/gpu/cuda_models_test.cpp then does
// on a device.
#include "targets/cuda/loops/loops.h"
#include "targets/cuda/operators/operators.h"
#include "unit/targets/cuda_lowering_support.h"

namespace pajamas::cuda {
namespace {

/// Extents for those that a model leaves open.
Shape input_shape(const ValueType& type) {
  std::vector<std::int64_t> extents;
  for (const Dimension& dimension : *type.shape) {
    const std::string name = dimension.to_string();
    extents.push_back(dimension.is_known() ? dimension.extent() : name == "batch" ? 2 : name == "width" ? 96 : 64);
  }
  return Shape(extents);
}

/// Pixels from 0 to 1, in blocks as pictures have them; or token ids.
Tensor input_tensor(DType dtype, const Shape& shape, std::uint64_t seed) {
  if (dtype == DType::kInt64) return random_tensor(dtype, shape, seed);
  Tensor tensor(dtype, shape);
  std::mt19937_64 random(seed);
  const std::int64_t width = shape[shape.rank() - 1];
  const std::int64_t height = shape[shape.rank() - 2];
  float value = 0;
  for (std::int64_t i = 0; i < tensor.num_elements(); ++i) {
    if (i % 8 == 0) value = static_cast<float>(random() % 1000) / 1000;
    const std::int64_t row = i / width % height;
    const bool is_inside_block = row % 8 != 0;
    auto pixels = tensor.mutable_as<float>();
    pixels[static_cast<std::size_t>(i)] = is_inside_block ? pixels[static_cast<std::size_t>(i - width)] : value;
  }
  return tensor;
}

/// Every step that the project computes with a kernel of its own has one, in every variant.
void expect_kernels(const Program& program) {
  for (const Step& step : program.steps) {
    if (const auto* loop = std::get_if<LoopStep>(&step.work)) {
      for (int variant = 0; variant < num_loop_variants(program, *loop); ++variant) {
        EXPECT_NO_THROW(make_loop_kernel(program, *loop, variant)) << step.fused_from.front();
      }
    } else if (std::holds_alternative<OperatorStep>(step.work)) {
      EXPECT_TRUE(make_operator_source(program, step)) << step.fused_from.front();
    }
  }
}

class CudaLoweringFamily : public testing::TestWithParam<std::string> {};

TEST_P(CudaLoweringFamily, lowers_to_what_the_interpreter_computes) {
  Model model = read_onnx(std::filesystem::path(PAJAMAS_TEST_DATA) / "families" / (GetParam() + ".onnx"));
  inline_functions(model);
  std::int64_t num_rows = 0;
  for (const std::uint64_t seed : {1, 2, 3}) {
    PassOptions options;
    std::map<std::string, Tensor> named;
    std::vector<Tensor> inputs;
    for (const ValueInfo* input : model.graph.required_inputs()) {
      const Shape shape = input_shape(*input->type);
      options.fixed_shapes.emplace_back(input->name, shape);
      inputs.push_back(input_tensor(input->type->dtype, shape, seed + inputs.size()));
      named[input->name] = inputs.back();
    }
    Model prepared = model;
    run_passes(prepared, options);
    const ConstantTable table = table_of(prepared);
    const auto lowered = lower(prepared, table);
    if (seed == 1) expect_kernels(lowered.program);
    const auto found = run_on_host(lowered, table, inputs, {seed});
    const auto wanted = run_graph(model, named);
    ASSERT_EQ(found.size(), model.graph.outputs.size());
    for (std::size_t i = 0; i < found.size(); ++i) {
      const std::string& name = model.graph.outputs[i].name;
      EXPECT_LE(difference(wanted.at(name), found[i]), 1e-3) << "output " << name << ", seed " << seed;
      num_rows += found[i].shape()[0];
    }
  }
  EXPECT_GT(num_rows, 0) << "a detector that finds nothing proves nothing";
}

INSTANTIATE_TEST_SUITE_P(Families, CudaLoweringFamily,
                         testing::Values("clip_image", "clip_text", "faster_rcnn", "faster_rcnn_opset17",
                                         "mobilenet_v3", "quantised", "rtdetr", "ssd_torchvision",
                                         "vit_torchvision_dynamo", "vit_transformers", "yolov10", "yolov5", "yolov8",
                                         "yolov8_dynamo", "yolox"),
                         [](const auto& item) { return item.param; });

}  // namespace
}  // namespace pajamas::cuda
