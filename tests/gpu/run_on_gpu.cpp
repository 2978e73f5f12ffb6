// See run_on_gpu.h.
#include "gpu/run_on_gpu.h"

#include <random>

#include "graph/inline_functions.h"
#include "graph/interpreter.h"
#include "graph/passes/pipeline.h"
#include "graph/passes/raise_opset.h"
#include "targets/cuda/runtime/session.h"
#include "verify/comparison.h"
#include "verify/input_cases.h"

namespace pajamas::test {

Model lowered_for_gpu(const Model& model, Precision precision,
                      const std::vector<std::pair<std::string, Shape>>& fixed_shapes) {
  Model lowered = model;
  PassOptions options;
  if (precision == Precision::kFp16) options.float_type = DType::kFloat16;
  if (precision == Precision::kBf16) options.float_type = DType::kBfloat16;
  options.fixed_shapes = fixed_shapes;
  inline_functions(lowered);
  if (options.float_type != DType::kFloat32) raise_for_half_quantization(lowered);
  run_passes(lowered, options);
  return lowered;
}

cuda::BuiltEngine build_on_gpu(const Model& lowered, Precision precision, const std::vector<ShapeProfile>& profiles,
                               bool is_tuned) {
  cuda::BuildEngineOptions options;
  options.precision = precision;
  options.profiles = profiles;
  options.is_tuned = is_tuned;
  options.max_kernels = 4;
  cuda::TimingCache cache;
  return cuda::build_engine(gpu(), lowered, options, cache);
}

std::vector<Tensor> run_on_gpu(const cuda::CudaEngine& engine, const std::vector<Tensor>& inputs) {
  const auto session = engine.new_session();
  for (std::size_t i = 0; i < inputs.size(); ++i) session->set_input(i, inputs[i].view());
  session->run();
  std::vector<Tensor> outputs;
  for (std::size_t i = 0; i < engine.outputs().size(); ++i) outputs.push_back(Tensor::copy_of(session->output(i)));
  return outputs;
}

std::vector<Tensor> run_by_interpreter(const Model& model, const std::vector<Tensor>& inputs) {
  Model inlined = model;
  inline_functions(inlined);
  std::map<std::string, Tensor> given;
  const auto infos = inlined.graph.required_inputs();
  for (std::size_t i = 0; i < infos.size(); ++i) given[infos[i]->name] = inputs.at(i);
  const std::map<std::string, Tensor> found = run_graph(inlined, given);
  std::vector<Tensor> outputs;
  for (const ValueInfo& output : inlined.graph.outputs) outputs.push_back(found.at(output.name));
  return outputs;
}

void expect_near(const std::vector<Tensor>& actual, const std::vector<Tensor>& expected, Precision precision,
                 const std::string& what, OperatorClass operator_class) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    const Comparison comparison = compare(what + " output " + std::to_string(i), expected[i], actual[i]);
    const auto failure = past_tolerance(comparison, tolerance(precision, operator_class));
    EXPECT_FALSE(failure) << *failure << "; " << describe(comparison);
  }
}

Tensor random_tensor(DType dtype, const Shape& shape, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> distribution(-1.0F, 1.0F);
  if (is_floating_point(dtype)) {
    Tensor tensor(DType::kFloat32, shape);
    for (float& value : tensor.mutable_as<float>()) value = distribution(random);
    return dtype == DType::kFloat32 ? tensor : converted(tensor, dtype);
  }
  Tensor tensor(dtype, shape);
  const auto bytes = tensor.mutable_bytes();
  std::fill(bytes.begin(), bytes.end(), std::byte{0});
  const std::size_t width = static_cast<std::size_t>(bits_of(dtype)) / 8;
  for (std::size_t i = 0; width > 0 && i < bytes.size(); i += width) bytes[i] = static_cast<std::byte>(random() & 1U);
  return tensor;
}

}  // namespace pajamas::test
