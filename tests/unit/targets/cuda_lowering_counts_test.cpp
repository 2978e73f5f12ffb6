// Extents that the data decide: graphs with NonZero, NonMaxSuppression, Compress, If and what follows them, lowered to
// bounds and counts, run on the host and cut, against the interpreter on the graph as it is.
#include "pajamas/error.h"
#include "targets/cuda/lowering/counts.h"
#include "unit/targets/counted_graphs.h"

namespace pajamas::cuda {
namespace {

using counted::kRows;
using counted::Rig;

TEST(CudaLoweringCounts, rows_are_those_of_the_graph_as_it_is) {
  for (const counted::CountedCase& item : counted::counted_cases()) {
    SCOPED_TRACE(item.name);
    const Model model = item.model();
    const ConstantTable table = table_of(model);
    ASSERT_TRUE(bound_counts(model, table));
    const LoweredProgram lowered = lower(model, table);
    for (const Tensor& x : item.inputs()) {
      const auto wanted = run_graph(model, {{"x", x}});
      const auto found = run_on_host(lowered, table, {x}, {3});
      ASSERT_EQ(found.size(), 1U);
      EXPECT_LE(difference(wanted.at("y"), found[0]), 1e-5);
    }
  }
}

TEST(CudaLoweringCounts, compressed_rows) {
  // The interpreter does not know the operator: against the same in other words.
  for (const bool has_axis : {true, false}) {
    const auto build = [&](bool is_compress) {
      Rig r;
      const GraphValue flat = has_axis ? r.x : r.graph.node("Reshape", {r.x, r.graph.integers({-1})});
      const GraphValue tested = has_axis ? r.column(r.x, 2) : flat;
      const GraphValue above = r.graph.node("Less", {tested, r.graph.constant(0.2F)});
      GraphValue y;
      if (is_compress && has_axis) {
        y = r.graph.node("Compress", {r.x, above}, {{"axis", std::int64_t{0}}});
      } else if (is_compress) {
        y = r.graph.node("Compress", {r.x, above});
      } else {
        y = r.graph.node("Gather",
                         {flat, r.graph.node("Reshape", {r.graph.node("NonZero", {above}), r.graph.integers({-1})})});
      }
      r.graph.output("y", y, DType::kFloat32, {});
      Model model = r.graph.build();
      model.graph.outputs[0].type->shape.reset();
      return model;
    };
    const Model model = build(true);
    const ConstantTable table = table_of(model);
    const Tensor x = random_tensor(DType::kFloat32, Shape{kRows, 4}, 5);
    const auto wanted = run_graph(build(false), {{"x", x}});
    EXPECT_LE(difference(wanted.at("y"), run_on_host(lower(model, table), table, {x}, {3})[0]), 1e-5);
  }
}

TEST(CudaLoweringCounts, names_what_it_cannot_follow) {
  Rig rig;
  const GraphValue rows = rig.rows();
  const GraphValue y =
      rig.graph.node("LayerNormalization",
                     {rig.graph.node("Transpose", {rows}, {{"perm", counted::Ints{1, 0}}}), rig.column(rows, 0)});
  rig.graph.output("y", y, DType::kFloat32, {});
  Model model = rig.graph.build();
  model.graph.outputs[0].type->shape.reset();
  const Support support = supports_graph(model);
  ASSERT_FALSE(support);
  EXPECT_THAT(support.reason, testing::HasSubstr("LayerNormalization"));
}

}  // namespace
}  // namespace pajamas::cuda
