// Lowering of products in 8-bit integers: which pairs of QuantizeLinear and DequantizeLinear go into products, that the
// numbers stay those of the graph, and what is computed as it is written.
#include <algorithm>

#include "graph/passes/raise_opset.h"
#include "targets/cuda/lowering/integer_products.h"
#include "unit/targets/cuda_lowering_support.h"

namespace pajamas::cuda {
namespace {

Tensor levels(const Shape& shape, unsigned seed) {
  std::mt19937 random(seed);
  Tensor tensor(DType::kInt8, shape);
  for (std::byte& level : tensor.mutable_bytes()) level = static_cast<std::byte>(random() % 255U + 129U);
  return tensor;
}

Tensor scales(std::int64_t count) {
  Tensor tensor(DType::kFloat32, Shape{count});
  float next = 0.001F;
  for (float& scale : tensor.mutable_as<float>()) scale = next += 0.00003F;
  return tensor;
}

Tensor point(DType dtype, int value) {
  Tensor tensor(dtype, Shape{});
  tensor.mutable_bytes()[0] = static_cast<std::byte>(value);
  return tensor;
}

GraphValue quantised(GraphBuilder& builder, const GraphValue& x, DType dtype, int zero_point) {
  const GraphValue scale = builder.constant(0.03F), zero = builder.constant(point(dtype, zero_point));
  return builder.node("DequantizeLinear", {builder.node("QuantizeLinear", {x, scale, zero}), scale, zero});
}

struct Weights {
  std::int64_t rows = 64, columns = 96;
  bool has_columns = true;
  std::int64_t axis = 1;
  bool has_zero_points = false;
};
GraphValue weights(GraphBuilder& builder, const std::string& name, const Weights& wanted, unsigned seed) {
  const std::int64_t count = wanted.axis == 0 ? wanted.rows : wanted.columns;
  std::vector<GraphValue> inputs{
      builder.weight(name, levels({wanted.rows, wanted.columns}, seed)),
      wanted.has_columns ? builder.weight(name + ".scale", scales(count)) : builder.constant(0.002F)};
  if (wanted.has_zero_points) {
    Tensor zeros(DType::kInt8, wanted.has_columns ? Shape{count} : Shape{});
    for (std::byte& zero : zeros.mutable_bytes()) zero = std::byte{0};
    inputs.push_back(builder.weight(name + ".zero", zeros));
  }
  return builder.node("DequantizeLinear", inputs, {{"axis", wanted.axis}});
}

Model product(DType dtype, int zero_point, const Weights& wanted, std::int64_t rows = 70, std::int64_t opset = 19) {
  GraphBuilder builder("product", opset);
  const std::int64_t depth = wanted.axis == 0 ? wanted.columns : wanted.rows;
  const std::int64_t width = wanted.axis == 0 ? wanted.rows : wanted.columns;
  const GraphValue x = builder.input("x", DType::kFloat32, known({rows, depth}));
  const GraphValue a = quantised(builder, x, dtype, zero_point);
  const GraphValue b = weights(builder, "w", wanted, 3);
  const GraphValue bias = builder.weight("bias", random_tensor(DType::kFloat32, {width}, 5));
  const GraphValue y = wanted.axis == 0 ? builder.node("Gemm", {a, b, bias}, {{"transB", std::int64_t{1}}})
                                        : builder.node("Add", {builder.node("MatMul", {a, b}), bias});
  builder.output("y", y, DType::kFloat32, known({rows, width}));
  return builder.build();
}

std::vector<const MatMulStep*> integer_products(const Program& program) {
  std::vector<const MatMulStep*> found;
  for (const Step& step : program.steps) {
    const auto* product = std::get_if<MatMulStep>(&step.work);
    if (product != nullptr && program.value(product->a).desc.dtype == DType::kInt8) found.push_back(product);
  }
  return found;
}

TEST(CudaInt8, products_take_levels_scales_and_zero_points) {
  for (const DType dtype : {DType::kInt8, DType::kUint8}) {
    for (const int zero_point : {0, 13, 128}) {
      if (dtype == DType::kInt8 && zero_point == 128) continue;
      for (const Weights& wanted : {Weights{}, Weights{64, 96, false}, Weights{112, 64, true, 0}}) {
        SCOPED_TRACE(std::string(to_string(dtype)) + " " + std::to_string(zero_point) + " axis " +
                     std::to_string(wanted.axis) + (wanted.has_columns ? " columns" : ""));
        const auto lowered = expect_same(product(dtype, zero_point, wanted), 1e-4);
        const auto products = integer_products(lowered.program);
        ASSERT_EQ(products.size(), 1U);
        const TensorDesc& b = lowered.program.value(products[0]->b).desc;
        EXPECT_EQ(b.dtype, DType::kInt8);
        EXPECT_EQ(b.strides[0], 1) << "weights lie along K";
        const int lower = dtype == DType::kUint8 ? zero_point - 128 : zero_point;
        EXPECT_EQ(products[0]->epilogue.a_zero_point, lower);
        EXPECT_EQ(products[0]->epilogue.column_sums.has_value(), lower != 0);
        EXPECT_EQ(products[0]->epilogue.column_scale.has_value(), wanted.has_columns);
        EXPECT_TRUE(products[0]->epilogue.bias);
        EXPECT_EQ(count_kinds(lowered.program)["loop"], 1) << "levels of x";
      }
    }
  }
}

TEST(CudaInt8, models_before_scales_of_16_bits_are_raised_for_them) {
  PassOptions options;
  options.float_type = DType::kFloat16;
  for (const bool is_raised : {false, true}) {
    Model model = product(DType::kUint8, 13, {}, 70, 13);
    if (is_raised) raise_for_half_quantization(model);
    EXPECT_EQ(model.opset(), is_raised ? 19 : 13);
    run_passes(model, options);
    // One level where a sum is rounded the other way.
    EXPECT_EQ(integer_products(expect_same(model, 0.02).program).size(), is_raised ? 1U : 0U);
  }
  GraphBuilder plain("plain", 13);
  plain.output("y", plain.node("Relu", {plain.input("x", DType::kFloat32, known({3}))}), DType::kFloat32, known({3}));
  Model untouched = plain.build();
  EXPECT_EQ(raise_for_half_quantization(untouched).num_changes, 0);
  EXPECT_EQ(untouched.opset(), 13);
}

TEST(CudaInt8, zero_points_of_nothing_but_zeros_are_dropped) {
  Model model = product(DType::kInt8, 0, {64, 2048, true, 1, true});
  const auto has_point = [&](const Model& of) {
    return std::any_of(of.graph.nodes.begin(), of.graph.nodes.end(),
                       [](const Node& node) { return node.is("DequantizeLinear") && node.inputs.size() > 2; });
  };
  EXPECT_TRUE(has_point(model));
  drop_zero_points(model);
  EXPECT_FALSE(has_point(model));
  EXPECT_EQ(integer_products(expect_same(model, 1e-4).program).size(), 1U);
}

TEST(CudaInt8, a_product_quantises_its_result_and_products_of_one_value_become_one) {
  GraphBuilder builder("layer", 19);
  const GraphValue x = builder.input("x", DType::kFloat32, known({70, 64}));
  const GraphValue a = quantised(builder, x, DType::kUint8, 120);
  const GraphValue relu = builder.node("Relu", {builder.node("MatMul", {a, weights(builder, "w1", {}, 3)})});
  const GraphValue y =
      builder.node("MatMul", {quantised(builder, relu, DType::kInt8, -7), weights(builder, "w2", {96, 64}, 5)});
  builder.output("y", y, DType::kFloat32, known({70, 64}));
  std::vector<GraphValue> heads;
  for (const char* name : {"q", "k", "v"}) {
    const GraphValue head = builder.node("MatMul", {a, weights(builder, name, {64, 64}, 7)});
    heads.push_back(builder.node("Relu", {builder.node("Neg", {head})}));
  }
  builder.output("heads", builder.node("Concat", heads, {{"axis", std::int64_t{1}}}), DType::kFloat32,
                 known({70, 192}));
  // A level more or less where a sum is rounded the other way.
  const auto lowered = expect_same(builder.build(), 0.05);
  int num_levels = 0, num_merged = 0;
  for (const MatMulStep* product : integer_products(lowered.program)) {
    const TensorDesc& result = lowered.program.value(product->y).desc;
    num_merged += result.extents[1] == 192 ? 1 : 0;
    if (result.dtype != DType::kInt8) continue;
    ++num_levels;
    EXPECT_EQ(product->epilogue.y_zero_point, -7);
    EXPECT_EQ(product->epilogue.activation.kind, ActivationKind::kRelu);
  }
  EXPECT_EQ(num_levels, 1);
  EXPECT_EQ(num_merged, 1);
}

TEST(CudaInt8, the_rest_is_computed_as_written) {
  const auto expect_none = [](const Model& model) {
    EXPECT_TRUE(integer_products(expect_same(model, 1e-4).program).empty());
  };
  LoweringOptions without;
  without.has_integer_products = false;
  EXPECT_TRUE(integer_products(expect_same(product(DType::kUint8, 9, {}), 1e-4, without).program).empty());
  expect_none(product(DType::kInt8, 0, {}, 63));             // Few rows.
  expect_none(product(DType::kInt8, 0, {64, 72}));           // Columns that are no whole vectors.
  expect_none(product(DType::kInt8, 0, {48, 64, true, 0}));  // Few columns.
}

}  // namespace
}  // namespace pajamas::cuda
