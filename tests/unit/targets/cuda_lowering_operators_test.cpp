// Operators whose lowering is more than a step of the same name, run on the host in the GPU's arena and strides against
// the interpreter: Gemm with a beta, transposed convolutions with a wanted extent.
#include "graph/graph_builder.h"
#include "unit/targets/cuda_lowering_support.h"

namespace pajamas::cuda {
namespace {

std::vector<Dimension> known(const std::vector<std::int64_t>& extents) {
  std::vector<Dimension> dimensions;
  for (const std::int64_t extent : extents) dimensions.push_back(Dimension::known(extent));
  return dimensions;
}

using Attributes = NodeAttributes;

/// One node over inputs of these shapes, all of `dtype`.
Model model_of(const char* type, const std::vector<std::vector<std::int64_t>>& shapes,
               const std::vector<std::int64_t>& result, const Attributes& attributes, DType dtype = DType::kFloat32,
               std::size_t num_constants = 0) {
  GraphBuilder graph("operator", 18);
  std::vector<GraphValue> inputs;
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    const std::string name = "x" + std::to_string(i);
    const bool is_constant = i + num_constants >= shapes.size();
    inputs.push_back(is_constant ? graph.weight(name, random_tensor(dtype, Shape(shapes[i]), 40 + i))
                                 : graph.input(name, dtype, known(shapes[i])));
  }
  graph.output("y", graph.node(type, std::span<const GraphValue>(inputs), attributes), dtype, known(result));
  return graph.build();
}

TEST(CudaLoweringOperators, gemm_applies_beta_to_inputs_and_constants_of_every_type) {
  for (const DType dtype : {DType::kFloat32, DType::kFloat16}) {
    for (const std::size_t num_constants : {0, 1, 2}) {
      for (const auto& c : std::vector<std::vector<std::int64_t>>{{4}, {1, 4}, {3, 4}, {3, 1}, {1}, {}}) {
        for (const float beta : {1.0F, 0.5F, 0.0F}) {
          expect_same(
              model_of("Gemm", {{3, 5}, {5, 4}, c}, {3, 4}, {{"alpha", 0.25F}, {"beta", beta}}, dtype, num_constants),
              dtype == DType::kFloat32 ? 1e-5 : 5e-3);
        }
      }
    }
  }
}

TEST(CudaLoweringOperators, gemm_applies_beta_behind_transposes) {
  expect_same(model_of("Gemm", {{5, 3}, {4, 5}, {1, 4}}, {3, 4},
                       {{"transA", std::int64_t{1}}, {"transB", std::int64_t{1}}, {"beta", 0.35F}, {"alpha", 0.25F}}),
              1e-5);
}

TEST(CudaLoweringOperators, transposed_convolutions_of_a_wanted_extent) {
  using Ints = std::vector<std::int64_t>;
  const std::vector<Ints> shapes{{1, 2, 3, 4}, {2, 3, 3, 3}};
  const Attributes::value_type strides{"strides", Ints{3, 2}};
  const Attributes::value_type wanted{"output_shape", Ints{10, 10}};
  expect_same(model_of("ConvTranspose", shapes, {1, 3, 10, 10}, {strides, wanted}), 1e-5);
  expect_same(model_of("ConvTranspose", shapes, {1, 3, 10, 10}, {strides, wanted, {"output_padding", Ints{1, 1}}}),
              1e-5);
  expect_same(model_of("ConvTranspose", shapes, {1, 3, 8, 8}, {strides, {"output_shape", Ints{8, 8}}}), 1e-5);
  expect_same(model_of("ConvTranspose", shapes, {1, 3, 10, 10}, {strides, {"output_padding", Ints{1, 1}}}), 1e-5);
  expect_same(model_of("ConvTranspose", shapes, {1, 3, 8, 8},
                       {strides, {"pads", Ints{1, 0, 1, 2}}, {"output_padding", Ints{1, 1}}}),
              1e-5);
  for (const char* mode : {"SAME_UPPER", "SAME_LOWER"}) {
    expect_same(model_of("ConvTranspose", shapes, {1, 3, 9, 8}, {strides, {"auto_pad", std::string(mode)}}), 1e-5);
    expect_same(model_of("ConvTranspose", shapes, {1, 3, 9, 8},
                         {strides, {"auto_pad", std::string(mode)}, {"output_padding", Ints{1, 1}}}),
                1e-5);
  }
  expect_same(model_of("ConvTranspose", shapes, {1, 3, 9, 9}, {strides, {"auto_pad", std::string("VALID")}}), 1e-5);
}

TEST(CudaLoweringOperators, sums_of_products_by_letters) {
  const auto same = [](const char* equation, const std::vector<std::vector<std::int64_t>>& shapes,
                       const std::vector<std::int64_t>& result) {
    SCOPED_TRACE(equation);
    expect_same(model_of("Einsum", shapes, result, {{"equation", std::string(equation)}}), 1e-5);
  };
  same("ij,jk->ik", {{3, 5}, {5, 4}}, {3, 4});
  same("bhqd,bhkd->bhqk", {{2, 3, 5, 7}, {2, 3, 4, 7}}, {2, 3, 5, 4});
  same("bqhd,bkhd->bhqk", {{2, 5, 3, 7}, {2, 4, 3, 7}}, {2, 3, 5, 4});
  same("i,j->ji", {{3}, {4}}, {4, 3});
  same("bij,bj", {{2, 3, 4}, {2, 4}}, {3});
  same("ijk->ki", {{2, 3, 4}}, {4, 2});
  same("ab,cb->ca", {{3, 1}, {2, 1}}, {2, 3});
}

TEST(CudaLoweringOperators, normalisation_of_groups) {
  expect_same(model_of("GroupNormalization", {{2, 6, 3, 5}, {3}, {3}}, {2, 6, 3, 5}, {{"num_groups", std::int64_t{3}}},
                       DType::kFloat32, 2),
              1e-4);
}

}  // namespace
}  // namespace pajamas::cuda
