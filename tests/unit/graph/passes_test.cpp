// Each pass on small graphs made for it: what changes, what must not, and what the report says. Results are compared by
// the interpreter; random graphs are in passes_random_graphs_test.cpp.
#include "graph/passes/passes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "graph/interpreter.h"
#include "graph/passes/pipeline.h"
#include "graph/passes/weight_conversion.h"
#include "graph/shape_inference.h"
#include "pajamas/error.h"
#include "tensor/half.h"

namespace pajamas {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

ValueInfo value(const std::string& name, DType dtype, std::vector<Dimension> shape) {
  ValueInfo info;
  info.name = name;
  info.type = ValueType{};
  info.type->dtype = dtype;
  info.type->shape = std::move(shape);
  return info;
}

std::vector<Dimension> known(std::initializer_list<std::int64_t> extents) {
  std::vector<Dimension> shape;
  for (const std::int64_t extent : extents) shape.push_back(Dimension::known(extent));
  return shape;
}

struct Builder {
  Model model;

  explicit Builder(std::int64_t opset = 17) {
    model.ir_version = 8;
    model.opset_imports = {{"", opset}};
  }
  Builder& input(const std::string& name, std::vector<Dimension> shape, DType dtype = DType::kFloat32) {
    model.graph.inputs.push_back(value(name, dtype, std::move(shape)));
    return *this;
  }
  Builder& output(const std::string& name, DType dtype = DType::kFloat32) {
    ValueInfo info;
    info.name = name;
    info.type = ValueType{};
    info.type->dtype = dtype;
    model.graph.outputs.push_back(info);
    return *this;
  }
  Builder& weight(const std::string& name, Tensor tensor) {
    model.graph.initializers.push_back(Initializer{name, std::move(tensor), {}, {}});
    return *this;
  }
  Builder& node(const std::string& type, std::vector<std::string> inputs, std::vector<std::string> outputs,
                std::vector<std::pair<std::string, AttributeValue>> attributes = {}) {
    Node made;
    made.op_type = type;
    made.name = outputs[0] + "_node";
    made.inputs = std::move(inputs);
    made.outputs = std::move(outputs);
    for (auto& [name, attribute] : attributes) made.set_attribute(name, std::move(attribute));
    model.graph.nodes.push_back(std::move(made));
    return *this;
  }
};

std::vector<std::string> types_of(const Graph& graph) {
  std::vector<std::string> types;
  for (const Node& node : graph.nodes) types.push_back(node.op_type);
  return types;
}

std::vector<std::string> initializer_names(const Graph& graph) {
  std::vector<std::string> names;
  for (const Initializer& initializer : graph.initializers) names.push_back(initializer.name);
  return names;
}

Tensor ramp(const Shape& shape, float scale = 0.1F) {
  Tensor tensor(DType::kFloat32, shape);
  float number = -1;
  for (float& element : tensor.mutable_as<float>()) {
    element = std::sin(number) * scale * 10;
    number += 0.7F;
  }
  return tensor;
}

double largest_difference(const Model& before, const Model& after, const std::map<std::string, Tensor>& inputs) {
  const auto wanted = run_graph(before, inputs);
  const auto found = run_graph(after, inputs);
  double worst = 0;
  for (const auto& [name, tensor] : wanted) {
    const Tensor& other = found.at(name);
    EXPECT_EQ(other.dtype(), tensor.dtype()) << name;
    EXPECT_EQ(other.shape(), tensor.shape()) << name;
    if (tensor.dtype() != DType::kFloat32 || other.shape() != tensor.shape()) continue;
    for (std::int64_t i = 0; i < tensor.num_elements(); ++i) {
      worst = std::max(
          worst, std::fabs(static_cast<double>(tensor.as<float>()[i]) - static_cast<double>(other.as<float>()[i])));
    }
  }
  return worst;
}

TEST(NormalizeConstants, OldModelsLoseTheInputsThatAreWeights) {
  Builder b(9);
  b.model.ir_version = 3;
  b.input("x", known({2})).input("w", known({2})).weight("w", ramp({2})).node("Add", {"x", "w"}, {"y"}).output("y");
  const PassReport report = normalize_constants(b.model);
  EXPECT_EQ(report.num_changes, 1);
  ASSERT_EQ(b.model.graph.inputs.size(), 1U);
  EXPECT_EQ(b.model.graph.inputs[0].name, "x");
  EXPECT_EQ(b.model.ir_version, 4);
}

TEST(NormalizeConstants, DefaultsThatCallersMayOverrideStay) {
  Builder b;
  b.input("x", known({2})).input("w", known({2})).weight("w", ramp({2}));
  b.node("Neg", {"w"}, {"n"}).node("Add", {"x", "n"}, {"y"}).output("y");
  run_passes(b.model, {});
  EXPECT_EQ(b.model.graph.inputs.size(), 2U);
  EXPECT_THAT(types_of(b.model.graph), ElementsAre("Neg", "Add")) << "an overridable input was folded";
}

TEST(ConstantFolding, FoldsChainsAndKeepsNames) {
  Builder b;
  b.input("x", known({3})).weight("a", ramp({3})).weight("b", ramp({1}));
  b.node("Mul", {"a", "b"}, {"ab"}).node("Exp", {"ab"}, {"scale"}).node("Mul", {"x", "scale"}, {"y"}).output("y");
  const Model before = b.model;
  run_passes(b.model, {});
  EXPECT_THAT(types_of(b.model.graph), ElementsAre("Mul"));
  EXPECT_THAT(initializer_names(b.model.graph), ElementsAre("scale"));
  EXPECT_EQ(largest_difference(before, b.model, {{"x", ramp({3})}}), 0);
}

TEST(ConstantFolding, LeavesQuantisedWeightsAndWhatGrowsTooLarge) {
  Builder b(13);
  b.input("x", known({1, 4}));
  b.weight("q", Tensor::of<std::int8_t>({4, 2}, {1, 2, 3, 4, 5, 6, 7, 8})).weight("s", Tensor::scalar(0.5F));
  b.node("DequantizeLinear", {"q", "s"}, {"w"}).node("MatMul", {"x", "w"}, {"m"});
  b.weight("shape", Tensor::of<std::int64_t>({2}, {100'000, 1'000}));
  b.node("ConstantOfShape", {"shape"}, {"huge"}).node("ReduceSum", {"huge"}, {"sum"}).node("Add", {"m", "sum"}, {"y"});
  b.output("y");
  run_passes(b.model, {});
  EXPECT_THAT(types_of(b.model.graph), Contains("DequantizeLinear"));
  EXPECT_THAT(types_of(b.model.graph), Contains("ConstantOfShape"));
}

TEST(ShapeChains, BecomeConstantsThoughTheBatchIsOpen) {
  Builder b;
  b.input("x", {Dimension::named("batch"), Dimension::known(6), Dimension::known(8)});
  b.weight("zero", Tensor::scalar<std::int64_t>(0)).weight("axis", Tensor::of<std::int64_t>({1}, {0}));
  b.weight("two", Tensor::of<std::int64_t>({1}, {2})).weight("rest", Tensor::of<std::int64_t>({1}, {-1}));
  b.node("Shape", {"x"}, {"s"}).node("Gather", {"s", "zero"}, {"n"}).node("Unsqueeze", {"n", "axis"}, {"n1"});
  b.node("Concat", {"n1", "two", "rest"}, {"target"}, {{"axis", std::int64_t{0}}});
  b.node("Reshape", {"x", "target"}, {"y"}).output("y");
  const Model before = b.model;
  const PassLog log = run_passes(b.model, {});
  EXPECT_THAT(types_of(b.model.graph), ElementsAre("Reshape")) << log.to_text();
  const Tensor& target = b.model.graph.find_initializer(b.model.graph.nodes[0].inputs[1])->tensor;
  EXPECT_THAT(std::vector<std::int64_t>(target.as<std::int64_t>().begin(), target.as<std::int64_t>().end()),
              ElementsAre(0, 2, -1));
  EXPECT_EQ(largest_difference(before, b.model, {{"x", ramp({3, 6, 8})}}), 0);
}

TEST(ShapeChains, StayWhereTwoExtentsAreOpen) {
  Builder b;
  b.input("x", {Dimension::named("batch"), Dimension::named("length"), Dimension::known(8)});
  b.node("Shape", {"x"}, {"s"}).weight("order", Tensor::of<std::int64_t>({3}, {1, 0, 2}));
  b.node("Gather", {"s", "order"}, {"target"}).node("Reshape", {"x", "target"}, {"y"}).output("y");
  const Model before = b.model;
  run_passes(b.model, {});
  EXPECT_THAT(types_of(b.model.graph), Contains("Shape"));
  EXPECT_EQ(largest_difference(before, b.model, {{"x", ramp({3, 5, 8})}}), 0);
}

TEST(ShapeChains, FixedShapesFoldThemAll) {
  Builder b;
  b.input("x", {Dimension::named("batch"), Dimension::named("length"), Dimension::known(8)});
  b.node("Shape", {"x"}, {"s"}).weight("order", Tensor::of<std::int64_t>({3}, {1, 0, 2}));
  b.node("Gather", {"s", "order"}, {"target"}).node("Reshape", {"x", "target"}, {"y"}).output("y");
  PassOptions options;
  options.fixed_shapes = {{"x", {3, 5, 8}}};
  run_passes(b.model, options);
  EXPECT_THAT(types_of(b.model.graph), ElementsAre("Reshape"));
  options.fixed_shapes = {{"x", {3, 5, 9}}};
  EXPECT_THROW(run_passes(b.model, options), Error);
  options.fixed_shapes = {{"nothing", {1}}};
  EXPECT_THROW(run_passes(b.model, options), Error);
}

Builder conv_and_norm() {
  Builder b;
  b.input("x", known({1, 2, 4, 4})).weight("w", ramp({3, 2, 3, 3}));
  b.weight("gamma", ramp({3}, 0.3F)).weight("beta", ramp({3})).weight("mean", ramp({3}));
  b.weight("var", Tensor::of<float>({3}, {0.5F, 1.5F, 2.0F}));
  b.node("Conv", {"x", "w"}, {"c"});
  b.node("BatchNormalization", {"c", "gamma", "beta", "mean", "var"}, {"y"}, {{"epsilon", 1e-3F}}).output("y");
  return b;
}

TEST(BatchNormFolding, GoesIntoTheWeights) {
  Builder b = conv_and_norm();
  const Model before = b.model;
  run_passes(b.model, {});
  EXPECT_THAT(types_of(b.model.graph), ElementsAre("Conv"));
  EXPECT_THAT(b.model.graph.nodes[0].outputs, ElementsAre("y")) << "the value that stays must keep its name";
  EXPECT_THAT(initializer_names(b.model.graph), UnorderedElementsAre("w", "beta"));
  EXPECT_LT(largest_difference(before, b.model, {{"x", ramp({1, 2, 4, 4})}}), 1e-5);
}

TEST(BatchNormFolding, StaysWhereTheConvolutionIsUsedElsewhere) {
  Builder used = conv_and_norm();
  used.node("Relu", {"c"}, {"r"}).output("r");
  Builder given = conv_and_norm();
  given.output("c");
  for (Builder* b : {&used, &given}) {
    run_passes(b->model, {});
    EXPECT_THAT(types_of(b->model.graph), Contains("BatchNormalization"));
  }
}

TEST(BatchNormFolding, LeavesSharedWeightsOfOthersAlone) {
  Builder b = conv_and_norm();
  b.node("Conv", {"x", "w"}, {"plain"}).output("plain");
  const Model before = b.model;
  run_passes(b.model, {});
  EXPECT_THAT(types_of(b.model.graph), Not(Contains("BatchNormalization")));
  EXPECT_LT(largest_difference(before, b.model, {{"x", ramp({1, 2, 4, 4})}}), 1e-5);
}

TEST(BatchNormFolding, StaysWhereTheWeightsWouldOverflow) {
  Builder b;
  const auto halves = [](const Shape& shape, std::uint16_t bits) {
    Tensor tensor(DType::kFloat16, shape);
    const auto bytes = tensor.mutable_bytes();
    for (std::size_t i = 0; i < bytes.size(); ++i)
      bytes[i] = static_cast<std::byte>(i % 2 == 0 ? bits & 255 : bits >> 8);
    return tensor;
  };
  constexpr std::uint16_t kOne = 0x3c00;
  constexpr std::uint16_t kThousand = 0x63d0;
  b.input("x", known({1, 1, 2, 2}), DType::kFloat16).weight("w", halves({1, 1, 1, 1}, kThousand));
  b.weight("gamma", halves({1}, kOne)).weight("beta", halves({1}, 0)).weight("mean", halves({1}, 0));
  b.weight("var", halves({1}, 0));  // a dead channel: its factor is 1 / sqrt(epsilon)
  b.node("Conv", {"x", "w"}, {"c"});
  b.node("BatchNormalization", {"c", "gamma", "beta", "mean", "var"}, {"y"}).output("y", DType::kFloat16);
  run_passes(b.model, {});
  EXPECT_THAT(types_of(b.model.graph), Contains("BatchNormalization"));
}

TEST(BatchNormFolding, GemmAndMatMul) {
  for (const bool is_gemm : {true, false}) {
    Builder b;
    b.input("x", known({5, 4})).weight("w", ramp({4, 3})).weight("c", ramp({3}));
    b.weight("gamma", ramp({3}, 0.3F)).weight("beta", ramp({3})).weight("mean", ramp({3}));
    b.weight("var", Tensor::of<float>({3}, {0.5F, 1.5F, 2.0F}));
    if (is_gemm) {
      b.node("Gemm", {"x", "w", "c"}, {"g"}, {{"alpha", 0.5F}, {"beta", 2.0F}});
    } else {
      b.node("MatMul", {"x", "w"}, {"g"});
    }
    b.node("BatchNormalization", {"g", "gamma", "beta", "mean", "var"}, {"y"}).output("y");
    const Model before = b.model;
    run_passes(b.model, {});
    EXPECT_THAT(types_of(b.model.graph), Not(Contains("BatchNormalization")));
    EXPECT_LT(largest_difference(before, b.model, {{"x", ramp({5, 4})}}), 1e-5);
  }
}

TEST(NoOps, GraphOutputsKeepTheirNames) {
  Builder b;
  b.input("x", known({2, 3})).node("Relu", {"x"}, {"r"}).node("Identity", {"r"}, {"y"}).node("Neg", {"r"}, {"z"});
  b.node("Identity", {"x"}, {"copy"}).output("y").output("z").output("copy");
  const Model before = b.model;
  run_passes(b.model, {});
  // An input handed through has no producer that could take the output's name.
  EXPECT_THAT(types_of(b.model.graph), UnorderedElementsAre("Relu", "Neg", "Identity"));
  EXPECT_EQ(largest_difference(before, b.model, {{"x", ramp({2, 3})}}), 0);
}

TEST(NoOps, ZerosOfAnOpenShapeAreNotAdded) {
  Builder b;
  b.input("x", {Dimension::known(1), Dimension::named("n")}).input("row", known({1, 1}));
  b.node("Relu", {"x"}, {"r"}).node("Shape", {"r"}, {"s"}).node("ConstantOfShape", {"s"}, {"zeros"});
  b.node("Add", {"r", "zeros"}, {"a"})
      .node("Add", {"zeros", "a"}, {"c"})
      .node("Sub", {"c", "zeros"}, {"y"})
      .output("y");
  b.node("Sub", {"zeros", "r"}, {"minus"}).output("minus");  // no zeros taken away
  b.node("Add", {"row", "zeros"}, {"wide"}).output("wide");  // spreads
  b.node("ConstantOfShape", {"s"}, {"ones"}, {{"value", Tensor::of<float>({1}, {1})}});
  b.node("Add", {"r", "ones"}, {"more"}).output("more");
  const Model before = b.model;
  run_passes(b.model, {});
  EXPECT_THAT(types_of(b.model.graph),
              UnorderedElementsAre("Relu", "Shape", "ConstantOfShape", "ConstantOfShape", "Sub", "Add", "Add"));
  EXPECT_EQ(largest_difference(before, b.model, {{"x", ramp({1, 5})}, {"row", ramp({1, 1})}}), 0);
}

TEST(NoOps, ReachIntoNestedGraphs) {
  Builder b;
  b.input("x", known({2})).input("c", {}, DType::kBool).node("Identity", {"x"}, {"i"});
  const auto branch = [](const char* type) {
    auto graph = std::make_shared<Graph>();
    Node node;
    node.op_type = type;
    node.inputs = {"i"};
    node.outputs = {"inner"};
    graph->nodes.push_back(node);
    Node last;
    last.op_type = "Identity";
    last.inputs = {"inner"};
    last.outputs = {"result"};
    graph->nodes.push_back(last);
    ValueInfo output;
    output.name = "result";
    graph->outputs.push_back(output);
    return graph;
  };
  b.node("If", {"c"}, {"y"}, {{"then_branch", branch("Neg")}, {"else_branch", branch("Exp")}}).output("y");
  for (const DType dtype : {DType::kFloat32, DType::kFloat16}) {
    Builder changed = b;
    PassOptions options;
    options.float_type = dtype;
    run_passes(changed.model, options);
    EXPECT_THAT(types_of(changed.model.graph), Not(Contains("Identity")));
    // The model it is a copy of keeps its nested graphs, which copies share, as they were.
    const auto& body = *std::get<std::shared_ptr<Graph>>(b.model.graph.nodes[1].find_attribute("then_branch")->value);
    EXPECT_THAT(types_of(body), ElementsAre("Neg", "Identity"));
    EXPECT_THAT(body.nodes[0].inputs, ElementsAre("i"));
    for (const bool c : {true, false}) {
      EXPECT_EQ(largest_difference(b.model, changed.model, {{"x", ramp({2})}, {"c", Tensor::of<bool>({}, {c})}}), 0);
    }
  }
}

TEST(Duplicates, MergeByContentAndComputation) {
  Builder b;
  b.input("x", known({2, 2})).weight("a", ramp({2, 2})).weight("b", ramp({2, 2})).weight("c", ramp({4}));
  b.node("Add", {"x", "a"}, {"p"}).node("Add", {"x", "b"}, {"q"}).node("Mul", {"p", "q"}, {"m"});
  b.node("Softmax", {"m"}, {"s0"}, {{"axis", std::int64_t{0}}})
      .node("Softmax", {"m"}, {"s1"}, {{"axis", std::int64_t{1}}});
  b.node("Add", {"s0", "s1"}, {"y"}).output("y");
  const Model before = b.model;
  run_passes(b.model, {});
  EXPECT_THAT(types_of(b.model.graph), ElementsAre("Add", "Mul", "Softmax", "Softmax", "Add"));
  EXPECT_EQ(b.model.graph.initializers.size(), 1U);
  EXPECT_EQ(largest_difference(before, b.model, {{"x", ramp({2, 2})}}), 0);
}

TEST(Duplicates, RandomNodesAreNotOne) {
  Builder b;
  b.node("RandomNormal", {}, {"a"}, {{"shape", std::vector<std::int64_t>{2}}});
  b.node("RandomNormal", {}, {"b"}, {{"shape", std::vector<std::int64_t>{2}}})
      .node("Sub", {"a", "b"}, {"y"})
      .output("y");
  run_passes(b.model, {});
  EXPECT_THAT(types_of(b.model.graph), ElementsAre("RandomNormal", "RandomNormal", "Sub"));
}

TEST(DeadCode, GoesWithItsWeights) {
  Builder b;
  b.input("x", known({2})).weight("w", ramp({2})).node("Add", {"x", "w"}, {"dead"}).node("Neg", {"dead"}, {"dead2"});
  b.node("Relu", {"x"}, {"y"}).output("y");
  b.model.graph.value_infos.push_back(value("dead", DType::kFloat32, known({2})));
  const PassReport report = remove_dead_code(b.model);
  EXPECT_EQ(report.num_changes, 3);
  EXPECT_THAT(types_of(b.model.graph), ElementsAre("Relu"));
  EXPECT_TRUE(b.model.graph.initializers.empty());
  EXPECT_TRUE(b.model.graph.value_infos.empty());
}

TEST(WeightConversion, CountsWhatIsLost) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  const Tensor weights = Tensor::of<float>({9}, {1, 65504, 65519, 65520, -1e6F, kInf, 1e-8F, 3e-5F, 0});
  WeightConversion losses;
  const Tensor half = convert_weight(weights, DType::kFloat16, losses);
  EXPECT_EQ(losses.num_elements, 9);
  EXPECT_EQ(losses.num_saturated, 2);
  EXPECT_EQ(losses.num_flushed_to_zero, 1);
  EXPECT_EQ(losses.num_subnormal, 1);
  EXPECT_FLOAT_EQ(static_cast<float>(losses.max_magnitude), 1e6F);
  const Tensor back = to_float32(half.view());
  const auto values = back.as<float>();
  EXPECT_EQ(values[2], 65504);
  EXPECT_EQ(values[3], 65504);
  EXPECT_EQ(values[4], -65504);
  EXPECT_EQ(values[5], kInf) << "an infinity is meant: a mask";
  EXPECT_EQ(values[6], 0);
  // Against the elementwise conversion, over all blocks and a tail.
  const Tensor large = ramp({3, 4099});
  WeightConversion none;
  const Tensor bulk = convert_weight(large, DType::kBfloat16, none);
  const auto* bits = reinterpret_cast<const std::uint16_t*>(bulk.bytes().data());
  for (std::int64_t i = 0; i < large.num_elements(); ++i) {
    ASSERT_EQ(bits[i], bfloat16_from_float(large.as<float>()[i])) << i;
  }
  EXPECT_EQ(none.num_saturated, 0);
}

