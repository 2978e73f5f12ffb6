// Shape inference: symbolic extents, shape arithmetic and contradictions. That it agrees with what is computed is
// tested on random graphs (passes_random_graphs_test.cpp) and on the node cases (tests/parity).
#include "graph/shape_inference.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "pajamas/error.h"

namespace pajamas {
namespace {

using ::testing::HasSubstr;

TEST(Extent, ArithmeticIsThatOfPolynomials) {
  const Extent n = Extent::named("n");
  const Extent h = Extent::named("h");
  EXPECT_EQ(n * 3 + n, n * 4);
  EXPECT_EQ(n * h, h * n);
  EXPECT_EQ(n - n, Extent(0));
  EXPECT_EQ((n * 6 + 4) * h, n * h * 6 + h * 4);
  EXPECT_EQ(*divide_exactly(n * h * 6, n * 2), h * 3);
  EXPECT_FALSE(divide_exactly(n * 3, 2));
  EXPECT_FALSE(divide_exactly(n + 1, n));
  EXPECT_FALSE(divide_exactly(n, 0));
  EXPECT_EQ(floor_divide(h * 32, 8), h * 4);
  EXPECT_EQ(floor_divide(h + 1, 2), floor_divide(h + 1, 2));
  EXPECT_FALSE(floor_divide(h + 1, 2) == floor_divide(h, 2));
  EXPECT_EQ(floor_divide(-7, 2), Extent(-4));
  EXPECT_FALSE(Extent::fresh() == Extent::fresh());
  EXPECT_EQ((n * 16).to_string(), "16*n");
  EXPECT_EQ(Extent::fresh().to_string(), "?");
  EXPECT_FALSE((Extent(INT64_MAX) + 1).is_known()) << "an overflow must not wrap";
  EXPECT_FALSE((Extent(INT64_MAX) * 2).is_known());
}

Dimension dimension(const std::string& text) {
  if (text == "?") return {};
  return std::isdigit(static_cast<unsigned char>(text[0])) != 0 ? Dimension::known(std::stoll(text))
                                                                : Dimension::named(text);
}

Model model_with(std::vector<std::vector<std::string>> inputs, std::int64_t opset = 17) {
  Model model;
  model.opset_imports = {{"", opset}};
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    ValueInfo info;
    info.name = "x" + std::to_string(i);
    info.type = ValueType{};
    info.type->dtype = DType::kFloat32;
    info.type->shape.emplace();
    for (const std::string& text : inputs[i]) info.type->shape->push_back(dimension(text));
    model.graph.inputs.push_back(info);
  }
  return model;
}

void add(Model& model, const std::string& type, std::vector<std::string> inputs, const std::string& output,
         std::vector<std::pair<std::string, AttributeValue>> attributes = {}) {
  Node node;
  node.op_type = type;
  node.inputs = std::move(inputs);
  node.outputs = {output};
  for (auto& [name, value] : attributes) node.set_attribute(name, std::move(value));
  model.graph.nodes.push_back(std::move(node));
}

void add_integers(Model& model, const std::string& name, std::vector<std::int64_t> values) {
  model.graph.initializers.push_back(
      Initializer{name, Tensor::of<std::int64_t>({static_cast<std::int64_t>(values.size())}, values), {}, {}});
}

std::string shape_of(const Model& model, const std::string& name) {
  const auto facts = infer_facts(model);
  const ValueFact* fact = facts->find(name);
  if (fact == nullptr || !fact->shape) return "unknown";
  std::string text;
  for (const Extent& extent : *fact->shape) text += (text.empty() ? "" : ",") + extent.to_string();
  return text;
}

std::string failure_of(const Model& model) {
  try {
    infer_facts(model);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
    return error.what();
  }
  return "no error";
}

using Ints = std::vector<std::int64_t>;

TEST(ShapeInference, ConvolutionsOverOpenExtents) {
  Model model = model_with({{"n", "3", "h", "64"}, {"8", "3", "3", "3"}});
  add(model, "Conv", {"x0", "x1"}, "same", {{"pads", Ints{1, 1, 1, 1}}});
  add(model, "Conv", {"x0", "x1"}, "half", {{"pads", Ints{1, 1, 1, 1}}, {"strides", Ints{2, 2}}});
  add(model, "MaxPool", {"same"}, "pooled",
      {{"kernel_shape", Ints{3, 3}}, {"strides", Ints{2, 2}}, {"ceil_mode", std::int64_t{1}}});
  EXPECT_EQ(shape_of(model, "same"), "n,8,h,64");
  EXPECT_EQ(shape_of(model, "half"), "n,8,floor((h + -1)/(2)) + 1,32");
  EXPECT_THAT(shape_of(model, "pooled"), HasSubstr(",32"));
}

TEST(ShapeInference, ShapeArithmeticReachesReshape) {
  Model model = model_with({{"n", "255", "h", "w"}});
  add(model, "Shape", {"x0"}, "s");
  add_integers(model, "first", {0});
  add_integers(model, "last", {2});
  add_integers(model, "middle", {3, 85});
  add(model, "Slice", {"s", "first", "first"}, "nothing");
  add_integers(model, "one", {1});
  add(model, "Slice", {"s", "first", "one"}, "batch");
  add_integers(model, "end", {4});
  add(model, "Slice", {"s", "last", "end"}, "size");
  add(model, "Concat", {"batch", "middle", "size"}, "target", {{"axis", std::int64_t{0}}});
  add(model, "Reshape", {"x0", "target"}, "y");
  add(model, "Transpose", {"y"}, "t", {{"perm", Ints{0, 1, 3, 4, 2}}});
  add_integers(model, "flat", {0, -1, 85});
  add(model, "Reshape", {"t", "flat"}, "rows");
  EXPECT_EQ(shape_of(model, "nothing"), "0");
  EXPECT_EQ(shape_of(model, "y"), "n,3,85,h,w");
  EXPECT_EQ(shape_of(model, "rows"), "n,3*h*w,85");
}

TEST(ShapeInference, SlicesCutAnAxisOnce) {
  Model model = model_with({{"8", "8"}});
  add_integers(model, "starts", {5, 5});
  add_integers(model, "ends", {8, 8});
  add_integers(model, "axes", {0, -2});
  add(model, "Slice", {"x0", "starts", "ends", "axes"}, "y");
  EXPECT_THAT(failure_of(model), HasSubstr("named twice"));
}

TEST(ShapeInference, EinsumBroadcastsOnes) {
  Model model = model_with({{"n", "k"}, {"1", "k"}, {"1", "7"}});
  add(model, "Einsum", {"x0", "x1"}, "y", {{"equation", std::string("bi,bi->b")}});
  add(model, "Einsum", {"x1", "x0"}, "z", {{"equation", std::string("bi,bi->b")}});
  add(model, "Einsum", {"x1", "x2"}, "w", {{"equation", std::string("bi,bi->bi")}});
  EXPECT_EQ(shape_of(model, "y"), "n");
  EXPECT_EQ(shape_of(model, "z"), "n");
  EXPECT_EQ(shape_of(model, "w"), "1,7");
}

TEST(ShapeInference, UnknownStaysUnknown) {
  Model model = model_with({{"?", "4"}, {"?", "4"}});
  add(model, "Add", {"x0", "x1"}, "sum");
  add(model, "NonZero", {"x0"}, "indices");
  Node foreign;
  foreign.op_type = "Mystery";
  foreign.domain = "com.example";
  foreign.inputs = {"x0"};
  foreign.outputs = {"m"};
  model.graph.nodes.push_back(foreign);
  add(model, "Relu", {"m"}, "r");
  EXPECT_EQ(shape_of(model, "sum"), "?,4");
  EXPECT_EQ(shape_of(model, "indices"), "2,?");
  EXPECT_EQ(shape_of(model, "r"), "unknown");
  // A declaration fills in what cannot be inferred.
  ValueInfo declared;
  declared.name = "m";
  declared.type = ValueType{};
  declared.type->dtype = DType::kFloat32;
  declared.type->shape = {Dimension::known(7)};
  model.graph.value_infos.push_back(declared);
  EXPECT_EQ(shape_of(model, "r"), "7");
}

TEST(ShapeInference, ContradictionsNameTheNode) {
  Model product = model_with({{"2", "3"}, {"4", "5"}});
  add(product, "MatMul", {"x0", "x1"}, "y");
  EXPECT_THAT(failure_of(product), HasSubstr("MatMul node producing 'y'"));
  Model sum = model_with({{"2", "3"}, {"2", "4"}});
  add(sum, "Add", {"x0", "x1"}, "y");
  EXPECT_THAT(failure_of(sum), HasSubstr("do not broadcast"));
  Model conv = model_with({{"1", "3", "8", "8"}, {"4", "5", "3", "3"}});
  add(conv, "Conv", {"x0", "x1"}, "y");
  EXPECT_THAT(failure_of(conv), HasSubstr("channels"));
  Model rank = model_with({{"1", "3", "8", "8"}, {"4", "3", "3"}});
  add(rank, "Conv", {"x0", "x1"}, "y");
  EXPECT_THAT(failure_of(rank), HasSubstr("do not fit"));
  Model reshape = model_with({{"2", "3"}});
  add_integers(reshape, "t", {4, -1});
  add(reshape, "Reshape", {"x0", "t"}, "y");
  EXPECT_THAT(failure_of(reshape), HasSubstr("does not fill"));
  Model mixed = model_with({{"2"}, {"2"}});
  mixed.graph.inputs[1].type->dtype = DType::kFloat16;
  add(mixed, "Add", {"x0", "x1"}, "y");
  EXPECT_THAT(failure_of(mixed), HasSubstr("are mixed"));
  Model axis = model_with({{"2", "3"}});
  add(axis, "Concat", {"x0", "x0"}, "y", {{"axis", std::int64_t{5}}});
  EXPECT_THAT(failure_of(axis), HasSubstr("axis 5"));
}

TEST(ShapeInference, BranchesKeepWhatTheyShare) {
  Model model = model_with({{"n", "4"}});
  ValueInfo condition;
  condition.name = "c";
  condition.type = ValueType{};
  condition.type->dtype = DType::kBool;
  condition.type->shape.emplace();
  model.graph.inputs.push_back(condition);
  const auto branch = [](const std::string& type, std::vector<std::string> inputs) {
    auto graph = std::make_shared<Graph>();
    Node node;
    node.op_type = type;
    node.inputs = std::move(inputs);
    node.outputs = {"out"};
    if (type == "Concat") node.set_attribute("axis", std::int64_t{0});
    graph->nodes.push_back(node);
    ValueInfo output;
    output.name = "out";
    graph->outputs.push_back(output);
    return graph;
  };
  add(model, "If", {"c"}, "y",
      {{"then_branch", branch("Relu", {"x0"})}, {"else_branch", branch("Concat", {"x0", "x0"})}});
  EXPECT_EQ(shape_of(model, "y"), "?,4");
  infer_shapes(model);
  ASSERT_FALSE(model.graph.value_infos.empty());
  EXPECT_EQ(model.graph.value_infos[0].type->to_string(), "float32[?, 4]");
}

TEST(ShapeInference, TheConstantOfOneBranchIsNotThatOfBoth) {
  Model model = model_with({{"1", "1", "4", "4"}, {}});
  model.graph.inputs[1].type->dtype = DType::kBool;
  const auto branch = [](float scale) {
    auto graph = std::make_shared<Graph>();
    graph->initializers.push_back(Initializer{"out", Tensor::of<float>({4}, {1, 1, scale, scale}), {}, {}});
    ValueInfo output;
    output.name = "out";
    graph->outputs.push_back(output);
    return graph;
  };
  add(model, "If", {"x1"}, "scales", {{"then_branch", branch(2)}, {"else_branch", branch(3)}});
  add(model, "Resize", {"x0", "", "scales"}, "y");
  EXPECT_EQ(shape_of(model, "y"), "?,?,?,?") << "8 by 8 is the first branch's";
}

TEST(ShapeInference, ExtentsAreToldFromMinusOne) {
  // How PyTorch writes an expansion to a shape that may hold -1.
  Model model = model_with({{"n", "4"}, {"n", "1"}});
  add(model, "Shape", {"x0"}, "shape");
  add_integers(model, "minus", {-1, -1});
  add_integers(model, "ones", {1, 1});
  add(model, "Equal", {"shape", "minus"}, "is_open");
  add(model, "Where", {"is_open", "ones", "shape"}, "picked");
  add(model, "Expand", {"x1", "picked"}, "y");
  EXPECT_EQ(shape_of(model, "y"), "n,4");
  // An extent may be 4: nothing follows.
  add_integers(model, "four", {4, 4});
  add(model, "Equal", {"shape", "four"}, "is_four");
  add(model, "Where", {"is_four", "ones", "shape"}, "other");
  add(model, "Expand", {"x1", "other"}, "z");
  EXPECT_EQ(shape_of(model, "z"), "?,?");
}

TEST(ShapeInference, HostileExtentsDoNotOverflow) {
  const std::string huge = std::to_string(INT64_MAX);
  Model model = model_with({{huge, huge}});
  add(model, "Flatten", {"x0"}, "f");
  add(model, "Concat", {"x0", "x0"}, "c", {{"axis", std::int64_t{0}}});
  add_integers(model, "repeats", {INT64_MAX, 2});
  add(model, "Tile", {"x0", "repeats"}, "t");
  add_integers(model, "low", {INT64_MIN});
  add_integers(model, "step", {INT64_MIN});
  add(model, "Slice", {"x0", "low", "low", "", "step"}, "s");
  EXPECT_EQ(failure_of(model), "no error");
  Model conv = model_with({{"1", "1", "8"}, {"1", "1", "3"}});
  add(conv, "Conv", {"x0", "x1"}, "y", {{"dilations", Ints{INT64_MAX}}});
  EXPECT_THAT(failure_of(conv), HasSubstr("2^30"));
  for (const float scale : {-1.0F, 0.0F, 1e30F, std::numeric_limits<float>::quiet_NaN()}) {
    Model resized = model_with({{"8"}});
    resized.graph.initializers.push_back(Initializer{"scales", Tensor::of<float>({1}, {scale}), {}, {}});
    add(resized, "Resize", {"x0", "", "scales"}, "y");
    EXPECT_THAT(failure_of(resized), HasSubstr("a scale of")) << scale;
  }
}

TEST(ShapeInference, NegativeExtentsAreRefused) {
  Model split = model_with({{"4"}});
  split.graph.inputs[0].type->dtype = DType::kInt64;
  add_integers(split, "values", {1, 2, 3, 4});
  add_integers(split, "lengths", {-2, 6});
  add(split, "Split", {"values", "lengths"}, "y");
  split.graph.nodes[0].outputs.push_back("z");  // the second part began before the first element
  EXPECT_THAT(failure_of(split), HasSubstr("a length of -2"));
  Model expanded = model_with({{"1"}});
  add_integers(expanded, "one", {1});
  add_integers(expanded, "shape", {-1});
  add(expanded, "Expand", {"one", "shape"}, "y");
  EXPECT_THAT(failure_of(expanded), HasSubstr("[-1]"));
  Model tiled = model_with({{"2"}});
  add_integers(tiled, "repeats", {-1});
  add(tiled, "Tile", {"x0", "repeats"}, "y");
  EXPECT_THAT(failure_of(tiled), HasSubstr("[-2]"));
}

}  // namespace
}  // namespace pajamas
