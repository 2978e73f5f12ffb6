// Products in 8-bit floats: which are taken, their scales, that the graph still computes nearly the same, and the raise
// of the opset that it needs.
#include "graph/passes/quantize_products.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "graph/graph_builder.h"
#include "graph/interpreter.h"
#include "graph/passes/raise_opset.h"
#include "pajamas/error.h"
#include "tensor/float8.h"
#include "tensor/half.h"

namespace pajamas {
namespace {

Tensor random_tensor(const Shape& shape, unsigned seed, float scale = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, scale);
  Tensor tensor(DType::kFloat32, shape);
  for (float& value : tensor.mutable_as<float>()) value = normal(random);
  return tensor;
}

std::vector<Dimension> known(const Shape& shape) {
  std::vector<Dimension> dimensions;
  for (const std::int64_t extent : shape) dimensions.push_back(Dimension::known(extent));
  return dimensions;
}

constexpr std::int64_t kRows = 65, kHidden = 64, kInner = 128;

/// Two products that read one value, one behind each, and one of 16 by 16 that is not worth it.
Model two_branches(std::int64_t rows = kRows) {
  GraphBuilder graph("products");
  const GraphValue x = graph.input("x", DType::kFloat32, known({rows, kHidden}));
  const GraphValue left = graph.node("MatMul", {x, graph.weight("w.left", random_tensor({kHidden, kInner}, 1, 0.1F))});
  const GraphValue right = graph.node("Gemm", {x, graph.weight("w.right", random_tensor({kInner, kHidden}, 2, 0.8F))},
                                      {{"transB", std::int64_t{1}}});
  const GraphValue sum = graph.node("Relu", {graph.node("Add", {left, right})});
  const GraphValue y = graph.node("MatMul", {sum, graph.weight("w.out", random_tensor({kInner, kHidden}, 3, 0.1F))});
  const GraphValue narrow = graph.node("Slice", {y, graph.integers({0}), graph.integers({16}), graph.integers({1})});
  const GraphValue small = graph.node("MatMul", {narrow, graph.weight("w.small", random_tensor({16, 16}, 4))});
  graph.output("y", y, DType::kFloat32, known({rows, kHidden}));
  graph.output("small", small, DType::kFloat32, known({rows, 16}));
  return graph.build();
}

Magnitudes magnitudes_of(const Model& model, const Tensor& x) {
  const std::vector<std::string> names = quantizable_activations(model);
  const Model probe = with_largest_magnitudes(model, names);
  const auto found = run_graph(probe, {{"x", x}});
  Magnitudes magnitudes;
  for (std::size_t i = 0; i < names.size(); ++i) {
    magnitudes[names[i]] = found.at(probe.graph.outputs[i].name).as<float>()[0];
  }
  return magnitudes;
}

int count(const Model& model, const char* type) {
  int number = 0;
  for (const Node& node : model.graph.nodes) number += node.is(type) ? 1 : 0;
  return number;
}

double relative_error(const Tensor& expected, const Tensor& actual) {
  double difference = 0, norm = 0;
  const auto a = expected.as<float>();
  const auto b = actual.as<float>();
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    difference += d * d;
    norm += static_cast<double>(a[i]) * static_cast<double>(a[i]);
  }
  return std::sqrt(difference / norm);
}

TEST(QuantizeProducts, magnitudes_are_those_of_the_values) {
  const Model model = two_branches();
  Tensor x = random_tensor({kRows, kHidden}, 5);
  x.mutable_as<float>()[77] = -9.25F;
  const Magnitudes magnitudes = magnitudes_of(model, x);
  ASSERT_EQ(magnitudes.size(), 2U);
  EXPECT_EQ(magnitudes.at("x"), 9.25F);
}

