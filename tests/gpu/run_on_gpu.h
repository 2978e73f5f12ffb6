// Building and running models on the GPU from tests, and judging the result by the project's table of tolerances.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "engine/build_plan.h"
#include "gpu/require_gpu.h"
#include "graph/graph.h"
#include "targets/cuda/runtime/engine_builder.h"
#include "verify/tolerances.h"

namespace pajamas::test {

/// The model after inlining and the passes, in this precision, with its interface left in float32.
Model lowered_for_gpu(const Model& model, Precision precision,
                      const std::vector<std::pair<std::string, Shape>>& fixed_shapes = {});

/// An engine of a lowered model. Not tuned unless said: the first kernel of each step.
cuda::BuiltEngine build_on_gpu(const Model& lowered, Precision precision,
                               const std::vector<ShapeProfile>& profiles = {}, bool is_tuned = false);

/// Outputs of one run of a new session, in the engine's order.
std::vector<Tensor> run_on_gpu(const cuda::CudaEngine& engine, const std::vector<Tensor>& inputs);

/// What the project's interpreter computes for the unlowered model, in the order of its outputs.
std::vector<Tensor> run_by_interpreter(const Model& model, const std::vector<Tensor>& inputs);

/// Each output within the tolerance of a whole network in this precision, or of another class.
void expect_near(const std::vector<Tensor>& actual, const std::vector<Tensor>& expected, Precision precision,
                 const std::string& what, OperatorClass operator_class = OperatorClass::kNetwork);

/// Values uniform in [-1, 1]; zeros and ones for integers. The same seed, the same values.
Tensor random_tensor(DType dtype, const Shape& shape, unsigned seed);

}  // namespace pajamas::test