PassLog to_half(Model& model, std::vector<std::string> keep = {}, DType dtype = DType::kFloat16) {
  PassOptions options;
  options.float_type = dtype;
  options.keep_fp32_ops = std::move(keep);
  return run_passes(model, options);
}

TEST(Precision, InterfaceStaysAndValuesKeepTheirNames) {
  Builder b;
  b.input("x", known({4, 16})).weight("w", ramp({16, 16})).node("MatMul", {"x", "w"}, {"m"});
  b.node("Relu", {"m"}, {"y"}).node("Neg", {"y"}, {"z"}).output("y").output("z");
  const Model before = b.model;
  const PassLog log = to_half(b.model);
  EXPECT_THAT(types_of(b.model.graph), ElementsAre("Cast", "MatMul", "Relu", "Cast", "Neg", "Cast"));
  EXPECT_EQ(b.model.graph.find_initializer("w")->tensor.dtype(), DType::kFloat16);
  EXPECT_EQ(b.model.graph.nodes[1].outputs[0], "m");
  EXPECT_LT(largest_difference(before, b.model, {{"x", ramp({4, 16})}}), 0.02);
  EXPECT_THAT(log.to_text(), HasSubstr("conversion_to_float16"));
  Builder inner;
  inner.model = before;
  PassOptions options;
  options.float_type = DType::kFloat16;
  options.has_fp32_interface = false;
  run_passes(inner.model, options);
  EXPECT_THAT(types_of(inner.model.graph), ElementsAre("MatMul", "Relu", "Neg"));
  EXPECT_EQ(inner.model.graph.inputs[0].type->dtype, DType::kFloat16);
  EXPECT_EQ(inner.model.graph.outputs[1].type->dtype, DType::kFloat16);
}

