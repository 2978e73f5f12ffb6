// Tests of graph/graph_builder.h: names by scope, shared constants, outputs, and models that pass the check.
#include "graph/graph_builder.h"

#include <gtest/gtest.h>

#include <set>

#include "graph/checker.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

TEST(GraphBuilder, NamesNodesAfterOpenScopes) {
  GraphBuilder graph("test");
  const auto x = graph.input("x", DType::kFloat32, {Dimension::named("batch"), Dimension::known(2)});
  EXPECT_EQ(graph.node("Relu", {x}).name, "/Relu");
  {
    const auto outer = graph.scope("encoder");
    EXPECT_EQ(graph.node("Relu", {x}).name, "encoder/Relu");
    {
      const auto inner = graph.scope("layer.0");
      EXPECT_EQ(graph.scope_path(), "encoder.layer.0");
      EXPECT_EQ(graph.node("Relu", {x}).name, "encoder.layer.0/Relu");
      EXPECT_EQ(graph.node("Relu", {x}).name, "encoder.layer.0/Relu_1");
      const auto nothing = graph.scope("");
      EXPECT_EQ(graph.scope_path(), "encoder.layer.0");
    }
    EXPECT_EQ(graph.scope_path(), "encoder");
  }
  EXPECT_EQ(graph.scope_path(), "");
}

TEST(GraphBuilder, NumberedNamesDoNotMeet) {
  GraphBuilder graph("test");
  const auto x = graph.input("/Relu_1", DType::kFloat32, {});
  std::set<std::string> names{x.name};
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(names.insert(graph.node("Relu", {x}).name).second);
}

TEST(GraphBuilder, StoresEqualConstantsOnce) {
  GraphBuilder graph("test");
  EXPECT_EQ(graph.constant(1.5F).name, graph.constant(1.5F).name);
  EXPECT_NE(graph.constant(1.5F).name, graph.constant(2.5F).name);
  EXPECT_NE(graph.constant(0.0F).name, graph.constant(Tensor::of<float>(Shape{1}, {0.0F})).name);
  EXPECT_EQ(graph.integers({0, 0, -1}).name, graph.integers({0, 0, -1}).name);
  graph.weight("w", Tensor::scalar(1.0F));
  graph.weight("w", Tensor::scalar(1.0F));
  EXPECT_THROW(graph.weight("w", Tensor::scalar(2.0F)), Error);
  const Model model = graph.build();
  EXPECT_EQ(model.graph.initializers.size(), 6u);
}

TEST(GraphBuilder, BuildsAModelThatPassesTheCheck) {
  GraphBuilder graph("test");
  const auto x = graph.input("x", DType::kFloat32, {Dimension::named("batch"), Dimension::known(4)});
  EXPECT_THROW(graph.input("x", DType::kFloat32, {}), Error);
  const auto halves = graph.node_with_outputs("Split", {x, graph.integers({2, 2})}, 2, {{"axis", std::int64_t{1}}});
  const auto sum = graph.node("Add", {halves[0], halves[1]});
  graph.output("y", sum, DType::kFloat32, {Dimension::named("batch"), Dimension::known(2)});
  graph.output("input_again", x, DType::kFloat32, {Dimension::named("batch"), Dimension::known(4)});
  const Model model = graph.build();
  EXPECT_EQ(model.opset(), 17);
  EXPECT_EQ(model.ir_version, 8);
  EXPECT_EQ(model.graph.outputs.size(), 2u);
  EXPECT_NO_THROW(check_model(model));
}

}  // namespace
}  // namespace pajamas