TEST(QuantizeProducts, computes_nearly_the_same_with_pairs_around_both_factors) {
  const Model model = two_branches();
  const Tensor x = random_tensor({kRows, kHidden}, 5);
  Model quantised = model;
  const PassReport report = quantize_products(quantised, magnitudes_of(model, x));
  EXPECT_EQ(count(quantised, "QuantizeLinear"), 2) << "one an activation, not one a product";
  EXPECT_EQ(count(quantised, "DequantizeLinear"), 5);
  EXPECT_EQ(quantised.opset(), 19);
  EXPECT_GE(quantised.ir_version, 9);
  EXPECT_EQ(quantised.graph.find_initializer("w.left"), nullptr);
  ASSERT_NE(quantised.graph.find_initializer("w.small"), nullptr);
  const auto expected = run_graph(model, {{"x", x}});
  const auto actual = run_graph(quantised, {{"x", x}});
  const double error = relative_error(expected.at("y"), actual.at("y"));
  // A rounding to 3 bits errs by 2.6 % of a factor at most in the mean; two factors, two layers.
  EXPECT_LT(error, 0.06);
  EXPECT_GT(error, 0.005) << "nothing was rounded";
  EXPECT_FALSE(report.counts.empty());
}

TEST(QuantizeProducts, scales_are_powers_of_two_that_nothing_saturates_by) {
  const Model model = two_branches();
  for (const float largest : {0.4F, 448.0F, 449.0F, 1e5F}) {
    Model quantised = model;
    Magnitudes magnitudes;
    for (const std::string& name : quantizable_activations(model)) magnitudes[name] = largest;
    quantize_products(quantised, magnitudes);
    int num_checked = 0;
    for (const Node& node : quantised.graph.nodes) {
      if (!node.is("QuantizeLinear")) continue;
      const Tensor& scale = quantised.graph.find_initializer(node.inputs[1])->tensor;
      const float value = scale.as<float>()[0];
      int exponent = 0;
      EXPECT_EQ(std::frexp(value, &exponent), 0.5F) << value;
      EXPECT_GE(value * kMaxFloat8E4M3, largest);
      EXPECT_LT(value * kMaxFloat8E4M3 / 2, largest);
      ++num_checked;
    }
    EXPECT_EQ(num_checked, 2);
  }
}

TEST(QuantizeProducts, weights_of_one_activation_share_a_scale) {
  Model model = two_branches();
  const PassReport report = quantize_products(model, {{"x", 3.0F}});
  for (const std::string& note : report.notes) {
    EXPECT_EQ(note.find("calibration"), std::string::npos) << "what has no magnitude is meant to stay: " << note;
  }
  std::vector<std::string> scales;
  for (const Node& node : model.graph.nodes) {
    if (!node.is("DequantizeLinear")) continue;
    const Initializer* codes = model.graph.find_initializer(node.inputs[0]);
    if (codes == nullptr) continue;
    EXPECT_EQ(codes->tensor.dtype(), DType::kFloat8E4M3Fn);
    scales.push_back(node.inputs[1]);
  }
  ASSERT_EQ(scales.size(), 2U) << "only products of x were calibrated";
  EXPECT_EQ(scales[0], scales[1]) << "so that they can be computed as one product";
}