TEST(Precision, KeepsByTypeAndByName) {
  Builder b;
  b.input("x", known({4, 16})).weight("w", ramp({16, 16})).node("MatMul", {"x", "w"}, {"m"});
  b.node("Softmax", {"m"}, {"s"}).node("MatMul", {"s", "w"}, {"y"}).output("y");
  const Model before = b.model;
  for (const char* keep : {"Softmax", "s_node"}) {
    Builder kept;
    kept.model = before;
    to_half(kept.model, {keep});
    EXPECT_THAT(types_of(kept.model.graph), ElementsAre("Cast", "MatMul", "Cast", "Softmax", "Cast", "MatMul", "Cast"));
    EXPECT_LT(largest_difference(before, kept.model, {{"x", ramp({4, 16})}}), 0.02);
  }
  // A weight used both ways is there twice.
  Builder both;
  both.model = before;
  to_half(both.model, {"m_node"});
  EXPECT_EQ(both.model.graph.find_initializer("w")->tensor.dtype(), DType::kFloat32);
  EXPECT_NE(both.model.graph.find_initializer("w/float16"), nullptr);
}

TEST(Precision, ScalesOfResizeStayFloat32) {
  Builder b;
  b.input("x", known({1, 2, 4, 4}))
      .weight("w", ramp({40, 2, 1, 1}))
      .weight("scales", Tensor::of<float>({4}, {1, 1, 2, 2}));
  b.node("Conv", {"x", "w"}, {"c"}).node("Resize", {"c", "", "scales"}, {"y"}).output("y");
  const Model before = b.model;
  to_half(b.model);
  EXPECT_EQ(b.model.graph.find_initializer("scales")->tensor.dtype(), DType::kFloat32);
  EXPECT_LT(largest_difference(before, b.model, {{"x", ramp({1, 2, 4, 4})}}), 0.01);
}

