// Convolutions that cut an image into patches, computed as products: numbers, steps, and which are left alone.
#include "unit/targets/cuda_lowering_support.h"

namespace pajamas::cuda {
namespace {

struct Case {
  Shape x{2, 3, 8, 12};
  Shape weights{16, 3, 4, 4};
  std::vector<std::int64_t> strides = {};  ///< Empty: the kernel.
  std::int64_t pad = 0;
  bool has_bias = true;
  bool is_flattened = true;  ///< Tokens behind it, as in a vision transformer; else an activation.
  DType dtype = DType::kFloat16;
};

Model model_of(const Case& wanted) {
  GraphBuilder builder("patches");
  const std::size_t axes = wanted.x.rank() - 2;
  const GraphValue x = builder.input("x", wanted.dtype, known(wanted.x));
  std::vector<GraphValue> inputs{x, builder.weight("w", scaled(wanted.dtype, wanted.weights, 1, 0.2F))};
  if (wanted.has_bias) inputs.push_back(builder.weight("b", scaled(wanted.dtype, {wanted.weights[0]}, 2, 1.0F)));
  std::vector<std::int64_t> strides = wanted.strides;
  if (strides.empty()) strides.assign(wanted.weights.begin() + 2, wanted.weights.end());
  GraphValue y =
      builder.node("Conv", inputs, {{"strides", strides}, {"pads", std::vector<std::int64_t>(2 * axes, wanted.pad)}});
  std::int64_t count = 1;
  for (std::size_t i = 0; i < axes; ++i) {
    count *= (wanted.x[i + 2] + 2 * wanted.pad - wanted.weights[i + 2]) / strides[i] + 1;
  }
  if (wanted.is_flattened) {
    y = builder.node("Reshape", {y, builder.integers({wanted.x[0], wanted.weights[0], count})});
    y = builder.node("Transpose", {y}, {{"perm", std::vector<std::int64_t>{0, 2, 1}}});
    const GraphValue position = builder.weight("p", scaled(wanted.dtype, {1, count, wanted.weights[0]}, 3, 1.0F));
    y = builder.node("Add", {y, position});
  } else {
    y = builder.node("Relu", {y});
    y = builder.node("Reshape", {y, builder.integers({wanted.x[0], count, wanted.weights[0]})});
  }
  builder.output("y", y, wanted.dtype, known({wanted.x[0], count, wanted.weights[0]}));
  return builder.build();
}

std::map<std::string, int> counts_of(const Case& wanted) {
  return count_kinds(expect_same(model_of(wanted), wanted.dtype == DType::kFloat32 ? 1e-4 : 0.02).program);
}

TEST(CudaPatches, are_rows_of_a_product) {
  auto counts = counts_of({});
  EXPECT_EQ(counts["matmul"], 1);
  EXPECT_EQ(counts["conv"], 0);
  EXPECT_EQ(counts["loop"], 2) << "the patches, and the Add behind";
  EXPECT_EQ(counts_of({.has_bias = false})["matmul"], 1);
  EXPECT_EQ(counts_of({.dtype = DType::kFloat32})["matmul"], 1);
}

TEST(CudaPatches, of_an_image_in_another_type_are_cut_while_it_is_converted) {
  Model model = model_of({});
  model.graph.inputs[0].type->dtype = DType::kFloat32;
  Node cast;
  cast.op_type = "Cast";
  cast.inputs = {"x"};
  cast.outputs = {"x16"};
  cast.set_attribute("to", std::int64_t{10});
  model.graph.nodes[0].inputs[0] = "x16";
  model.graph.nodes.insert(model.graph.nodes.begin(), cast);
  auto counts = count_kinds(expect_same(model, 0.02).program);
  EXPECT_EQ(counts["matmul"], 1);
  EXPECT_EQ(counts["loop"], 2);
}

TEST(CudaPatches, of_any_number_of_axes_and_elements) {
  EXPECT_EQ(counts_of({.x = {1, 2, 30}, .weights = {8, 2, 10}})["matmul"], 1);
  EXPECT_EQ(counts_of({.x = {2, 1, 4, 6, 4}, .weights = {5, 1, 2, 3, 4}})["matmul"], 1);
  // 3 · 5 · 5 = 75 columns: padded to 80. 1 · 1 · 3 to 8.
  EXPECT_EQ(counts_of({.x = {2, 3, 10, 5}, .weights = {7, 3, 5, 5}})["matmul"], 1);
  EXPECT_EQ(counts_of({.x = {1, 1, 1, 3}, .weights = {1, 1, 1, 3}})["matmul"], 1);
}

TEST(CudaPatches, that_overlap_or_leave_something_over_stay_convolutions) {
  for (const Case& other : {Case{.strides = {2, 4}}, Case{.x = {1, 3, 9, 12}}, Case{.pad = 2},
                            Case{.is_flattened = false}, Case{.x = {1, 8, 8, 8}, .weights = {16, 8, 2, 2}}}) {
    auto counts = counts_of(other);
    EXPECT_EQ(counts["conv"], 1) << other.x.to_string() << other.pad;
    EXPECT_EQ(counts["matmul"], 0);
  }
}

}  // namespace
}  // namespace pajamas::cuda
