// Lowering of products in 8-bit floats: pairs of QuantizeLinear and DequantizeLinear go into products and the steps
// around them, the numbers stay those of the graph, and what does not fit is computed as it is written.
#include <algorithm>
#include <cstring>
#include <set>

#include "graph/passes/quantize_products.h"
#include "targets/cuda/product_groups.h"
#include "unit/targets/cuda_lowering_support.h"

namespace pajamas::cuda {
namespace {

constexpr std::int64_t kBatch = 2, kLength = 35, kHeads = 4, kHeadDim = 16, kHidden = 64, kInner = 128;

/// A layer of a transformer's encoder as exporters write it.
Model encoder_layer(DType dtype) {
  GraphBuilder builder("layer");
  const GraphValue x = builder.input("x", dtype, known({kBatch, kLength, kHidden}));
  const auto norm = [&](const char* name, const GraphValue& value, std::uint64_t seed) {
    return builder.node("LayerNormalization",
                        {value, builder.weight(std::string(name) + ".scale", scaled(dtype, {kHidden}, seed, 1.0F)),
                         builder.weight(std::string(name) + ".bias", scaled(dtype, {kHidden}, seed + 1, 0.2F))});
  };
  const auto linear = [&](const char* name, const GraphValue& value, std::int64_t in, std::int64_t out,
                          std::uint64_t seed) {
    const GraphValue y = builder.node(
        "MatMul", {value, builder.weight(std::string(name) + ".weight", scaled(dtype, {in, out}, seed, 0.1F))});
    return builder.node("Add", {y, builder.weight(std::string(name) + ".bias", scaled(dtype, {out}, seed + 1, 0.5F))});
  };
  const GraphValue first = norm("norm1", x, 1);
  const auto heads = [&](const char* name, std::uint64_t seed, std::vector<std::int64_t> perm) {
    const GraphValue split = builder.node("Reshape", {linear(name, first, kHidden, kHidden, seed),
                                                      builder.integers({kBatch, kLength, kHeads, kHeadDim})});
    return builder.node("Transpose", {split}, {{"perm", perm}});
  };
  const GraphValue q = heads("q", 3, {0, 2, 1, 3});
  const GraphValue k = heads("k", 5, {0, 2, 3, 1});
  const GraphValue v = heads("v", 7, {0, 2, 1, 3});
  const GraphValue scores =
      builder.node("Mul", {builder.node("MatMul", {q, k}), builder.constant(scaled(dtype, {1}, 9, 0.2F))});
  const GraphValue weights = builder.node("Softmax", {scores}, {{"axis", std::int64_t{-1}}});
  const GraphValue context = builder.node("Transpose", {builder.node("MatMul", {weights, v})},
                                          {{"perm", std::vector<std::int64_t>{0, 2, 1, 3}}});
  const GraphValue flat = builder.node("Reshape", {context, builder.integers({kBatch, kLength, kHidden})});
  const GraphValue middle = builder.node("Add", {linear("out", flat, kHidden, kHidden, 11), x});
  const GraphValue wide = linear("fc1", norm("norm2", middle, 13), kHidden, kInner, 15);
  const auto number = [&](float value) {
    if (dtype == DType::kFloat32) return builder.constant(value);
    Tensor half(DType::kFloat16, Shape{});
    const std::uint16_t bits = float16_from_float(value);
    std::memcpy(half.mutable_bytes().data(), &bits, sizeof bits);
    return builder.constant(half);
  };
  const GraphValue erf = builder.node("Erf", {builder.node("Div", {wide, number(1.41421356F)})});
  const GraphValue inner =
      builder.node("Mul", {builder.node("Mul", {wide, builder.node("Add", {erf, number(1.0F)})}), number(0.5F)});
  const GraphValue y = builder.node("Add", {linear("fc2", inner, kInner, kHidden, 17), middle});
  builder.output("y", y, dtype, known({kBatch, kLength, kHidden}));
  return builder.build();
}

Model quantised(const Model& model) {
  const std::vector<std::string> names = quantizable_activations(model);
  const Model probe = with_largest_magnitudes(model, names);
  const ValueInfo& input = model.graph.inputs[0];
  const auto found = run_graph(probe, {{"x", random_tensor(input.type->dtype, *input.type->static_shape(), 1)}});
  Magnitudes magnitudes;
  for (std::size_t i = 0; i < names.size(); ++i) {
    magnitudes[names[i]] = found.at(probe.graph.outputs[i].name).as<float>()[0];
  }
  Model made = model;
  quantize_products(made, magnitudes);
  return made;
}

DType factor_type(const Program& program, const Step& step) {
  const auto* product = std::get_if<MatMulStep>(&step.work);
  return product == nullptr ? DType::kUndefined : program.value(product->a).desc.dtype;
}

TEST(CudaFloat8, an_encoder_layer_has_products_of_8_bits_and_no_passes_between) {
  for (const DType dtype : {DType::kFloat16, DType::kFloat32}) {
    SCOPED_TRACE(to_string(dtype));
    const Model model = quantised(encoder_layer(dtype));
    // One step of 8 bits, where a sum is rounded the other way, is more than a rounding of the rest.
    const auto lowered = expect_same(model, 0.35);
    const Program& program = lowered.program;
    int num_small = 0, num_small_results = 0, num_merged = 0;
    for (const Step& step : program.steps) {
      if (factor_type(program, step) != DType::kFloat8E4M3Fn) continue;
      const auto& product = std::get<MatMulStep>(step.work);
      ++num_small;
      EXPECT_EQ(program.value(product.b).desc.dtype, DType::kFloat8E4M3Fn);
      const auto& strides = program.value(product.b).desc.strides;
      EXPECT_EQ(strides[strides.size() - 2], 1) << "weights lie along K";
      const TensorDesc& y = program.value(product.y).desc;
      num_merged += y.extents[1] == 3 * kHidden ? 1 : 0;
      if (y.dtype != DType::kFloat8E4M3Fn) continue;
      ++num_small_results;
      EXPECT_EQ(product.epilogue.activation.kind, ActivationKind::kGeluErf);
      EXPECT_NE(product.epilogue.y_scale, 1);
    }
    EXPECT_EQ(num_small, 4);
    EXPECT_EQ(num_small_results, 1) << "fc1 quantises behind its GELU";
    EXPECT_EQ(num_merged, 1) << "Q, K and V";
    if (dtype == DType::kFloat16) {
      // Two normalisations, which quantise too, and the attention's result.
      EXPECT_EQ(count_kinds(program)["loop"], 3);
    }
  }
}

/// Norm, Q, K and V; what attention gives and the product of it; norm, fc1 and fc2: three decisions of a layer.
TEST(CudaFloat8, products_that_share_steps_are_compared_together) {
  const Model model = with_node_names(quantised(encoder_layer(DType::kFloat16)));
  const Model wide_model = without_float8_pairs(model);
  const Program small = lower(model, table_of(model)).program;
  const Program wide = lower(wide_model, table_of(wide_model)).program;
  const std::vector<ProductGroup> groups = product_groups(model, small, wide);
  ASSERT_EQ(groups.size(), 3U);
  std::vector<std::size_t> num_activations, num_products, num_wide_products;
  std::set<std::size_t> seen;
  const auto count_products = [](const Program& program, const std::vector<std::size_t>& steps) {
    return static_cast<std::size_t>(std::count_if(steps.begin(), steps.end(), [&](std::size_t step) {
      return std::holds_alternative<MatMulStep>(program.steps[step].work);
    }));
  };
  for (const ProductGroup& group : groups) {
    num_activations.push_back(group.activations.size());
    num_products.push_back(count_products(small, group.small_steps));
    num_wide_products.push_back(count_products(wide, group.wide_steps));
    for (const std::size_t step : group.small_steps) EXPECT_TRUE(seen.insert(step).second) << "in two groups: " << step;
    for (const std::string& name : group.activations) {
      EXPECT_TRUE(std::any_of(model.graph.nodes.begin(), model.graph.nodes.end(), [&](const Node& node) {
        return node.is("QuantizeLinear") && node.inputs[0] == name;
      })) << name;
    }
  }
  EXPECT_EQ(num_activations, (std::vector<std::size_t>{1, 1, 2}));
  EXPECT_EQ(num_products, (std::vector<std::size_t>{1, 1, 2}));
  EXPECT_EQ(num_wide_products, num_products);
  EXPECT_EQ(groups[0].small_steps.size(), 2U);
  EXPECT_EQ(groups[1].small_steps.size(), groups[1].wide_steps.size() + 1)
      << "attention's result is quantised by itself";
  EXPECT_EQ(groups[2].small_steps.size(), 3U);
  for (const Step& step : wide.steps) EXPECT_NE(factor_type(wide, step), DType::kFloat8E4M3Fn);
}

TEST(CudaFloat8, quantising_and_back_rounds_inside_a_loop) {
  GraphBuilder builder("pair", 19);
  const GraphValue x = builder.input("x", DType::kFloat32, known({7, 33}));
  Tensor zero(DType::kFloat8E4M3Fn, Shape{});
  zero.mutable_bytes()[0] = std::byte{0};
  const GraphValue scale = builder.constant(0.03F);
  const GraphValue point = builder.constant(zero);
  const GraphValue codes = builder.node("QuantizeLinear", {x, scale, point});
  const GraphValue back = builder.node("DequantizeLinear", {codes, scale, point});
  builder.output("y", builder.node("Mul", {back, builder.constant(2.0F)}), DType::kFloat32, known({7, 33}));
  expect_same(builder.build(), 1e-6);
}

/// Weights with one scale a column are no case for the products: the graph is computed as it is written.
TEST(CudaFloat8, other_scales_are_computed_as_written) {
  GraphBuilder builder("columns", 19);
  const GraphValue x = builder.input("x", DType::kFloat32, known({70, kHidden}));
  Tensor zero(DType::kFloat8E4M3Fn, Shape{});
  zero.mutable_bytes()[0] = std::byte{0};
  Tensor codes(DType::kFloat8E4M3Fn, Shape{kHidden, kInner});
  std::mt19937 random(3);
  for (std::byte& code : codes.mutable_bytes()) code = static_cast<std::byte>(random() % 0x60U);
  Tensor scales(DType::kFloat32, Shape{kInner});
  for (float& value : scales.mutable_as<float>()) value = 0.001F * static_cast<float>(random() % 100U + 1);
  const GraphValue scale = builder.constant(0.05F);
  const GraphValue point = builder.constant(zero);
  const GraphValue left =
      builder.node("DequantizeLinear", {builder.node("QuantizeLinear", {x, scale, point}), scale, point});
  const GraphValue right = builder.node("DequantizeLinear", {builder.weight("codes", codes), builder.constant(scales)},
                                        {{"axis", std::int64_t{1}}});
  builder.output("y", builder.node("MatMul", {left, right}), DType::kFloat32, known({70, kInner}));
  const auto lowered = expect_same(builder.build(), 1e-4);
  for (const Step& step : lowered.program.steps) {
    EXPECT_NE(factor_type(lowered.program, step), DType::kFloat8E4M3Fn);
  }
}

}  // namespace
}  // namespace pajamas::cuda