TEST(Precision, QuantisationFollowsTheOpset) {
  for (const std::int64_t opset : {13, 19, 21, 23}) {
    Builder b(opset);
    b.input("x", known({4, 16})).weight("s", Tensor::scalar(0.25F)).weight("z", Tensor::scalar<std::int8_t>(0));
    b.weight("q", Tensor::of<std::int8_t>({16, 1}, {1, 2, 3, 4, 5, 6, 7, 8, -1, -2, -3, -4, -5, -6, -7, -8}));
    b.node("QuantizeLinear", {"x", "s", "z"}, {"xq"}).node("DequantizeLinear", {"xq", "s", "z"}, {"xd"});
    b.node("DequantizeLinear", {"q", "s", "z"}, {"w"}).node("MatMul", {"xd", "w"}, {"y"}).output("y");
    const Model before = b.model;
    to_half(b.model);
    for (const Node& node : b.model.graph.nodes) {
      if (!node.is("DequantizeLinear")) continue;
      const bool is_half_scale = b.model.graph.find_initializer(node.inputs[1])->tensor.dtype() == DType::kFloat16;
      EXPECT_EQ(is_half_scale, opset >= 19) << "opset " << opset << " " << node.describe();
    }
    EXPECT_LT(largest_difference(before, b.model, {{"x", ramp({4, 16})}}), 0.05) << "opset " << opset;
  }
}