TEST(QuantizeProducts, leaves_what_is_not_worth_it_or_not_known) {
  const Model few_rows = two_branches(63);
  EXPECT_TRUE(quantizable_activations(few_rows).empty());
  const Model model = two_branches();
  ProductQuantization kept;
  kept.keep = {"Gemm"};
  EXPECT_EQ(quantizable_activations(model, kept).size(), 2U);
  kept.keep = {"Gemm", "MatMul"};
  EXPECT_TRUE(quantizable_activations(model, kept).empty());
  for (const float largest : {0.0F, std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    Model quantised = model;
    const PassReport report = quantize_products(quantised, {{"x", largest}});
    EXPECT_EQ(count(quantised, "QuantizeLinear"), 0) << largest;
    EXPECT_FALSE(report.notes.empty());
  }
  Model untouched = model;
  quantize_products(untouched, {});
  EXPECT_EQ(untouched.opset(), model.opset());
  EXPECT_EQ(count(untouched, "DequantizeLinear"), 0);
}

TEST(QuantizeProducts, without_its_pairs_a_model_has_the_types_it_had) {
  const Model model = two_branches();
  const Tensor x = random_tensor({kRows, kHidden}, 5);
  Model quantised = model;
  quantize_products(quantised, magnitudes_of(model, x));
  const Model wide = without_float8_pairs(quantised);
  EXPECT_EQ(count(wide, "QuantizeLinear"), 0);
  EXPECT_EQ(count(wide, "DequantizeLinear"), 0);
  ASSERT_EQ(wide.graph.nodes.size(), model.graph.nodes.size());
  for (std::size_t i = 0; i < model.graph.nodes.size(); ++i) {
    EXPECT_EQ(wide.graph.nodes[i].op_type, model.graph.nodes[i].op_type);
    EXPECT_EQ(wide.graph.nodes[i].outputs, model.graph.nodes[i].outputs);
    EXPECT_EQ(wide.graph.nodes[i].inputs[0], model.graph.nodes[i].inputs[0]);
  }
  EXPECT_NO_THROW(run_graph(wide, {{"x", x}}));
}

TEST(QuantizeProducts, pairs_of_integers_stay_when_those_of_floats_go) {
  GraphBuilder graph("mixed", 19);
  const GraphValue x = graph.input("x", DType::kFloat32, known({kRows, kHidden}));
  const GraphValue scale = graph.weight("step", Tensor::scalar(0.05F));
  const GraphValue zero = graph.weight("zero", Tensor::scalar<std::int8_t>(3));
  const GraphValue rounded =
      graph.node("DequantizeLinear", {graph.node("QuantizeLinear", {x, scale, zero}), scale, zero});
  graph.output("y", graph.node("MatMul", {rounded, graph.weight("w", random_tensor({kHidden, kInner}, 1))}),
               DType::kFloat32, known({kRows, kInner}));
  Model model = graph.build();
  const std::vector<std::string> activations = quantizable_activations(model);
  ASSERT_EQ(activations.size(), 1U);
  quantize_products(model, {{activations[0], 4.0F}});
  ASSERT_EQ(count(model, "QuantizeLinear"), 2);
  const Model wide = without_float8_pairs(model);
  EXPECT_EQ(count(wide, "QuantizeLinear"), 1);
  EXPECT_EQ(count(wide, "DequantizeLinear"), 1);
  EXPECT_NO_THROW(run_graph(wide, {{"x", random_tensor({kRows, kHidden}, 5)}}));
}

TEST(RaiseOpset, reductions_splits_and_regions_keep_their_meaning) {
  GraphBuilder graph("old", 13);
  const GraphValue x = graph.input("x", DType::kFloat32, known({4, 6}));
  const GraphValue mean = graph.node("ReduceMean", {x}, {{"axes", std::vector<std::int64_t>{1}}});
  const auto halves = graph.node_with_outputs("Split", {x}, 2, {{"axis", std::int64_t{1}}});
  graph.output("mean", mean, DType::kFloat32, known({4, 1}));
  graph.output("half", halves[1], DType::kFloat32, known({4, 3}));
  const Model old = graph.build();
  Model raised = old;
  raise_opset(raised, 19);
  EXPECT_EQ(raised.opset(), 19);
  EXPECT_EQ(raised.graph.nodes[0].find_attribute("axes"), nullptr);
  const Tensor input = random_tensor({4, 6}, 1);
  const auto expected = run_graph(old, {{"x", input}});
  const auto actual = run_graph(raised, {{"x", input}});
  for (const char* name : {"mean", "half"}) {
    EXPECT_EQ(relative_error(expected.at(name), actual.at(name)), 0) << name;
  }
  Model again = raised;
  EXPECT_EQ(raise_opset(again, 19).num_changes, 0);
}

TEST(RaiseOpset, refuses_what_it_has_no_rules_for) {
  GraphBuilder graph("ancient", 12);
  graph.output("y", graph.node("Relu", {graph.input("x", DType::kFloat32, known({1}))}), DType::kFloat32, known({1}));
  Model model = graph.build();
  try {
    raise_opset(model, 19);
    ADD_FAILURE() << "raised opset 12";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUnsupported);
    EXPECT_NE(std::string(error.what()).find("opset 12"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace pajamas
