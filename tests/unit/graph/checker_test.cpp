// The model check: every malformed model of the list of inputs that vendor libraries crash on, hang on or accept
// silently is refused with the node, the cause and a cure; well-formed models pass.
#include "graph/checker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "pajamas/error.h"

namespace pajamas {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

ValueInfo value(const std::string& name, std::vector<Dimension> shape, DType dtype = DType::kFloat32) {
  ValueType type;
  type.dtype = dtype;
  type.shape = std::move(shape);
  return ValueInfo{name, type, {}, {}};
}

ValueInfo image(const std::string& name) {
  return value(name, {Dimension::named("batch"), Dimension::known(3), Dimension::known(8), Dimension::known(8)});
}

Node node(const std::string& op_type, std::vector<std::string> inputs, std::vector<std::string> outputs,
          const std::string& name = {}) {
  Node result;
  result.name = name;
  result.op_type = op_type;
  result.inputs = std::move(inputs);
  result.outputs = std::move(outputs);
  return result;
}

Tensor weights(Shape shape) {
  Tensor tensor(DType::kFloat32, std::move(shape));
  for (float& element : tensor.mutable_as<float>()) element = 0.5F;
  return tensor;
}

/// x -> Conv(w) -> Relu -> y: passes, and each test breaks one thing.
Model conv_model() {
  Model model;
  model.ir_version = 8;
  model.opset_imports = {{"", 17}};
  model.graph.name = "test";
  model.graph.inputs = {image("x")};
  model.graph.outputs = {ValueInfo{"y", {}, {}, {}}};
  model.graph.set_initializer("w", weights({4, 3, 3, 3}));
  model.graph.nodes = {node("Conv", {"x", "w"}, {"c"}, "conv"), node("Relu", {"c"}, {"y"}, "relu")};
  return model;
}

/// What check_model throws; fails the test when it throws nothing.
Error error_of(const Model& model, const CheckLimits& limits = {}) {
  try {
    check_model(model, limits);
  } catch (const Error& error) {
    EXPECT_NE(error.remedy(), "") << error.what();
    return error;
  }
  ADD_FAILURE() << "the model was accepted";
  return Error(ErrorKind::kInternal, "");
}

void expect_bad(const Model& model, const std::string& where, const std::string& message) {
  const Error error = error_of(model);
  EXPECT_EQ(error.kind(), ErrorKind::kBadInput) << error.what();
  EXPECT_THAT(error.where(), HasSubstr(where)) << error.what();
  EXPECT_THAT(error.message(), HasSubstr(message)) << error.what();
}

void expect_unsupported(const Model& model, const std::string& where, const std::string& message) {
  const Error error = error_of(model);
  EXPECT_EQ(error.kind(), ErrorKind::kUnsupported) << error.what();
  EXPECT_THAT(error.where(), HasSubstr(where)) << error.what();
  EXPECT_THAT(error.message(), HasSubstr(message)) << error.what();
}

TEST(Checker, AcceptsAPlainModelAndSaysWhatItHolds) {
  const ModelFacts facts = check_model(conv_model());
  EXPECT_EQ(facts.opset, 17);
  EXPECT_EQ(facts.ir_version, 8);
  EXPECT_EQ(facts.num_nodes, 2);
  EXPECT_EQ(facts.nesting_depth, 0);
  EXPECT_EQ(facts.weight_bytes, 4U * 27U * 4U);
  EXPECT_FALSE(facts.has_functions);
  EXPECT_THAT(facts.num_by_operator, ElementsAre(Pair("Conv", 1), Pair("Relu", 1)));
  EXPECT_TRUE(facts.foreign_operators.empty());
}

TEST(Checker, RefusesOpsetsAndIrVersionsItDoesNotKnow) {
  Model model = conv_model();
  for (const std::int64_t opset : {-3, 0, 1, 6, 1000}) {
    model.opset_imports = {{"", opset}};
    expect_unsupported(model, "", "opset " + std::to_string(opset));
  }
  for (const std::int64_t opset : {7, 11, 28}) {
    model.opset_imports = {{"ai.onnx", opset}};
    EXPECT_NO_THROW(check_model(model));
  }
  model.opset_imports = {};
  expect_bad(model, "", "declares no opset");
  model.opset_imports = {{"ai.onnx.ml", 3}};
  expect_bad(model, "conv", "no opset");
  model.opset_imports = {{"", 17}, {"ai.onnx", 13}};
  expect_bad(model, "", "twice");
  model = conv_model();
  for (const std::int64_t version : {-1, 0, 2, 15}) {
    model.ir_version = version;
    expect_unsupported(model, "", "IR version " + std::to_string(version));
  }
}

TEST(Checker, RefusesOperatorsThatDoNotExist) {
  Model model = conv_model();
  model.graph.nodes[1].op_type = "Relv";
  expect_unsupported(model, "relu", "no operator 'Relv'");
  model.graph.nodes[1].op_type = "";
  expect_bad(model, "relu", "no operator");
  model.graph.nodes[1] = node("Gelu", {"c"}, {"y"}, "gelu");
  expect_bad(model, "gelu", "from opset 20 on");
  model.graph.nodes[1] = node("Upsample", {"c", "w"}, {"y"}, "up");
  expect_bad(model, "up", "removed in opset 10");
  model.graph.nodes[1] = node("Relu", {"c"}, {"y"}, "relu");
  model.graph.nodes[1].domain = "my.domain";
  expect_unsupported(model, "relu", "'my.domain' is not known");
}

TEST(Checker, ReportsOperatorsThatTargetsMustKnowByName) {
  Model model = conv_model();
  model.graph.nodes[1].op_type = "QuickGelu";
  model.graph.nodes[1].domain = "com.microsoft";
  expect_bad(model, "relu", "declares no opset for the domain 'com.microsoft'");
  model.opset_imports.emplace_back("com.microsoft", 1);
  EXPECT_THAT(check_model(model).foreign_operators, ElementsAre("com.microsoft.QuickGelu"));
}

TEST(Checker, RefusesNodesWithoutOutputs) {  // TensorRT crashes
  Model model = conv_model();
  model.graph.nodes.push_back(node("Relu", {"c"}, {}, "lost"));
  expect_bad(model, "Relu node 'lost'", "no outputs");
  model.graph.nodes.back().outputs = {""};
  expect_bad(model, "Relu node 'lost'", "no outputs");
}

TEST(Checker, RefusesGraphsWithoutOutputs) {
  Model model = conv_model();
  model.graph.outputs.clear();
  expect_bad(model, "", "no outputs");
  model.graph.outputs = {ValueInfo{"z", {}, {}, {}}};
  expect_bad(model, "output 'z'", "not computed");
  model.graph.outputs = {ValueInfo{"y", {}, {}, {}}, ValueInfo{"y", {}, {}, {}}};
  expect_bad(model, "output 'y'", "twice");
}

TEST(Checker, RefusesWrongCounts) {
  Model model = conv_model();
  model.graph.nodes[0].inputs = {"x"};
  expect_bad(model, "conv", "1 inputs where Conv has 2 to 3");
  model.graph.nodes[0].inputs = {"x", "w", "w", "w"};
  expect_bad(model, "conv", "4 inputs");
  model.graph.nodes[0].inputs = {"", "w"};
  expect_bad(model, "conv", "omits input 0");
  model.graph.nodes[0].inputs = {"x", "w", "", ""};
  EXPECT_NO_THROW(check_model(model));  // Omitted ones at the end may be written.
  model.graph.nodes[1].outputs = {"y", "z"};
  expect_bad(model, "relu", "2 outputs where Relu has 1");
}

TEST(Checker, RefusesWrongAttributes) {
  Model model = conv_model();
  model.graph.nodes[0].set_attribute("padding", std::int64_t{1});
  expect_bad(model, "conv", "'padding', which Conv of opset 11 does not have");
  model = conv_model();
  model.graph.nodes[0].set_attribute("pads", std::int64_t{1});
  expect_bad(model, "conv", "'pads' as integer where list of integers");
  model = conv_model();
  model.graph.nodes[1] = node("Concat", {"c"}, {"y"}, "concat");
  expect_bad(model, "concat", "lacks the attribute 'axis'");
  model.graph.nodes[1].attributes = {Attribute{"axis", std::int64_t{0}, {}, 0, {}, {}},
                                     Attribute{"axis", std::int64_t{0}, {}, 0, {}, {}}};
  expect_bad(model, "concat", "twice");
  model.graph.nodes[1].attributes = {Attribute{"axis", {}, {}, 0, {}, {}}};
  expect_bad(model, "concat", "no value");
  model.graph.nodes[1].attributes = {Attribute{"axis", {}, "axis", 2, {}, {}}};
  expect_bad(model, "concat", "not inside a function");
}

TEST(Checker, RefusesValuesDefinedTwice) {
  Model model = conv_model();
  model.graph.nodes.push_back(node("Relu", {"x"}, {"c"}, "again"));
  expect_bad(model, "again", "'c', which is defined already");
  model.graph.nodes.back().outputs = {"x"};
  expect_bad(model, "again", "'x', which is defined already");
  model.graph.nodes.back().outputs = {"w"};
  expect_bad(model, "again", "'w', which is defined already");
  model = conv_model();
  model.graph.initializers.push_back(model.graph.initializers[0]);
  expect_bad(model, "initializer 'w'", "twice");
  model = conv_model();
  model.graph.inputs.push_back(image("x"));
  expect_bad(model, "input 'x'", "twice");
}

TEST(Checker, RefusesUndefinedUnsortedAndCyclicValues) {
  Model model = conv_model();
  model.graph.nodes[1].inputs = {"nowhere"};
  expect_bad(model, "relu", "'nowhere', which is no input");
  model = conv_model();
  std::swap(model.graph.nodes[0], model.graph.nodes[1]);
  expect_bad(model, "relu", "not in topological order");
  model = conv_model();
  model.graph.nodes[1].inputs = {"y"};
  expect_bad(model, "relu", "cycle");
  model.graph.nodes = {node("Add", {"x", "b"}, {"a"}, "first"), node("Relu", {"a"}, {"b"}, "second"),
                       node("Relu", {"b"}, {"y"}, "third")};
  expect_bad(model, "first", "cycle");
}

TEST(Checker, RefusesExtentsThatCannotBe) {
  Model model = conv_model();
  model.graph.inputs[0] = value("x", {Dimension::known(-1), Dimension::known(3)});
  expect_bad(model, "input 'x'", "extent -1");
  model.graph.inputs[0] = value("x", {Dimension::known(std::int64_t{1} << 40), Dimension::known(3)});
  expect_bad(model, "input 'x'", "larger than any tensor");
  model.graph.inputs[0] = value("x", {Dimension::known(1 << 30), Dimension::known(1 << 30), Dimension::known(1 << 30)});
  expect_bad(model, "input 'x'", "larger than any tensor");
  model = conv_model();
  model.graph.outputs[0] = value("y", {Dimension::known(-2)});
  expect_bad(model, "output 'y'", "extent -2");
  model = conv_model();
  model.graph.value_infos = {value("c", {Dimension::known(-2)})};
  expect_bad(model, "value 'c'", "extent -2");
  model = conv_model();
  model.graph.inputs[0] = value("x", {}, static_cast<DType>(99));
  expect_unsupported(model, "input 'x'", "element type 99");
  model.graph.inputs[0] = ValueInfo{"x", {}, {}, {}};
  expect_bad(model, "input 'x'", "no type");
}

TEST(Checker, RefusesConvolutionWeightsThatDoNotFit) {  // TensorRT accepts a wrong rank silently
  Model model = conv_model();
  model.graph.set_initializer("w", weights({4, 3, 3}));
  expect_bad(model, "conv", "[?, 3, 8, 8]: both need as many dimensions");
  model.graph.set_initializer("w", weights({4, 27}));
  expect_bad(model, "conv", "[4, 27] where a convolution needs 3 or more");
  model.graph.set_initializer("w", weights({}));
  expect_bad(model, "conv", "3 or more");
  model.graph.set_initializer("w", weights({4, 2, 3, 3}));
  expect_bad(model, "conv", "channels do not fit");
  model = conv_model();
  model.graph.nodes[0].set_attribute("kernel_shape", std::vector<std::int64_t>{3});
  expect_bad(model, "conv", "kernel_shape is [3]");
  model.graph.nodes[0].set_attribute("kernel_shape", std::vector<std::int64_t>{3, 5});
  expect_bad(model, "conv", "kernel_shape is [3, 5]");
  model.graph.nodes[0].set_attribute("kernel_shape", std::vector<std::int64_t>{3, 3});
  EXPECT_NO_THROW(check_model(model));
  model.graph.nodes[0].set_attribute("strides", std::vector<std::int64_t>{0, 1});
  expect_bad(model, "conv", "'strides' holds 0");
  model.graph.nodes[0].set_attribute("strides", std::vector<std::int64_t>{1});
  expect_bad(model, "conv", "'strides' has 1 values");
  model = conv_model();
  model.graph.nodes[0].set_attribute("pads", std::vector<std::int64_t>{1, 1});
  expect_bad(model, "conv", "'pads' has 2 values");
  model = conv_model();
  model.graph.nodes[0].set_attribute("group", std::int64_t{0});
  expect_bad(model, "conv", "'group' is 0");
  model.graph.nodes[0].set_attribute("group", std::int64_t{3});
  expect_bad(model, "conv", "no multiple of group 3");
  model = conv_model();
  model.graph.set_initializer("b", weights({3}));
  model.graph.nodes[0].inputs.push_back("b");
  expect_bad(model, "conv", "bias has shape [3]");
}

TEST(Checker, ChecksOtherWeights) {
  Model model = conv_model();
  model.graph.nodes = {node("ConvTranspose", {"x", "w"}, {"y"}, "deconv")};
  expect_bad(model, "deconv", "channels do not fit");
  model.graph.set_initializer("w", weights({3, 4, 2, 2}));
  EXPECT_NO_THROW(check_model(model));

  model = conv_model();
  model.graph.inputs[0] = value("x", {Dimension::named("batch"), Dimension::known(8)});
  model.graph.nodes = {node("Gemm", {"x", "w"}, {"y"}, "gemm")};
  expect_bad(model, "gemm", "[4, 3, 3, 3]");
  model.graph.set_initializer("w", weights({4, 8}));
  expect_bad(model, "gemm", "cannot be multiplied");
  model.graph.nodes[0].set_attribute("transB", std::int64_t{1});
  EXPECT_NO_THROW(check_model(model));

  model.graph.nodes = {node("MatMul", {"x", "w"}, {"y"}, "matmul")};
  expect_bad(model, "matmul", "cannot be multiplied");
  model.graph.set_initializer("w", weights({}));
  expect_bad(model, "matmul", "scalar");
  model.graph.set_initializer("w", weights({8}));
  EXPECT_NO_THROW(check_model(model));

  model = conv_model();
  for (const char* name : {"scale", "bias", "mean", "var"}) model.graph.set_initializer(name, weights({3}));
  model.graph.nodes = {node("BatchNormalization", {"x", "scale", "bias", "mean", "var"}, {"y"}, "bn")};
  EXPECT_NO_THROW(check_model(model));
  model.graph.set_initializer("var", weights({3, 1}));
  expect_bad(model, "bn", "[3, 1] where [3]");
}

TEST(Checker, RefusesNamesThatLibrariesWouldCut) {
  Model model = conv_model();
  model.graph.nodes[0].name = std::string("co\0nv", 5);
  expect_bad(model, "", "'co?nv' of a node holds a NUL");
  model = conv_model();
  model.graph.nodes[0].outputs[0] = "\xff\xfe";
  expect_bad(model, "", "UTF-8");
  for (const char* name : {"\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82", "\x80"}) {
    model = conv_model();
    model.graph.inputs[0].name = name;
    expect_bad(model, "", "UTF-8");
  }
  model = conv_model();
  model.graph.nodes[0].name = "\xe5\x8d\xb7\xe7\xa9\x8d \xf0\x9f\x90\xb3";
  EXPECT_NO_THROW(check_model(model));
}

std::shared_ptr<Graph> body_of(Node inner, const std::string& output) {
  auto graph = std::make_shared<Graph>();
  graph->name = "body";
  graph->outputs = {ValueInfo{output, {}, {}, {}}};
  graph->nodes = {std::move(inner)};
  return graph;
}

/// If nodes inside one another, `depth` of them, around a Relu of the outermost input.
Node nested_if(int depth) {
  const std::string output = "v" + std::to_string(depth);
  if (depth == 0) return node("Relu", {"x"}, {output});
  Node result = node("If", {"flag"}, {output}, "if" + std::to_string(depth));
  const std::string inner = "v" + std::to_string(depth - 1);
  result.set_attribute("then_branch", body_of(nested_if(depth - 1), inner));
  result.set_attribute("else_branch", body_of(nested_if(0), "v0"));
  return result;
}

Model if_model(int depth) {
  Model model = conv_model();
  model.graph.inputs.push_back(value("flag", {}, DType::kBool));
  model.graph.nodes = {nested_if(depth)};
  model.graph.outputs[0].name = "v" + std::to_string(depth);
  return model;
}

TEST(Checker, RefusesDeepNesting) {  // TensorRT hangs at depth 10
  for (const int depth : {1, 3, 8}) EXPECT_EQ(check_model(if_model(depth)).nesting_depth, depth);
  for (const int depth : {9, 10, 60}) expect_unsupported(if_model(depth), "If node", "more than 8 deep");
}

TEST(Checker, FollowsScopesOfNestedGraphs) {
  Model model = if_model(1);
  auto& branch = *std::get<std::shared_ptr<Graph>>(model.graph.nodes[0].attributes[0].value);
  branch.nodes[0].inputs = {"nowhere"};
  expect_bad(model, "inside If node 'if1'", "'nowhere'");
  // A value of a nested graph is not visible outside.
  model = if_model(1);
  model.graph.nodes.push_back(node("Relu", {"v0"}, {"y"}, "outside"));
  expect_bad(model, "outside", "'v0'");
  // Nor is a value computed after the node.
  model = if_model(1);
  model.graph.nodes.push_back(node("Relu", {"x"}, {"late"}, "late"));
  auto& inner = *std::get<std::shared_ptr<Graph>>(model.graph.nodes[0].attributes[0].value);
  inner.nodes[0].inputs = {"late"};
  expect_bad(model, "inside If node 'if1'", "'late'");
  model = if_model(1);
  auto& extra = *std::get<std::shared_ptr<Graph>>(model.graph.nodes[0].attributes[1].value);
  extra.outputs.clear();
  expect_bad(model, "if1", "else_branch has 0 outputs");
  extra.outputs = {ValueInfo{"v0", {}, {}, {}}};
  extra.inputs = {image("own")};
  expect_bad(model, "if1", "else_branch has inputs");
}

TEST(Checker, AcceptsLongChainsQuicklyAndLimitsTheirSize) {  // TensorRT crashes on 5,000, hangs on 20,000
  Model model = conv_model();
  model.graph.nodes.clear();
  std::string last = "x";
  for (int i = 0; i < 20'000; ++i) {
    std::string next = "v" + std::to_string(i);
    model.graph.nodes.push_back(node("Relu", {last}, {next}));
    last = next;
  }
  model.graph.outputs[0].name = last;
  EXPECT_EQ(check_model(model).num_nodes, 20'000);
  CheckLimits limits;
  limits.max_nodes = 19'999;
  EXPECT_THAT(error_of(model, limits).message(), HasSubstr("more than 19999 nodes"));
}

Function function(const std::string& name, std::vector<Node> nodes) {
  Function result;
  result.name = name;
  result.domain = "local";
  result.inputs = {"a"};
  result.outputs = {"b"};
  result.opset_imports = {{"", 17}, {"local", 1}};
  result.nodes = std::move(nodes);
  return result;
}

Node call(const std::string& name, const std::string& input, const std::string& output) {
  Node result = node(name, {input}, {output}, "call_" + name);
  result.domain = "local";
  return result;
}

Model function_model(std::vector<Function> functions) {
  Model model = conv_model();
  model.opset_imports.emplace_back("local", 1);
  model.graph.nodes[1] = call("f", "c", "y");
  model.functions = std::move(functions);
  return model;
}

TEST(Checker, AcceptsFunctions) {
  const ModelFacts facts = check_model(function_model(
      {function("f", {call("g", "a", "t"), call("g", "t", "b")}), function("g", {node("Relu", {"a"}, {"b"})})}));
  EXPECT_TRUE(facts.has_functions);
  EXPECT_EQ(facts.num_nodes, 3);
  EXPECT_TRUE(facts.foreign_operators.empty());
}

TEST(Checker, AttributesOfFunctionsMustBePassedAsTheBodyUsesThem) {
  Node leaky = node("LeakyRelu", {"a"}, {"b"});
  Attribute alpha;
  alpha.name = "alpha";
  alpha.ref_attr_name = "slope";
  alpha.ref_type = 1;  // FLOAT
  leaky.attributes.push_back(alpha);
  Function inner = function("g", {leaky});
  inner.attribute_names = {"slope"};
  Node good = call("g", "a", "b");
  good.set_attribute("slope", 0.25F);
  EXPECT_TRUE(check_model(function_model({function("f", {good}), inner})).has_functions);
  Node wrong = call("g", "a", "b");
  wrong.set_attribute("slope", std::vector<Tensor>{});
  expect_bad(function_model({function("f", {wrong}), inner}), "function 'local.f'", "uses it as float");
  inner.attribute_names.clear();
  Attribute fallback;
  fallback.name = "slope";
  fallback.value = std::int64_t{1};
  inner.attributes.push_back(fallback);
  expect_bad(function_model({function("f", {good}), inner}), "function 'local.g'", "uses it as float");
  inner.attributes.clear();
  inner.attribute_names = {"slope"};
  alpha.ref_type = 2;
  inner.nodes.push_back(leaky);
  inner.nodes.back().attributes = {alpha};
  expect_bad(function_model({function("f", {good}), inner}), "function 'local.g'", "as float and as integer");
}

TEST(Checker, DeclarationsInsideFunctionsMustHoldAsInlined) {
  Function with_values = function("f", {node("Relu", {"a"}, {"b"})});
  ValueInfo value;
  value.name = "t";
  value.type = ValueType{};
  value.type->dtype = static_cast<DType>(96767);
  with_values.value_infos.push_back(value);
  expect_unsupported(function_model({with_values}), "function 'local.f'", "element type 96767");
  with_values.value_infos[0].type->dtype = DType::kFloat32;
  EXPECT_TRUE(check_model(function_model({with_values})).has_functions);
}

TEST(Checker, RefusesRecursiveFunctions) {  // TensorRT crashes
  expect_bad(function_model({function("f", {call("f", "a", "b")})}), "function 'local.f'", "f calls f");
  expect_bad(function_model({function("f", {call("g", "a", "b")}), function("g", {call("f", "a", "b")})}), "function",
             "f calls g calls f");
  // Through a nested graph, too.
  Node inside = node("If", {"a"}, {"b"});
  inside.set_attribute("then_branch", body_of(call("f", "a", "t"), "t"));
  inside.set_attribute("else_branch", body_of(call("f", "a", "e"), "e"));
  expect_bad(function_model({function("f", {inside})}), "function 'local.f'", "calls itself");
}

TEST(Checker, LimitsWhatFunctionsExpandTo) {
  // Each function calls the next one twice: 2^60 nodes in 60 lines.
  std::vector<Function> functions;
  for (int i = 0; i < 60; ++i) {
    const std::string next = "g" + std::to_string(i + 1);
    functions.push_back(function(i == 0 ? "f" : "g" + std::to_string(i), {call(next, "a", "t"), call(next, "t", "b")}));
  }
  functions.push_back(function("g60", {node("Relu", {"a"}, {"b"})}));
  expect_unsupported(function_model(functions), "", "more than 500000 nodes");
  // A long chain of calls is refused before it can exhaust the stack.
  functions.clear();
  for (int i = 0; i < 50'000; ++i) {
    functions.push_back(
        function(i == 0 ? "f" : "g" + std::to_string(i), {call("g" + std::to_string(i + 1), "a", "b")}));
  }
  functions.push_back(function("g50000", {node("Relu", {"a"}, {"b"})}));
  expect_unsupported(function_model(functions), "function", "more than 100 deep");
}

TEST(Checker, RefusesMalformedFunctions) {
  const Function good = function("f", {node("Relu", {"a"}, {"b"})});
  EXPECT_NO_THROW(check_model(function_model({good})));
  expect_bad(function_model({good, good}), "function 'local.f'", "defined twice");
  Function broken = good;
  broken.outputs = {"missing"};
  expect_bad(function_model({broken}), "function 'local.f'", "'missing'");
  broken = good;
  broken.nodes[0].inputs = {"x"};  // A function does not see the values of its caller.
  expect_bad(function_model({broken}), "function 'local.f'", "'x'");
  broken = good;
  broken.inputs = {"a", "a"};
  expect_bad(function_model({broken}), "function 'local.f'", "twice");
  broken = good;
  broken.opset_imports = {{"", 99}};
  expect_unsupported(function_model({broken}), "function 'local.f'", "99");
  broken = good;
  broken.nodes[0] = node("LeakyRelu", {"a"}, {"b"});
  broken.nodes[0].attributes = {Attribute{"alpha", {}, "slope", 1, {}, {}}};
  expect_bad(function_model({broken}), "alpha", "'slope'");
  broken.attribute_names = {"slope"};
  expect_bad(function_model({broken}), "call_f", "lacks the attribute 'slope'");
  Model model = function_model({broken});
  model.graph.nodes[1].set_attribute("slope", 0.1F);
  EXPECT_NO_THROW(check_model(model));
  model.graph.nodes[1].inputs = {"c", "c"};
  expect_bad(model, "call_f", "2 inputs");
}

TEST(Checker, ChecksSparseTensors) {
  Model model = conv_model();
  SparseTensor sparse;
  sparse.name = "s";
  sparse.values = weights({2});
  sparse.indices = Tensor::of<std::int64_t>({2}, {0, 5});
  sparse.shape = {2, 3};
  model.graph.sparse_initializers = {sparse};
  EXPECT_NO_THROW(check_model(model));
  model.graph.sparse_initializers[0].indices = Tensor::of<std::int64_t>({2}, {0, 6});
  expect_bad(model, "'s'", "index 6");
  model.graph.sparse_initializers[0].indices = Tensor::of<std::int64_t>({2, 2}, {0, 0, 1, 3});
  expect_bad(model, "'s'", "index 3");
  model.graph.sparse_initializers[0].indices = Tensor::of<std::int64_t>({3}, {0, 1, 2});
  expect_bad(model, "'s'", "do not fit");
  model.graph.sparse_initializers[0].indices = Tensor::of<std::int32_t>({2}, {0, 1});
  expect_bad(model, "'s'", "do not fit");
}

}  // namespace
}  // namespace pajamas