TEST(Precision, AScaleTooSmallForTheTypeKeepsItsNodesInFloat32) {
  Builder b(21);
  b.input("x", known({4})).weight("s", Tensor::scalar(1e-9F)).weight("z", Tensor::scalar<std::int8_t>(0));
  b.node("QuantizeLinear", {"x", "s", "z"}, {"q"}).node("DequantizeLinear", {"q", "s", "z"}, {"y"}).output("y");
  const PassLog log = to_half(b.model);
  EXPECT_EQ(b.model.graph.find_initializer("s")->tensor.dtype(), DType::kFloat32);
  EXPECT_THAT(log.to_text(), HasSubstr("tiny_scales"));
}

TEST(Precision, VariancesSpelledOutStayFloat32) {
  Builder b;
  b.input("x", known({2, 64})).weight("two", Tensor::scalar(2.0F)).weight("eps", Tensor::scalar(1e-12F));
  b.node("ReduceMean", {"x"}, {"mean"}, {{"axes", std::vector<std::int64_t>{-1}}}).node("Sub", {"x", "mean"}, {"d"});
  b.node("Pow", {"d", "two"}, {"sq"}).node("ReduceMean", {"sq"}, {"var"}, {{"axes", std::vector<std::int64_t>{-1}}});
  b.node("Add", {"var", "eps"}, {"ve"}).node("Sqrt", {"ve"}, {"std"}).node("Div", {"d", "std"}, {"y"}).output("y");
  const Model before = b.model;
  to_half(b.model);
  // Elements of 1000 have squares of a million, far past float16.
  EXPECT_LT(largest_difference(before, b.model, {{"x", ramp({2, 64}, 100)}}), 0.01);
}

