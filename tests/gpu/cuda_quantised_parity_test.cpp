// The parity table's rows in 8 bits: products and convolutions between QuantizeLinear and DequantizeLinear, on a real
// GPU (and on the host in the GPU's arena and strides) against the interpreter in float32. FP8 rows are models that the
// project quantises itself; INT8 rows are what exporters write, with scales for a tensor or for each channel.
#include <gmock/gmock.h>

#include <functional>

#include "gpu/run_on_gpu.h"
#include "graph/graph_builder.h"
#include "graph/passes/quantize_products.h"
#include "targets/cuda/lowering/host_executor.h"
#include "targets/cuda/lowering/lower.h"
#include "tensor/float8.h"

namespace pajamas::cuda {
namespace {

using Ints = std::vector<std::int64_t>;
using test::random_tensor;

std::vector<Dimension> known(const Ints& extents) {
  std::vector<Dimension> dimensions;
  for (const std::int64_t extent : extents) dimensions.push_back(Dimension::known(extent));
  return dimensions;
}

struct Row {
  std::string name;
  Ints input, output;
  std::function<GraphValue(GraphBuilder&, const GraphValue&)> build;
  int num_integer_products = 0;
};

Tensor scaled_weight(const Ints& extents, unsigned seed, float factor) {
  Tensor tensor = random_tensor(DType::kFloat32, Shape(extents), seed);
  for (float& value : tensor.mutable_as<float>()) value *= factor;
  return tensor;
}

GraphValue linear(GraphBuilder& g, const GraphValue& x, std::int64_t in, std::int64_t out, unsigned seed) {
  const std::string name = "w" + std::to_string(seed);
  const auto product = g.node("MatMul", {x, g.weight(name, scaled_weight({in, out}, seed, 0.3F))});
  return g.node("Add", {product, g.weight(name + ".bias", scaled_weight({out}, seed + 1, 0.3F))});
}

/// As exporters write it below opset 20.
GraphValue gelu(GraphBuilder& g, const GraphValue& x) {
  const auto erf = g.node("Erf", {g.node("Div", {x, g.constant(1.41421356F)})});
  return g.node("Mul", {g.node("Mul", {x, g.node("Add", {erf, g.constant(1.0F)})}), g.constant(0.5F)});
}

std::vector<Row> float8_rows() {
  return {
      {"MatMul", {65, 96}, {65, 80}, [](GraphBuilder& g, const GraphValue& x) { return linear(g, x, 96, 80, 1); }},
      {"Gemm",
       {130, 64},
       {130, 112},
       [](GraphBuilder& g, const GraphValue& x) {
         return g.node("Gemm",
                       {x, g.weight("w", scaled_weight({112, 64}, 3, 0.3F)), g.weight("b", scaled_weight({112}, 4, 1))},
                       {{"transB", std::int64_t{1}}});
       }},
      {"MatMul of a batch, GELU, MatMul, residual",
       {2, 49, 64},
       {2, 49, 64},
       [](GraphBuilder& g, const GraphValue& x) {
         return g.node("Add", {linear(g, gelu(g, linear(g, x, 64, 144, 5)), 144, 64, 7), x});
       }},
      {"LayerNormalization, three products of one value",
       {100, 64},
       {100, 192},
       [](GraphBuilder& g, const GraphValue& x) {
         const auto y = g.node("LayerNormalization", {x, g.weight("s", scaled_weight({64}, 9, 1)),
                                                      g.weight("b", scaled_weight({64}, 10, 0.1F))});
         return g.node("Concat", {linear(g, y, 64, 64, 11), linear(g, y, 64, 64, 13), linear(g, y, 64, 64, 15)},
                       {{"axis", std::int64_t{1}}});
       }},
      {"Silu between",
       {66, 64},
       {66, 64},
       [](GraphBuilder& g, const GraphValue& x) {
         const auto y = linear(g, x, 64, 80, 17);
         return linear(g, g.node("Mul", {y, g.node("Sigmoid", {y})}), 80, 64, 19);
       }},
  };
}

/// x → QuantizeLinear → DequantizeLinear, as exporters write it.
GraphValue quantised(GraphBuilder& g, const GraphValue& x, DType dtype, float scale, int zero_point) {
  Tensor zero(dtype, Shape{});
  zero.mutable_bytes()[0] = static_cast<std::byte>(zero_point);
  const GraphValue by = g.constant(scale), point = g.constant(zero);
  return g.node("DequantizeLinear", {g.node("QuantizeLinear", {x, by, point}), by, point});
}

/// int8 weights with a scale for each of `axis`, or one.
GraphValue weights(GraphBuilder& g, const std::string& name, const Ints& extents, int axis) {
  Tensor codes(DType::kInt8, Shape(extents));
  unsigned state = 12345U + static_cast<unsigned char>(name.front());
  for (std::byte& code : codes.mutable_bytes()) {
    state = state * 1664525U + 1013904223U;
    code = static_cast<std::byte>(state >> 24U);
  }
  if (axis < 0) return g.node("DequantizeLinear", {g.weight(name, codes), g.constant(0.004F)});
  Tensor scales(DType::kFloat32, Shape{extents[static_cast<std::size_t>(axis)]});
  float next = 0.002F;
  for (float& scale : scales.mutable_as<float>()) scale = next += 0.0001F;
  return g.node("DequantizeLinear", {g.weight(name, codes), g.weight(name + ".scales", scales)},
                {{"axis", static_cast<std::int64_t>(axis)}});
}

std::vector<Row> int8_rows() {
  const auto conv = [](DType dtype, int zero_point, int axis) {
    return [=](GraphBuilder& g, const GraphValue& x) {
      const auto y = g.node("Conv",
                            {quantised(g, x, dtype, 0.01F, zero_point), weights(g, "w", {24, 16, 3, 3}, axis),
                             g.weight("b", scaled_weight({24}, 21, 1))},
                            {{"pads", Ints{1, 1, 1, 1}}});
      return g.node("Relu", {quantised(g, y, dtype, 0.02F, zero_point)});
    };
  };
  return {
      {"MatMul, one scale",
       {65, 96},
       {65, 80},
       [](GraphBuilder& g, const GraphValue& x) {
         return g.node("MatMul", {quantised(g, x, DType::kInt8, 0.008F, 0), weights(g, "w", {96, 80}, -1)});
       },
       1},
      {"MatMul, a scale a column, unsigned, 65 rows",
       {65, 96},
       {65, 80},
       [](GraphBuilder& g, const GraphValue& x) {
         return g.node("MatMul", {quantised(g, x, DType::kUint8, 0.008F, 127), weights(g, "w", {96, 80}, 1)});
       },
       1},
      {"Gemm, a scale a row, a zero point",
       {130, 64},
       {130, 112},
       [](GraphBuilder& g, const GraphValue& x) {
         return g.node("Gemm",
                       {quantised(g, x, DType::kInt8, 0.008F, 3), weights(g, "w", {112, 64}, 0),
                        g.weight("b", scaled_weight({112}, 23, 1))},
                       {{"transB", std::int64_t{1}}});
       },
       1},
      {"MatMul, GELU, MatMul, residual, integers between",
       {2, 49, 64},
       {2, 49, 64},
       [](GraphBuilder& g, const GraphValue& x) {
         const auto inner =
             g.node("MatMul", {quantised(g, x, DType::kInt8, 0.008F, 0), weights(g, "w1", {64, 144}, 1)});
         const auto wide = g.node("Add", {inner, g.weight("b1", scaled_weight({144}, 25, 0.3F))});
         const auto y =
             g.node("MatMul", {quantised(g, gelu(g, wide), DType::kUint8, 0.01F, 20), weights(g, "w2", {144, 64}, 1)});
         return g.node("Add", {g.node("Add", {y, g.weight("b2", scaled_weight({64}, 27, 0.3F))}), x});
       },
       2},
      {"three products of one value",
       {100, 64},
       {100, 192},
       [](GraphBuilder& g, const GraphValue& x) {
         const auto y = quantised(g, x, DType::kInt8, 0.008F, -4);
         return g.node(
             "Concat",
             {g.node("MatMul", {y, weights(g, "q", {64, 64}, 1)}), g.node("MatMul", {y, weights(g, "k", {64, 64}, 1)}),
              g.node("MatMul", {y, weights(g, "v", {64, 64}, 1)})},
             {{"axis", std::int64_t{1}}});
       },
       3},
      {"MatMul, a scale a column, unsigned",
       {5, 96},
       {5, 80},
       [](GraphBuilder& g, const GraphValue& x) {
         return g.node("MatMul", {quantised(g, x, DType::kUint8, 0.008F, 127), weights(g, "w", {96, 80}, 1)});
       }},
      {"Gemm, a scale a row",
       {9, 40},
       {9, 33},
       [](GraphBuilder& g, const GraphValue& x) {
         return g.node("Gemm",
                       {quantised(g, x, DType::kInt8, 0.008F, 3), weights(g, "w", {33, 40}, 0),
                        g.weight("b", scaled_weight({33}, 23, 1))},
                       {{"transB", std::int64_t{1}}});
       }},
      {"Conv, one scale", {2, 16, 9, 7}, {2, 24, 9, 7}, conv(DType::kInt8, 0, -1)},
      {"Conv, a scale a channel, unsigned", {1, 16, 9, 7}, {1, 24, 9, 7}, conv(DType::kUint8, 128, 0)},
      {"MatMul of two activations",
       {3, 12, 20},
       {3, 12, 12},
       [](GraphBuilder& g, const GraphValue& x) {
         const auto turned = g.node("Transpose", {x}, {{"perm", Ints{0, 2, 1}}});
         return g.node("MatMul",
                       {quantised(g, x, DType::kInt8, 0.008F, 0), quantised(g, turned, DType::kInt8, 0.008F, 0)});
       }},
  };
}

/// Integers of an opset before scales of 16 bits.
Model model_of(const Row& row, bool is_float8) {
  GraphBuilder graph("parity", is_float8 ? 19 : 13);
  const GraphValue x = graph.input("x", DType::kFloat32, known(row.input));
  graph.output("y", row.build(graph, x), DType::kFloat32, known(row.output));
  return graph.build();
}

/// Calibrated by the interpreter on the very input.
void quantize(Model& lowered, const Tensor& x) {
  const std::vector<std::string> names = quantizable_activations(lowered);
  const std::vector<Tensor> largest = test::run_by_interpreter(with_largest_magnitudes(lowered, names), {x});
  Magnitudes magnitudes;
  for (std::size_t i = 0; i < names.size(); ++i) magnitudes[names[i]] = largest[i].as<float>()[0];
  const PassReport report = quantize_products(lowered, magnitudes);
  EXPECT_GT(report.num_changes, 0);
}

struct Prepared {
  Model model, lowered;
  Tensor x;
};

Prepared prepared(const Row& row, Precision precision, bool is_float8) {
  Prepared made{model_of(row, is_float8), {}, random_tensor(DType::kFloat32, Shape(row.input), 70)};
  made.lowered = test::lowered_for_gpu(made.model, precision);
  if (is_float8) quantize(made.lowered, made.x);
  return made;
}

int num_products(const Program& program, DType dtype) {
  int number = 0;
  for (const Step& step : program.steps) {
    const auto* product = std::get_if<MatMulStep>(&step.work);
    number += product != nullptr && program.value(product->a).desc.dtype == dtype ? 1 : 0;
  }
  return number;
}

ConstantTable table_of(const Model& model) {
  ConstantTable constants;
  for (const Initializer& initializer : model.graph.initializers) {
    constants.add(initializer.name, {initializer.tensor.dtype(), initializer.tensor.shape(), initializer.tensor});
  }
  return constants;
}

class CudaQuantisedParity : public testing::TestWithParam<std::tuple<Precision, bool>> {};

TEST_P(CudaQuantisedParity, every_row_gives_what_the_cpu_gives) {
  PAJAMAS_NEED_GPU();
  const auto [precision, is_float8] = GetParam();
  for (const Row& row : is_float8 ? float8_rows() : int8_rows()) {
    SCOPED_TRACE(row.name);
    const Prepared item = prepared(row, precision, is_float8);
    const Support support = supports_graph(item.lowered);
    EXPECT_TRUE(support) << support.reason;
    if (!support) continue;
    const BuiltEngine built = test::build_on_gpu(item.lowered, precision);
    test::expect_near(test::run_on_gpu(*built.engine, {item.x}), test::run_by_interpreter(item.model, {item.x}),
                      precision, row.name, OperatorClass::kQuantised);
  }
}

/// The same without a GPU, as far as that goes.
TEST_P(CudaQuantisedParity, every_row_lowers_to_what_the_host_computes_alike) {
  const auto [precision, is_float8] = GetParam();
  for (const Row& row : is_float8 ? float8_rows() : int8_rows()) {
    SCOPED_TRACE(row.name);
    const Prepared item = prepared(row, precision, is_float8);
    const Support support = supports_graph(item.lowered);
    EXPECT_TRUE(support) << support.reason;
    if (!support) continue;
    const ConstantTable constants = table_of(item.lowered);
    const LoweredProgram lowered = lower(item.lowered, constants);
    EXPECT_EQ(num_products(lowered.program, DType::kFloat8E4M3Fn) > 0, is_float8);
    EXPECT_EQ(num_products(lowered.program, DType::kInt8), row.num_integer_products);
    test::expect_near(run_on_host(lowered, constants, {item.x}), test::run_by_interpreter(item.model, {item.x}),
                      precision, row.name, OperatorClass::kQuantised);
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, CudaQuantisedParity,
                         testing::Combine(testing::Values(Precision::kFp32, Precision::kFp16, Precision::kBf16),
                                          testing::Bool()),
                         [](const auto& test_case) {
                           return std::string(to_string(std::get<0>(test_case.param))) +
                                  (std::get<1>(test_case.param) ? "_float8" : "_int8");
                         });

}  // namespace
}  // namespace pajamas::cuda
