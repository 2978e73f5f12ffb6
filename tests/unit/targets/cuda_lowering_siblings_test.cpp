// Products of one input merged into one: numbers, how many steps come out, what is left alone. Also the packing of the
// weights that are joined for it.
#include "pajamas/error.h"
#include "unit/targets/cuda_lowering_support.h"

namespace pajamas::cuda {
namespace {

/// Attention as encoders write it: Q and V with a bias, K without.
Model attention_model(DType dtype, bool is_k_output) {
  constexpr std::int64_t kBatch = 2, kLength = 5, kHeads = 4, kHeadDim = 16, kHidden = kHeads * kHeadDim;
  GraphBuilder builder("attention");
  const GraphValue x = builder.input("x", dtype, known({kBatch, kLength, kHidden}));
  GraphValue projected_k;
  const auto heads = [&](const char* name, std::uint64_t seed, bool has_bias, std::vector<std::int64_t> perm) {
    GraphValue y = builder.node(
        "MatMul", {x, builder.weight(std::string(name) + ".weight", scaled(dtype, {kHidden, kHidden}, seed, 0.1F))});
    if (has_bias) {
      y = builder.node("Add",
                       {y, builder.weight(std::string(name) + ".bias", scaled(dtype, {kHidden}, seed + 1, 1.0F))});
    } else {
      projected_k = y;
    }
    const GraphValue split = builder.node("Reshape", {y, builder.integers({kBatch, kLength, kHeads, kHeadDim})});
    return builder.node("Transpose", {split}, {{"perm", perm}});
  };
  const GraphValue q = heads("q", 1, true, {0, 2, 1, 3});
  const GraphValue k = heads("k", 3, false, {0, 2, 3, 1});
  const GraphValue v = heads("v", 5, true, {0, 2, 1, 3});
  const GraphValue scale = builder.constant(scaled(dtype, {1}, 9, 0.2F));
  const GraphValue scores = builder.node("Mul", {builder.node("MatMul", {q, k}), scale});
  const GraphValue weights = builder.node("Softmax", {scores}, {{"axis", std::int64_t{-1}}});
  const GraphValue context = builder.node("Transpose", {builder.node("MatMul", {weights, v})},
                                          {{"perm", std::vector<std::int64_t>{0, 2, 1, 3}}});
  const GraphValue flat = builder.node("Reshape", {context, builder.integers({kBatch, kLength, kHidden})});
  const GraphValue y =
      builder.node("MatMul", {flat, builder.weight("out.weight", scaled(dtype, {kHidden, kHidden}, 7, 0.1F))});
  builder.output("y", y, dtype, known({kBatch, kLength, kHidden}));
  if (is_k_output) builder.output("k", projected_k, dtype, known({kBatch, kLength, kHidden}));
  return builder.build();
}

TEST(CudaSiblings, q_k_and_v_are_one_product) {
  const auto lowered = expect_same(attention_model(DType::kFloat16, false), 0.02);
  auto counts = count_kinds(lowered.program);
  EXPECT_EQ(counts["matmul"], 2);
  EXPECT_EQ(counts["attention"], 1);
  EXPECT_EQ(counts["loop"], 0) << "nothing is copied for the attention";
  for (const Step& step : lowered.program.steps) {
    const auto* product = std::get_if<MatMulStep>(&step.work);
    if (product == nullptr || !product->epilogue.bias) continue;
    EXPECT_EQ(lowered.program.value(product->y).desc.extents, (Shape{10, 192}));
    EXPECT_EQ(lowered.program.value(*product->epilogue.bias).desc.extents, (Shape{192}));
  }
}

TEST(CudaSiblings, are_left_alone_when_asked) {
  LoweringOptions options;
  options.merges_products = false;
  EXPECT_EQ(count_kinds(expect_same(attention_model(DType::kFloat16, false), 0.02, options).program)["matmul"], 4);
}

TEST(CudaSiblings, without_attention_steps_in_float32) {
  // No attention step in float32: the products' results go through loops and products as windows.
  const auto lowered = expect_same(attention_model(DType::kFloat32, false), 1e-4);
  EXPECT_EQ(count_kinds(lowered.program)["matmul"], 4);
}

TEST(CudaSiblings, a_result_that_is_a_graph_output_is_written_there) {
  // Q and V go together, K by itself.
  EXPECT_EQ(count_kinds(expect_same(attention_model(DType::kFloat16, true), 0.02).program)["matmul"], 3);
}

struct Branch {
  std::int64_t channels = 8;
  const char* activation = "Silu";
  std::int64_t stride = 1;
  bool has_bias = true;
  bool is_concatenated = false;
};

/// Convolutions of one input, each with another behind it.
Model branches_model(DType dtype, const std::vector<Branch>& branches) {
  GraphBuilder builder("branches");
  const GraphValue image = builder.input("x", dtype, known({2, 8, 9, 7}));
  const GraphValue x = builder.node(
      "Relu", {builder.node("Conv", {image, builder.weight("stem", scaled(dtype, {16, 8, 1, 1}, 1, 0.3F))})});
  std::vector<GraphValue> concatenated;
  for (std::size_t i = 0; i < branches.size(); ++i) {
    const Branch& branch = branches[i];
    const std::string name = "b" + std::to_string(i);
    std::vector<GraphValue> inputs{
        x, builder.weight(name + ".w", scaled(dtype, {branch.channels, 16, 3, 3}, 10 + i, 0.1F))};
    if (branch.has_bias) inputs.push_back(builder.weight(name + ".b", scaled(dtype, {branch.channels}, 20 + i, 1.0F)));
    GraphValue y = builder.node("Conv", inputs,
                                {{"pads", std::vector<std::int64_t>{1, 1, 1, 1}},
                                 {"strides", std::vector<std::int64_t>{branch.stride, branch.stride}}});
    if (std::string(branch.activation) == "Silu") {
      y = builder.node("Mul", {y, builder.node("Sigmoid", {y})});
    } else {
      y = builder.node(branch.activation, {y});
    }
    if (branch.is_concatenated) {
      concatenated.push_back(y);
      continue;
    }
    const GraphValue z = builder.node(
        "Conv", {y, builder.weight(name + ".next", scaled(dtype, {8, branch.channels, 1, 1}, 30 + i, 0.3F))});
    const std::int64_t step = branch.stride;
    builder.output("y" + std::to_string(i), z, dtype, known({2, 8, (9 + step - 1) / step, (7 + step - 1) / step}));
  }
  if (!concatenated.empty()) {
    std::int64_t channels = 0;
    for (const Branch& branch : branches) channels += branch.is_concatenated ? branch.channels : 0;
    const GraphValue whole = builder.node("Concat", concatenated, {{"axis", std::int64_t{1}}});
    const GraphValue z =
        builder.node("Conv", {whole, builder.weight("last.w", scaled(dtype, {8, channels, 1, 1}, 40, 0.3F))});
    builder.output("last", z, dtype, known({2, 8, 9, 7}));
  }
  return builder.build();
}

int num_convolutions(const std::vector<Branch>& branches, const LoweringOptions& options = {}) {
  return count_kinds(expect_same(branches_model(DType::kFloat16, branches), 0.02, options).program)["conv"];
}

TEST(CudaSiblings, convolutions_of_one_input_and_geometry_are_one) {
  EXPECT_EQ(num_convolutions({{.channels = 8}, {.channels = 24}}), 1 + 1 + 2);
  EXPECT_EQ(num_convolutions({{.channels = 8}, {.channels = 16, .has_bias = false}, {.channels = 8}}), 1 + 1 + 3);
  expect_same(branches_model(DType::kFloat32, {{.channels = 8}, {.channels = 24}}), 1e-4);
  LoweringOptions options;
  options.merges_convolutions = false;
  EXPECT_EQ(num_convolutions({{.channels = 8}, {.channels = 24}}, options), 1 + 2 + 2);
}

TEST(CudaSiblings, convolutions_that_differ_stay_apart) {
  EXPECT_EQ(num_convolutions({{.channels = 8}, {.channels = 12}}), 1 + 2 + 2) << "not a multiple of 8 channels";
  EXPECT_EQ(num_convolutions({{.activation = "Silu"}, {.activation = "Relu"}}), 1 + 2 + 2);
  EXPECT_EQ(num_convolutions({{.stride = 1}, {.stride = 2}}), 1 + 2 + 2);
  EXPECT_EQ(num_convolutions({{.stride = 1}, {.stride = 2}, {.stride = 1}}), 1 + 2 + 3) << "the first and third";
}

TEST(CudaSiblings, parts_of_a_concat_are_written_where_it_wants_them) {
  EXPECT_EQ(num_convolutions({{.is_concatenated = true}, {.is_concatenated = true}}), 1 + 2 + 1);
  EXPECT_EQ(num_convolutions({{}, {.is_concatenated = true}, {.is_concatenated = true}, {}}), 1 + 3 + 2 + 1);
}

ConstantTable table_of_three() {
  ConstantTable table;
  table.add("a", {DType::kFloat32, {2, 3}, Tensor::of<float>({2, 3}, std::vector<float>{1, 2, 3, 4, 5, 6})});
  table.add("b", {DType::kFloat32, {2, 1}, Tensor::of<float>({2, 1}, std::vector<float>{7, 8})});
  table.add("half", {DType::kFloat16, {2, 1}, Tensor(DType::kFloat16, {2, 1})});
  table.add("absent", {DType::kFloat32, {2, 1}, std::nullopt});
  return table;
}

std::vector<float> numbers(const Tensor& tensor) {
  const auto values = tensor.as<float>();
  return {values.begin(), values.end()};
}

TEST(CudaSiblings, joined_constants_lie_behind_one_another) {
  const ConstantTable table = table_of_three();
  PackRequest request;
  request.name = "whole";
  request.parts = {{"", 2}, {"a", 3}, {"b", 1}};
  request.join_axis = 1;
  EXPECT_EQ(numbers(pack(table, request)), (std::vector<float>{0, 0, 1, 2, 3, 7, 0, 0, 4, 5, 6, 8}));
  request.parts = {{"a", 2}, {"", 1}, {"a", 2}};
  request.join_axis = 0;
  EXPECT_EQ(numbers(pack(table, request)), (std::vector<float>{1, 2, 3, 4, 5, 6, 0, 0, 0, 1, 2, 3, 4, 5, 6}));
  request.parts.clear();
  request.name = "a";
  request.reshaped_extents = {3, 2};
  request.padded_extents = {3, 3};
  EXPECT_EQ(numbers(pack(table, request)), (std::vector<float>{1, 2, 0, 3, 4, 0, 5, 6, 0}));
}

TEST(CudaSiblings, constants_that_cannot_be_joined_are_refused) {
  const ConstantTable table = table_of_three();
  PackRequest request;
  request.name = "whole";
  request.join_axis = 1;
  request.parts = {{"a", 3}, {"half", 1}};
  EXPECT_THROW(pack(table, request), Error);
  request.parts = {{"a", 2}, {"b", 1}};
  EXPECT_THROW(pack(table, request), Error);
  request.parts = {{"a", 3}, {"absent", 1}};
  EXPECT_THROW(pack(table, request), Error);
  request.parts = {{"", 3}};
  EXPECT_THROW(pack(table, request), Error);
  request.parts = {{"a", 3}, {"none", 1}};
  EXPECT_THROW(pack(table, request), Error);
  request = {};
  request.name = "a";
  request.reshaped_extents = {4, 2};
  EXPECT_THROW(pack(table, request), Error);
}

TEST(CudaSiblings, keys_tell_joined_constants_apart) {
  PackRequest first;
  first.name = "w";
  first.parts = {{"a", 3}, {"b", 1}};
  PackRequest second = first;
  EXPECT_EQ(key_of(first), key_of(second));
  second.parts = {{"a", 3}, {"", 1}};
  EXPECT_NE(key_of(first), key_of(second));
  second = first;
  second.join_axis = 1;
  EXPECT_NE(key_of(first), key_of(second));
  PackRequest third;
  third.name = "w";
  PackRequest fourth = third;
  fourth.reshaped_extents = {4, 1};
  EXPECT_NE(key_of(third), key_of(fourth));
  fourth.reshaped_extents.clear();
  fourth.padded_extents = {4, 1};
  EXPECT_NE(key_of(third), key_of(fourth));
}

}  // namespace
}  // namespace pajamas::cuda
