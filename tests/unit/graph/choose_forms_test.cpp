// Tests of graph/passes/choose_forms.h: who gets 8 bits, what it may cost, and that quantize_weights obeys.
#include "graph/passes/choose_forms.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "graph/checker.h"
#include "graph/interpreter.h"
#include "pajamas/error.h"
#include "support/random_tensor.h"
#include "support/relative_difference.h"

namespace pajamas {
namespace {

using test::random_tensor;
using test::relative_difference;
using testing::IsEmpty;
using testing::Key;
using testing::UnorderedElementsAre;

constexpr std::int64_t kHidden = 128, kNumTokens = 24;

/// Values that lie on a grid of 16 steps by groups, as a file in 4 bits has them.
Tensor on_a_grid(Shape shape, unsigned seed) {
  std::mt19937 random(seed);
  Tensor tensor(DType::kFloat32, std::move(shape));
  const auto values = tensor.mutable_as<float>();
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::size_t place = i % 128;
    const auto q = place < 2 ? place * 15 : random() % 16;
    values[i] = static_cast<float>(q) * 0x1p-7F - 0x1.1p-5F;
  }
  return tensor;
}

/// Query, key and value of one input, two layers of equal shape behind them, and the output layer.
Model model_of(const Tensor& wide) {
  GraphBuilder builder("model", 23);
  const GraphValue x = builder.input("x", DType::kFloat32, {Dimension::named("num_tokens"), Dimension::known(kHidden)});
  const auto linear = [&](const std::string& name, const GraphValue& input, const Tensor& weight) {
    return builder.node("Gemm", {input, builder.weight(name, weight)}, {{"transB", std::int64_t{1}}});
  };
  const GraphValue query = linear("q.weight", x, wide);
  const GraphValue key = linear("k.weight", x, random_tensor({16, kHidden}, 0.05F, 2));
  const GraphValue value = linear("v.weight", x, random_tensor({16, kHidden}, 0.05F, 3));
  const GraphValue all = builder.node("Concat", {query, key, value}, {{"axis", std::int64_t{1}}});
  builder.output("y", linear("head.weight", all, random_tensor({kHidden, kHidden + 32}, 0.05F, 4)), DType::kFloat32,
                 {Dimension::named("num_tokens"), Dimension::known(kHidden)});
  return builder.build();
}

CalibrationStats stats_of(const Model& model, const WeightQuantization& options) {
  RunOptions run;
  run.has_all_values = true;
  const auto values = run_graph(model, {{"x", random_tensor({kNumTokens, kHidden}, 1, 9)}}, run);
  CalibrationStats stats;
  for (const auto& entry : calibration_inputs(model.graph, options)) {
    stats.inputs[entry.first] =
        entry.second == "x" ? random_tensor({kNumTokens, kHidden}, 1, 9) : values.at(entry.second);
  }
  return stats;
}

WeightQuantization four_bits() {
  WeightQuantization options;
  options.linear = kInt4WithMinimums;
  options.table = kInt8PerRow;
  return options;
}

class ChooseForms : public testing::Test {
 protected:
  WeightQuantization options_ = four_bits();
  const Model model_ = model_of(random_tensor({kHidden, kHidden}, 0.05F, 1));
  const CalibrationStats stats_ = stats_of(model_, options_);
};

TEST_F(ChooseForms, SmallLayersOfOneInputFirstAndTogether) {
  // A fifth of the weights is in k and v: 4 bits more for them are 0.8 for all.
  FormChoice choice;
  choice.max_extra_bits = 1;
  const auto forms = choose_forms(model_.graph, stats_, options_, choice);
  ASSERT_THAT(forms, UnorderedElementsAre(Key("k.weight"), Key("v.weight")));
  EXPECT_EQ(forms.at("k.weight"), kInt8PerRow);
  choice.max_extra_bits = 0.5;
  EXPECT_THAT(choose_forms(model_.graph, stats_, options_, choice), IsEmpty()) << "half of a pair does not go";
  choice.max_extra_bits = 8;
  EXPECT_EQ(choose_forms(model_.graph, stats_, options_, choice).size(), 3U) << "the output layer is a table";
  choice.num_threads = 3;
  EXPECT_EQ(choose_forms(model_.graph, stats_, options_, choice).size(), 3U);
}

TEST_F(ChooseForms, WhatFourBitsHoldWithoutLossStays) {
  const Model model = model_of(on_a_grid({kHidden, kHidden}, 1));
  FormChoice choice;
  choice.max_extra_bits = 8;
  EXPECT_THAT(choose_forms(model.graph, stats_of(model, options_), options_, choice),
              UnorderedElementsAre(Key("k.weight"), Key("v.weight")));
  EXPECT_THAT(choose_forms(model_.graph, {}, options_, choice), IsEmpty());
  WeightQuantization eight = options_;
  eight.linear = kInt8PerRow;
  EXPECT_THAT(choose_forms(model_.graph, stats_, eight, choice), IsEmpty());
}

TEST_F(ChooseForms, QuantizeWeightsObeysAndTheBitsAreThoseOfTheBudget) {
  FormChoice choice;
  choice.max_extra_bits = 1;
  const Tensor x = random_tensor({kNumTokens, kHidden}, 1, 5);
  const auto output_of = [&](const Model& model) {
    const Tensor y = run_graph(model, {{"x", x}}).at("y");
    return std::vector<float>(y.as<float>().begin(), y.as<float>().end());
  };
  const auto expected = output_of(model_);
  Model four = model_, mixed = model_;
  const WeightQuantizationReport before = quantize_weights(four, options_);
  EXPECT_DOUBLE_EQ(before.bits_per_weight(), 4.25);
  options_.forms = choose_forms(model_.graph, stats_, options_, choice);
  const WeightQuantizationReport report = quantize_weights(mixed, options_);
  check_model(mixed);
  EXPECT_EQ(mixed.graph.find_initializer("k.weight")->tensor.dtype(), DType::kInt8);
  EXPECT_EQ(mixed.graph.find_initializer("q.weight")->tensor.dtype(), DType::kUint4);
  EXPECT_EQ(mixed.graph.find_initializer("head.weight")->tensor.dtype(), DType::kInt8);
  EXPECT_GT(report.bits_per_weight(), 4.75);
  EXPECT_LE(report.bits_per_weight(), 5.25);
  EXPECT_LT(relative_difference(output_of(mixed), expected), relative_difference(output_of(four), expected));
}

}  // namespace
}  // namespace pajamas
