// What the tests of the cuda target's lowering share: a model lowered, run on the host in the arena and strides of the
// GPU, and compared with the graph interpreter on the same model.
#pragma once

#include <gmock/gmock.h>

#include <cmath>
#include <filesystem>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "graph/graph_builder.h"
#include "graph/inline_functions.h"
#include "graph/interpreter.h"
#include "graph/passes/pipeline.h"
#include "io/onnx_reader.h"
#include "targets/cuda/lowering/host_executor.h"
#include "targets/cuda/lowering/lower.h"
#include "tensor/half.h"

namespace pajamas::cuda {

inline ConstantTable table_of(const Model& model) {
  ConstantTable table;
  for (const Initializer& initializer : model.graph.initializers) {
    table.add(initializer.name, {initializer.tensor.dtype(), initializer.tensor.shape(), initializer.tensor});
  }
  return table;
}

inline Tensor random_tensor(DType dtype, const Shape& shape, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  Tensor wide(DType::kFloat32, shape);
  for (float& value : wide.mutable_as<float>()) value = normal(random);
  if (dtype == DType::kFloat32) return wide;
  if (dtype == DType::kInt64) {
    Tensor whole(dtype, shape);
    for (std::int64_t& value : whole.mutable_as<std::int64_t>()) value = static_cast<std::int64_t>(random() % 7);
    return whole;
  }
  Tensor half(dtype, shape);
  auto* to = reinterpret_cast<std::uint16_t*>(half.mutable_bytes().data());
  const auto from = std::as_const(wide).as<float>();
  for (std::size_t i = 0; i < from.size(); ++i) to[i] = float16_from_float(from[i]);
  return half;
}

inline std::vector<Dimension> known(const Shape& shape) {
  std::vector<Dimension> dimensions;
  for (const std::int64_t extent : shape) dimensions.push_back(Dimension::known(extent));
  return dimensions;
}

/// Normal numbers times a factor.
inline Tensor scaled(DType dtype, const Shape& shape, std::uint64_t seed, float factor) {
  Tensor wide = random_tensor(DType::kFloat32, shape, seed);
  for (float& value : wide.mutable_as<float>()) value *= factor;
  if (dtype == DType::kFloat32) return wide;
  Tensor half(dtype, shape);
  convert_float_to_float16(
      std::as_const(wide).as<float>(),
      {reinterpret_cast<std::uint16_t*>(half.mutable_bytes().data()), static_cast<std::size_t>(shape.num_elements())});
  return half;
}

/// Largest difference of two outputs relative to the root mean square of the first.
inline double difference(const Tensor& wanted, const Tensor& found) {
  EXPECT_EQ(wanted.dtype(), found.dtype());
  EXPECT_EQ(wanted.shape(), found.shape());
  if (wanted.shape() != found.shape()) return INFINITY;
  const Tensor a = to_float32(wanted.view());
  const Tensor b = to_float32(found.view());
  double squares = 0;
  double worst = 0;
  for (std::size_t i = 0; i < a.as<float>().size(); ++i) {
    const auto x = static_cast<double>(a.as<float>()[i]);
    const auto y = static_cast<double>(b.as<float>()[i]);
    if (std::isnan(y) != std::isnan(x)) return INFINITY;
    if (std::isnan(x)) continue;
    if (std::isfinite(x)) squares += x * x;
    if (x == y) continue;
    worst = std::max(worst, std::abs(x - y));
  }
  return worst == 0 ? 0 : worst / std::sqrt(std::max(squares / static_cast<double>(a.as<float>().size()), 1e-20));
}

/// Lowers and runs the model on random inputs and expects what the interpreter finds. Returns the program.
inline LoweredProgram expect_same(const Model& model, double tolerance, const LoweringOptions& options = {},
                                  std::uint64_t seed = 1) {
  const ConstantTable table = table_of(model);
  LoweredProgram lowered = lower(model, table, options);
  std::map<std::string, Tensor> named;
  std::vector<Tensor> inputs;
  for (const ValueInfo* input : model.graph.required_inputs()) {
    inputs.push_back(random_tensor(input->type->dtype, *input->type->static_shape(), seed + inputs.size()));
    named[input->name] = inputs.back();
  }
  auto wanted = run_graph(model, named);
  const auto found = run_on_host(lowered, table, inputs, {seed});
  EXPECT_EQ(found.size(), model.graph.outputs.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    const std::string& name = model.graph.outputs[i].name;
    EXPECT_LE(difference(wanted[name], found[i]), tolerance) << "output " << name << ", seed " << seed;
  }
  return lowered;
}

inline std::map<std::string, int> count_kinds(const Program& program) {
  std::map<std::string, int> counts;
  for (const Step& step : program.steps) ++counts[kind_of(program, step)];
  return counts;
}

}  // namespace pajamas::cuda
