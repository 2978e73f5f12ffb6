// Inlining of functions: names, attributes, nested graphs and nested calls. The result passes the model check and says
// the same as the function.
#include "graph/inline_functions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "graph/checker.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

ValueInfo value(const std::string& name, DType dtype = DType::kFloat32) {
  ValueType type;
  type.dtype = dtype;
  return ValueInfo{name, type, {}, {}};
}

Node node(const std::string& op_type, std::vector<std::string> inputs, std::vector<std::string> outputs,
          const std::string& name = {}, const std::string& domain = {}) {
  Node result;
  result.name = name;
  result.op_type = op_type;
  result.domain = domain;
  result.inputs = std::move(inputs);
  result.outputs = std::move(outputs);
  return result;
}

Function function(const std::string& name, std::vector<std::string> inputs, std::vector<std::string> outputs,
                  std::vector<Node> nodes) {
  Function result;
  result.name = name;
  result.domain = "local";
  result.inputs = std::move(inputs);
  result.outputs = std::move(outputs);
  result.opset_imports = {{"", 17}, {"local", 1}};
  result.nodes = std::move(nodes);
  return result;
}

Model model_of(std::vector<Node> nodes, std::vector<Function> functions) {
  Model model;
  model.ir_version = 8;
  model.opset_imports = {{"", 17}, {"local", 1}};
  model.graph.inputs = {value("x"), value("flag", DType::kBool)};
  model.graph.outputs = {value("y")};
  model.graph.nodes = std::move(nodes);
  model.functions = std::move(functions);
  return model;
}

void inline_and_check(Model& model) {
  check_model(model);
  inline_functions(model);
  EXPECT_TRUE(model.functions.empty());
  const ModelFacts facts = check_model(model);
  EXPECT_FALSE(facts.has_functions);
  EXPECT_EQ(model.opset_of("local"), std::nullopt);
}

TEST(InlineFunctions, LeavesAModelWithoutFunctionsAlone) {
  Model model = model_of({node("Relu", {"x"}, {"y"})}, {});
  model.opset_imports.pop_back();
  inline_and_check(model);
  EXPECT_EQ(model.graph.nodes.size(), 1U);
}

TEST(InlineFunctions, GivesEachCallItsOwnNames) {
  Model model = model_of({node("f", {"x"}, {"m"}, "one", "local"), node("f", {"m"}, {"y"}, "", "local")},
                         {function("f", {"a"}, {"b"}, {node("Relu", {"a"}, {"x"}, "n"), node("Neg", {"x"}, {"b"})})});
  inline_and_check(model);
  ASSERT_EQ(model.graph.nodes.size(), 4U);
  const auto& nodes = model.graph.nodes;
  EXPECT_THAT(nodes[0].inputs, ElementsAre("x"));
  EXPECT_THAT(nodes[0].outputs, ElementsAre("one/x"));
  EXPECT_EQ(nodes[0].name, "one/n");
  EXPECT_THAT(nodes[1].outputs, ElementsAre("m"));
  EXPECT_THAT(nodes[2].inputs, ElementsAre("m"));
  EXPECT_THAT(nodes[2].outputs, ElementsAre("f/x"));
  EXPECT_THAT(nodes[3].outputs, ElementsAre("y"));
}

TEST(InlineFunctions, ExpandsCallsInsideFunctions) {
  Model model = model_of(
      {node("f", {"x"}, {"y"}, "c", "local")},
      {function("f", {"a"}, {"b"}, {node("g", {"a"}, {"t"}, "g1", "local"), node("g", {"t"}, {"b"}, "g2", "local")}),
       function("g", {"a"}, {"b"}, {node("Neg", {"a"}, {"t"}), node("Relu", {"t"}, {"b"})})});
  inline_and_check(model);
  ASSERT_EQ(model.graph.nodes.size(), 4U);
  EXPECT_THAT(model.graph.nodes[0].outputs, ElementsAre("c/g1/t"));
  EXPECT_THAT(model.graph.nodes[1].outputs, ElementsAre("c/t"));
  EXPECT_THAT(model.graph.nodes[3].outputs, ElementsAre("y"));
}