TEST(Precision, BoxesInPixelsStayFloat32) {
  // A network's numbers move boxes near pixel 1500, where bfloat16 steps by 8. One use is a pooling of regions, the
  // other a suppression within a branch.
  for (const bool is_nested : {false, true}) {
    Builder b;
    Tensor places(DType::kFloat32, {3, 4});
    for (std::int64_t i = 0; i < 12; ++i) places.mutable_as<float>()[i] = 1500.3F + 10.7F * static_cast<float>(i);
    b.input("x", known({3, 16})).weight("w", ramp({16, 4})).weight("places", places);
    b.weight("row", Tensor::of<std::int64_t>({3}, {0, 0, 0})).weight("shape", Tensor::of<std::int64_t>({3}, {1, 3, 4}));
    b.node("MatMul", {"x", "w"}, {"moves"}).node("Sigmoid", {"moves"}, {"parts"});
    b.node("Add", {"parts", "places"}, {"boxes"}).output("boxes");
    if (is_nested) {
      Builder branch;
      branch.weight("scores", ramp({1, 1, 3})).weight("most", Tensor::of<std::int64_t>({1}, {3}));
      branch.node("Reshape", {"boxes", "shape"}, {"batched"})
          .node("NonMaxSuppression", {"batched", "scores", "most"}, {"kept"})
          .output("kept", DType::kInt64);
      const auto body = std::make_shared<Graph>(branch.model.graph);
      b.input("choice", known({}), DType::kBool);
      b.node("If", {"choice"}, {"found"}, {{"then_branch", body}, {"else_branch", std::make_shared<Graph>(*body)}});
      b.output("found", DType::kInt64);
    } else {
      b.node("MatMul", {"x", "w"}, {"more"}).node("Reshape", {"more", "planes"}, {"features"});
      b.weight("planes", Tensor::of<std::int64_t>({4}, {1, 1, 3, 4}));
      b.node("RoiAlign", {"features", "boxes", "row"}, {"pooled"}, {{"spatial_scale", 0.001F}}).output("pooled");
    }
    const Model before = b.model;
    to_half(b.model, {}, DType::kBfloat16);
    std::map<std::string, Tensor> inputs{{"x", ramp({3, 16})}};
    if (is_nested) inputs["choice"] = Tensor::scalar(true);
    EXPECT_LT(largest_difference(before, b.model, inputs), 0.05) << (is_nested ? "in a branch" : "pooled");
    const auto& initializers = b.model.graph.initializers;
    EXPECT_TRUE(std::any_of(initializers.begin(), initializers.end(), [](const Initializer& initializer) {
      return initializer.tensor.dtype() == DType::kBfloat16;
    })) << "the product is to be in 16 bits";
  }
}

