// Tests of graph/passes/scale_by_activations.h: that scaling changes no result, that it helps 4-bit weights where
// activations have outliers, and where it keeps its hands off.
#include "graph/passes/scale_by_activations.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "graph/checker.h"
#include "graph/interpreter.h"
#include "pajamas/error.h"
#include "support/random_tensor.h"
#include "support/relative_difference.h"
#include "tensor/half.h"

namespace pajamas {
namespace {

using test::random_tensor;
using test::relative_difference;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::int64_t kHidden = 128, kWide = 256, kNumTokens = 40;

/// A norm whose weight makes four channels loud, as trained models have them.
Tensor loud_norm() {
  Tensor weight(DType::kFloat32, {kHidden});
  const auto values = weight.mutable_as<float>();
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = i % 32 == 7 ? 25.0F : 1.0F;
  return weight;
}

/// Norm, gated feed-forward, output layer. The norm's weight is bfloat16 behind a Cast where `has_half_norm`.
Model feed_forward(bool has_half_norm = false, bool has_other_use = false) {
  GraphBuilder builder("model", 23);
  const GraphValue x = builder.input("x", DType::kFloat32, {Dimension::named("num_tokens"), Dimension::known(kHidden)});
  GraphValue weight;
  if (has_half_norm) {
    Tensor half(DType::kBfloat16, {kHidden});
    const Tensor full = loud_norm();
    for (std::size_t i = 0; i < static_cast<std::size_t>(kHidden); ++i) {
      const std::uint16_t bits = bfloat16_from_float(full.as<float>()[i]);
      std::memcpy(half.mutable_bytes().data() + 2 * i, &bits, 2);
    }
    weight = builder.node("Cast", {builder.weight("norm.weight", half)},
                          {{"to", static_cast<std::int64_t>(DType::kFloat32)}});
  } else {
    weight = builder.weight("norm.weight", loud_norm());
  }
  const GraphValue normed = builder.node("RMSNormalization", {x, weight}, {{"axis", std::int64_t{-1}}});
  const auto linear = [&](const std::string& name, const GraphValue& input, std::int64_t rows, std::int64_t columns,
                          unsigned seed) {
    return builder.node("Gemm", {input, builder.weight(name, random_tensor({rows, columns}, 0.05F, seed))},
                        {{"transB", std::int64_t{1}}});
  };
  const GraphValue gate = builder.node("Sigmoid", {linear("gate.weight", normed, kWide, kHidden, 1)});
  const GraphValue up = linear("up.weight", normed, kWide, kHidden, 2);
  const GraphValue inner = builder.node("Mul", {gate, up});
  GraphValue out = linear("down.weight", inner, kHidden, kWide, 3);
  if (has_other_use) out = builder.node("Add", {out, normed});
  out = builder.node("Softsign", {out});
  builder.output("y", linear("head.weight", out, kHidden, kHidden, 4), DType::kFloat32,
                 {Dimension::named("num_tokens"), Dimension::known(kHidden)});
  return builder.build();
}

const Tensor& tokens() {
  static const Tensor tensor = random_tensor({kNumTokens, kHidden}, 1, 9);
  return tensor;
}

std::vector<float> output_of(const Model& model) {
  const Tensor y = run_graph(model, {{"x", tokens()}}).at("y");
  return {y.as<float>().begin(), y.as<float>().end()};
}

CalibrationStats stats_of(const Model& model, const WeightQuantization& options) {
  RunOptions run;
  run.has_all_values = true;
  const auto values = run_graph(model, {{"x", tokens()}}, run);
  CalibrationStats stats;
  for (const auto& entry : calibration_inputs(model.graph, options))
    stats.inputs[entry.first] = values.at(entry.second);
  return stats;
}

TEST(ScaleByActivations, ComputesTheSameAndHelpsFourBits) {
  for (const bool has_half_norm : {false, true}) {
    const Model original = feed_forward(has_half_norm);
    const auto expected = output_of(original);
    WeightQuantization options;
    options.linear = kInt4PerGroup;
    Model nearest = original;
    quantize_weights(nearest, options);
    const CalibrationStats stats = stats_of(original, options);
    EXPECT_EQ(stats.inputs.size(), 3u);
    Model aware = original;
    const ActivationScaling scaling = scale_by_activations(aware, stats, options);
    ASSERT_EQ(scaling.groups.size(), 2u);
    EXPECT_THAT(scaling.groups[0].weights, ElementsAre("gate.weight", "up.weight"));
    EXPECT_THAT(scaling.groups[1].weights, ElementsAre("down.weight"));
    EXPECT_GT(scaling.groups[0].strength, 0.1);
    EXPECT_LT(scaling.groups[0].error_after, scaling.groups[0].error_before);
    options.scalings = scaling.scalings;
    quantize_weights(aware, options);
    check_model(aware);
    const double nearest_error = relative_difference(output_of(nearest), expected);
    const double aware_error = relative_difference(output_of(aware), expected);
    EXPECT_LT(aware_error, 0.8 * nearest_error);

    // The same factors with weights in 8 bits: what scaling alone would change were it wrong is far above their error.
    options.linear = kInt8PerRow;
    Model exact = original;
    WeightQuantization none = options;
    none.scalings.clear();
    none.linear = kInt4PerGroup;
    scale_by_activations(exact, stats, none);
    quantize_weights(exact, options);
    EXPECT_LT(relative_difference(output_of(exact), expected), 0.02);
  }
}

TEST(ScaleByActivations, LeavesNormsThatOthersUseAlone) {
  const Model original = feed_forward(false, /*has_other_use=*/true);
  WeightQuantization options;
  options.linear = kInt4PerGroup;
  Model model = original;
  const ActivationScaling scaling = scale_by_activations(model, stats_of(original, options), options);
  ASSERT_EQ(scaling.groups.size(), 1u);
  EXPECT_THAT(scaling.groups[0].weights, ElementsAre("down.weight"));
  EXPECT_TRUE(scaling.scalings.at("gate.weight").columns.empty());
  EXPECT_EQ(scaling.scalings.at("gate.weight").importance.size(), static_cast<std::size_t>(kHidden));
  EXPECT_THAT(model.graph.find_initializer("norm.weight")->tensor.as<float>(),
              testing::ElementsAreArray(loud_norm().as<float>()));
}

TEST(ScaleByActivations, NamesWhatIsMissingOrDoesNotFit) {
  const Model original = feed_forward();
  WeightQuantization options;
  options.linear = kInt4PerGroup;
  Model model = original;
  ActivationScaling scaling = scale_by_activations(model, {}, options);
  EXPECT_TRUE(scaling.scalings.empty());
  EXPECT_THAT(scaling.pass.notes, testing::Contains(HasSubstr("no samples of what goes into 'gate.weight'")));
  CalibrationStats wrong;
  wrong.inputs["down.weight"] = tokens();
  try {
    scale_by_activations(model, wrong, options);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("layer of 256 input channels"));
    EXPECT_THAT(error.what(), HasSubstr("down.weight"));
  }
  // Factors for a weight that stays as it is would change the model.
  scaling = scale_by_activations(model, stats_of(original, options), options);
  options.scalings = scaling.scalings;
  options.keep = {"gate.weight"};
  EXPECT_THROW(quantize_weights(model, options), Error);
}

}  // namespace
}  // namespace pajamas
