// Which products of a graph become one packed operator: a gated layer takes the one behind it along, but only where
// nothing else looks at what lies between. What the operators compute: openvino_packed_linear_test.cpp.
#include "targets/openvino/packed_linear_op.h"

#include <gtest/gtest.h>

#include <openvino/op/constant.hpp>
#include <openvino/op/convert.hpp>
#include <openvino/op/matmul.hpp>
#include <openvino/op/multiply.hpp>
#include <openvino/op/parameter.hpp>
#include <openvino/op/result.hpp>
#include <openvino/op/swish.hpp>
#include <openvino/runtime/tensor.hpp>
#include <random>

namespace pajamas::openvino {
namespace {

using Value = ov::Output<ov::Node>;

/// x by a random matrix of int8 with one scale a row.
Value product(const Value& x, std::size_t num_rows, std::size_t num_columns, std::uint32_t seed) {
  std::mt19937 generator(seed);
  std::vector<std::int8_t> values(num_rows * num_columns);
  for (auto& value : values) value = static_cast<std::int8_t>(generator());
  const auto stored = ov::op::v0::Constant::create(ov::element::i8, ov::Shape{num_rows, num_columns}, values);
  const auto converted = std::make_shared<ov::op::v0::Convert>(stored, ov::element::f32);
  const std::vector<float> scales(num_rows, 0.001F);
  const auto scaled = std::make_shared<ov::op::v1::Multiply>(
      converted, ov::op::v0::Constant::create(ov::element::f32, ov::Shape{num_rows, 1}, scales));
  return std::make_shared<ov::op::v0::MatMul>(x, scaled, false, true);
}

/// down(silu(gate(x)) · up(x)), and what lies between if it is wanted too.
std::shared_ptr<ov::Model> gated_model(bool is_middle_wanted) {
  const auto x = std::make_shared<ov::op::v0::Parameter>(ov::element::f32, ov::PartialShape{-1, 64});
  const Value activated = std::make_shared<ov::op::v4::Swish>(product(x, 96, 64, 1));
  const Value middle = std::make_shared<ov::op::v1::Multiply>(activated, product(x, 96, 64, 2));
  ov::ResultVector results{std::make_shared<ov::op::v0::Result>(product(middle, 40, 96, 3))};
  if (is_middle_wanted) results.push_back(std::make_shared<ov::op::v0::Result>(middle));
  return std::make_shared<ov::Model>(results, ov::ParameterVector{x});
}

std::vector<std::shared_ptr<ov::Node>> packed_operators(const ov::Model& model) {
  std::vector<std::shared_ptr<ov::Node>> found;
  for (const std::shared_ptr<ov::Node>& node : model.get_ordered_ops()) {
    if (std::dynamic_pointer_cast<PackedLinearOp>(node) != nullptr) found.push_back(node);
  }
  return found;
}

/// The first output of the model, which holds packed operators only.
std::vector<float> result_of(const ov::Model& model, std::size_t num_tokens) {
  ov::Tensor x(ov::element::f32, {num_tokens, 64});
  std::mt19937 generator(5);
  std::normal_distribution<float> normal;
  for (std::size_t i = 0; i < x.get_size(); ++i) x.data<float>()[i] = normal(generator);
  std::vector<ov::Tensor> values{x};
  for (const auto& node : packed_operators(model)) {
    ov::TensorVector outputs{ov::Tensor(ov::element::f32, {num_tokens, 1})};
    EXPECT_TRUE(node->evaluate(outputs, {values.back()}));
    values.push_back(outputs[0]);
  }
  const float* begin = values.back().data<const float>();
  return {begin, begin + values.back().get_size()};
}

TEST(PackedLinearOp, AGatedLayerTakesTheOneBehindItAlong) {
  if (!PackedLinear::is_available()) GTEST_SKIP() << "this processor has no AVX512-VNNI";
  const auto together = gated_model(false);
  const auto apart = gated_model(true);
  EXPECT_GT(pack_linear_layers(together), 0U);
  EXPECT_GT(pack_linear_layers(apart), 0U);
  ASSERT_EQ(packed_operators(*together).size(), 1U);
  ASSERT_EQ(packed_operators(*apart).size(), 2U) << "the gated values are an output of the model";
  EXPECT_EQ(together->output(0).get_partial_shape(), (ov::PartialShape{-1, 40}));
  for (const std::size_t num_tokens : {1U, 40U}) {
    const std::vector<float> found = result_of(*together, num_tokens);
    EXPECT_EQ(found.size(), num_tokens * 40);
    EXPECT_EQ(found, result_of(*apart, num_tokens));
  }
}

}  // namespace
}  // namespace pajamas::openvino