TEST(InlineFunctions, PutsAttributesInPlace) {
  Node leaky = node("LeakyRelu", {"a"}, {"t"});
  leaky.attributes = {Attribute{"alpha", {}, "slope", 1, {}, {}}};
  Node elu = node("Elu", {"t"}, {"b"});
  elu.attributes = {Attribute{"alpha", {}, "other", 1, {}, {}}};
  Function f = function("f", {"a"}, {"b"}, {leaky, elu});
  f.attributes = {Attribute{"slope", 0.25F, {}, 0, {}, {}}};
  f.attribute_names = {"other"};
  Node first = node("f", {"x"}, {"m"}, "first", "local");
  first.set_attribute("other", 2.0F);
  Node second = node("f", {"m"}, {"y"}, "second", "local");
  second.set_attribute("other", 3.0F);
  second.set_attribute("slope", 0.5F);
  Model model = model_of({first, second}, {f});
  inline_and_check(model);
  ASSERT_EQ(model.graph.nodes.size(), 4U);
  EXPECT_EQ(model.graph.nodes[0].float_attribute("alpha", 0), 0.25F);
  EXPECT_EQ(model.graph.nodes[1].float_attribute("alpha", 0), 2.0F);
  EXPECT_EQ(model.graph.nodes[2].float_attribute("alpha", 0), 0.5F);
  EXPECT_EQ(model.graph.nodes[3].float_attribute("alpha", 0), 3.0F);
}

TEST(InlineFunctions, DropsOptionalInputsThatTheCallerOmits) {
  Model model = model_of({node("f", {"x"}, {"y"}, "c", "local")},
                         {function("f", {"a", "low", "high"}, {"b"}, {node("Clip", {"a", "low", "high"}, {"b"})})});
  inline_and_check(model);
  EXPECT_THAT(model.graph.nodes[0].inputs, ElementsAre("x", "", ""));
}

TEST(InlineFunctions, CopiesOutputsThatHaveNoNodeOfTheirOwn) {
  // One output is the input itself, two are the same value.
  Model model = model_of({node("f", {"x"}, {"p", "q", "r"}, "c", "local"), node("Sum", {"p", "q", "r"}, {"y"})},
                         {function("f", {"a"}, {"a", "b", "b"}, {node("Neg", {"a"}, {"b"})})});
  inline_and_check(model);
  ASSERT_EQ(model.graph.nodes.size(), 4U);
  EXPECT_EQ(model.graph.nodes[0].op_type, "Neg");
  EXPECT_THAT(model.graph.nodes[0].outputs, ElementsAre("q"));
  EXPECT_EQ(model.graph.nodes[1].op_type, "Identity");
  EXPECT_THAT(model.graph.nodes[1].inputs, ElementsAre("x"));
  EXPECT_THAT(model.graph.nodes[2].inputs, ElementsAre("q"));
  EXPECT_THAT(model.graph.nodes[2].outputs, ElementsAre("r"));
}

std::shared_ptr<Graph> branch(std::vector<Node> nodes, const std::string& output) {
  auto graph = std::make_shared<Graph>();
  graph->nodes = std::move(nodes);
  graph->outputs = {ValueInfo{output, {}, {}, {}}};
  return graph;
}