TEST(Precision, IndexArithmeticAndMasks) {
  // 5000 positions, counted in floats, must stay exact; "minus a lot" must not become infinite.
  Builder b;
  b.input("ids", {Dimension::named("n")}, DType::kInt64).weight("one", Tensor::scalar(1.0F));
  b.weight("low", Tensor::scalar(-3.4e38F));
  b.node("Cast", {"ids"}, {"f"}, {{"to", std::int64_t{1}}})
      .node("Mul", {"f", "one"}, {"g"})
      .node("Add", {"g", "one"}, {"h"});
  b.node("Cast", {"h"}, {"positions"}, {{"to", std::int64_t{7}}}).output("positions", DType::kInt64);
  b.node("Sub", {"one", "f"}, {"inverse"}).node("Mul", {"inverse", "low"}, {"mask"}).output("mask");
  const Model before = b.model;
  to_half(b.model);
  const std::map<std::string, Tensor> inputs{{"ids", Tensor::of<std::int64_t>({3}, {0, 1, 4099})}};
  const auto found = run_graph(b.model, inputs);
  const auto positions = found.at("positions").as<std::int64_t>();
  EXPECT_THAT(std::vector<std::int64_t>(positions.begin(), positions.end()), ElementsAre(1, 2, 4100));
  const auto mask = found.at("mask").as<float>();
  EXPECT_EQ(mask[0], -65504.0F);
  EXPECT_EQ(mask[1], 0.0F);
}