TEST(InlineFunctions, RenamesNestedGraphsAndLeavesTheOriginalAlone) {
  // Inside the branch, 'a' is the function's input, 't' the body's value, and 'own' the branch's.
  Node choice = node("If", {"c"}, {"b"}, "if");
  auto then_branch = branch({node("Add", {"a", "t"}, {"s"}), node("Mul", {"s", "own"}, {"e"})}, "e");
  then_branch->set_initializer("own", Tensor::scalar(2.0F));
  choice.set_attribute("then_branch", then_branch);
  choice.set_attribute("else_branch", branch({node("g", {"t"}, {"e"}, "call", "local")}, "e"));
  const Function f = function("f", {"a", "c"}, {"b"}, {node("Neg", {"a"}, {"t"}), choice});
  const Function g = function("g", {"a"}, {"b"}, {node("Abs", {"a"}, {"b"})});
  Model model = model_of(
      {node("f", {"x", "flag"}, {"m"}, "c1", "local"), node("f", {"m", "flag"}, {"y"}, "c2", "local")}, {f, g});
  const Model original = model;
  inline_and_check(model);
  ASSERT_EQ(model.graph.nodes.size(), 4U);
  const Node& second = model.graph.nodes[3];
  EXPECT_EQ(second.name, "c2/if");
  EXPECT_THAT(second.inputs, ElementsAre("flag"));
  const Graph& nested = *std::get<std::shared_ptr<Graph>>(second.find_attribute("then_branch")->value);
  EXPECT_THAT(nested.nodes[0].inputs, ElementsAre("m", "c2/t"));
  EXPECT_THAT(nested.nodes[1].inputs, ElementsAre("c2/s", nested.initializers[0].name));
  EXPECT_EQ(nested.outputs[0].name, nested.nodes[1].outputs[0]);
  EXPECT_NE(nested.initializers[0].name, "own");
  const Graph& other = *std::get<std::shared_ptr<Graph>>(second.find_attribute("else_branch")->value);
  EXPECT_EQ(other.nodes[0].op_type, "Abs");
  EXPECT_THAT(other.nodes[0].inputs, ElementsAre("c2/t"));
  // The graphs of the original are shared, and unchanged.
  EXPECT_EQ(then_branch->nodes[0].inputs[0], "a");
  EXPECT_NO_THROW(check_model(original));
}

TEST(InlineFunctions, ExpandsCallsInNestedGraphsOfTheModel) {
  Node choice = node("If", {"flag"}, {"y"}, "if");
  choice.set_attribute("then_branch", branch({node("f", {"x"}, {"e"}, "call", "local")}, "e"));
  choice.set_attribute("else_branch", branch({node("Neg", {"x"}, {"e"})}, "e"));
  Model model = model_of({choice}, {function("f", {"a"}, {"b"}, {node("Abs", {"a"}, {"b"})})});
  inline_and_check(model);
}

TEST(InlineFunctions, RefusesOtherVersionsOfAnOperatorOnly) {
  // Relu is the same from opset 14 on; Softmax changed at 13.
  Function f = function("f", {"a"}, {"b"}, {node("Relu", {"a"}, {"b"})});
  f.opset_imports[0].second = 15;
  Model model = model_of({node("f", {"x"}, {"y"}, "c", "local")}, {f});
  inline_and_check(model);
  f.nodes[0].op_type = "Softmax";
  f.opset_imports[0].second = 12;
  model = model_of({node("f", {"x"}, {"y"}, "c", "local")}, {f});
  check_model(model);
  try {
    inline_functions(model);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUnsupported);
    EXPECT_THAT(error.what(), HasSubstr("Softmax of opset 12"));
  }
  EXPECT_EQ(model.functions.size(), 1U);
  EXPECT_EQ(model.graph.nodes[0].op_type, "f");
}

TEST(InlineFunctions, RefusesRecursionEvenUnchecked) {
  Model model = model_of({node("f", {"x"}, {"y"}, "c", "local")},
                         {function("f", {"a"}, {"b"}, {node("f", {"a"}, {"b"}, "", "local")})});
  EXPECT_THROW(inline_functions(model), Error);
}

TEST(InlineFunctions, DeclaresInnerValuesWithoutTheNamesOfTheirDimensions) {
  Function f = function("f", {"a"}, {"b"}, {node("Relu", {"a"}, {"t"}), node("Neg", {"t"}, {"b"})});
  ValueInfo inner = value("t");
  inner.type->shape = {Dimension::named("n"), Dimension::known(3)};
  f.value_infos = {inner, value("b")};
  Model model = model_of({node("f", {"x"}, {"y"}, "c", "local")}, {f});
  inline_and_check(model);
  ASSERT_EQ(model.graph.value_infos.size(), 1U);
  EXPECT_EQ(model.graph.value_infos[0].name, "c/t");
  EXPECT_EQ(model.graph.value_infos[0].type->to_string(), "float32[?, 3]");
}

}  // namespace
}  // namespace pajamas