TEST(Precision, SaturationIsReported) {
  Builder b;
  Tensor weights = ramp({16, 16});
  weights.mutable_as<float>()[3] = 1e9F;
  b.input("x", known({4, 16})).weight("w", weights).node("MatMul", {"x", "w"}, {"y"}).output("y");
  const PassLog log = to_half(b.model);
  ASSERT_EQ(log.conversions.size(), 1U);
  EXPECT_EQ(log.conversions[0].name, "w");
  EXPECT_EQ(log.conversions[0].num_saturated, 1);
  EXPECT_THAT(log.to_text(), HasSubstr("past the range"));
}

TEST(Precision, AModelInSixteenBitsIsLeftAlone) {
  Builder b;
  b.input("x", known({4, 16})).weight("w", ramp({16, 16})).node("MatMul", {"x", "w"}, {"y"}).output("y");
  to_half(b.model);
  const std::size_t num_nodes = b.model.graph.nodes.size();
  const PassLog log = to_half(b.model);
  EXPECT_EQ(b.model.graph.nodes.size(), num_nodes);
  EXPECT_THAT(log.to_text(), HasSubstr("already"));
}

TEST(Precision, BfloatSaysWhatItsOpsetDoesNotList) {
  Builder b;
  b.input("x", known({1, 2, 4, 4})).weight("w", ramp({40, 2, 1, 1})).node("Conv", {"x", "w"}, {"y"}).output("y");
  const Model before = b.model;
  const PassLog log = to_half(b.model, {}, DType::kBfloat16);
  EXPECT_EQ(b.model.graph.find_initializer("w")->tensor.dtype(), DType::kBfloat16);
  EXPECT_THAT(log.to_text(), HasSubstr("does not list"));
  EXPECT_LT(largest_difference(before, b.model, {{"x", ramp({1, 2, 4, 4})}}), 0.05);
}

TEST(Pipeline, CancelsBetweenPasses) {
  Builder b = conv_and_norm();
  CancelToken token;
  token.cancel();
  Progress progress;
  progress.cancel = &token;
  try {
    run_passes(b.model, {}, progress);
    FAIL() << "not cancelled";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kCancelled);
  }
}

}  // namespace
}  // namespace pajamas
