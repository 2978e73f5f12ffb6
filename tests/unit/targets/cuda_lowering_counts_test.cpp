// Extents that the data decide: graphs with NonZero, NonMaxSuppression, Compress, If and what follows them, lowered to
// bounds and counts, run on the host and cut, against the interpreter on the graph as it is. Each graph runs with some,
// all and none of the elements chosen.
#include <functional>

#include "pajamas/error.h"
#include "targets/cuda/lowering/counts.h"
#include "unit/targets/cuda_lowering_support.h"

namespace pajamas::cuda {
namespace {

using Ints = std::vector<std::int64_t>;
using Values = std::vector<GraphValue>;

constexpr std::int64_t kRows = 11;

/// x: float32 [11, 4], chosen by a threshold on its first column, in three ways; `build` gives the output.
struct Rig {
  GraphBuilder graph{"counts", 18};
  GraphValue x = graph.input("x", DType::kFloat32, known(Shape{kRows, 4}));

  GraphValue scalar(std::int64_t value) { return graph.constant(Tensor::scalar(value)); }
  GraphValue column(const GraphValue& value, std::int64_t index) {
    return graph.node("Gather", {value, scalar(index)}, {{"axis", std::int64_t{1}}});
  }
  /// Indices [n] of the rows whose column is above 0.
  GraphValue chosen(std::int64_t index = 0) {
    const GraphValue above = graph.node("Greater", {column(x, index), graph.constant(0.0F)});
    return graph.node("Reshape", {graph.node("NonZero", {above}), graph.integers({-1})});
  }
  GraphValue rows(std::int64_t index = 0) {
    return graph.node("Gather", {x, chosen(index)}, {{"axis", std::int64_t{0}}});
  }
  GraphValue num_rows(const GraphValue& value) {
    return graph.node("Gather", {graph.node("Shape", {value}), scalar(0)});
  }
};

void expect_same_rows(const std::string& name, const std::function<GraphValue(Rig&)>& build,
                      DType dtype = DType::kFloat32) {
  SCOPED_TRACE(name);
  Rig rig;
  const GraphValue y = build(rig);
  rig.graph.output("y", y, dtype, {});
  Model model = rig.graph.build();
  model.graph.outputs[0].type->shape.reset();
  const ConstantTable table = table_of(model);
  ASSERT_TRUE(bound_counts(model, table));
  const LoweredProgram lowered = lower(model, table);
  for (const float shift : {0.0F, 10.0F, -10.0F}) {
    Tensor x = random_tensor(DType::kFloat32, Shape{kRows, 4}, 5);
    for (float& value : x.mutable_as<float>()) value += shift;
    const auto wanted = run_graph(model, {{"x", x}});
    const auto found = run_on_host(lowered, table, {x}, {3});
    ASSERT_EQ(found.size(), 1U);
    EXPECT_LE(difference(wanted.at("y"), found[0]), 1e-5) << "shifted by " << shift;
  }
}

TEST(CudaLoweringCounts, rows_that_are_chosen) {
  expect_same_rows(
      "indices", [](Rig& r) { return r.chosen(); }, DType::kInt64);
  expect_same_rows("rows", [](Rig& r) { return r.rows(); });
  expect_same_rows("columns", [](Rig& r) { return r.graph.node("Transpose", {r.rows()}, {{"perm", Ints{1, 0}}}); });
  expect_same_rows(
      "places of all",
      [](Rig& r) {
        return r.graph.node("NonZero", {r.graph.node("Greater", {r.x, r.graph.constant(0.5F)})});
      },
      DType::kInt64);
  expect_same_rows("chosen twice", [](Rig& r) {
    const GraphValue rows = r.rows();
    const GraphValue again =
        r.graph.node("NonZero", {r.graph.node("Greater", {r.column(rows, 1), r.graph.constant(0.0F)})});
    return r.graph.node("Gather", {rows, r.graph.node("Reshape", {again, r.graph.integers({-1})})},
                        {{"axis", std::int64_t{0}}});
  });
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

TEST(CudaLoweringCounts, shapes_made_of_counts) {
  expect_same_rows("flat", [](Rig& r) { return r.graph.node("Reshape", {r.rows(), r.graph.integers({-1})}); });
  expect_same_rows("pairs", [](Rig& r) { return r.graph.node("Reshape", {r.rows(), r.graph.integers({-1, 2, 2})}); });
  expect_same_rows("by a computed shape", [](Rig& r) {
    const GraphValue rows = r.rows();
    const GraphValue count = r.graph.node("Unsqueeze", {r.num_rows(rows), r.graph.integers({0})});
    const GraphValue shape = r.graph.node("Concat", {count, r.graph.integers({2, 2})}, {{"axis", std::int64_t{0}}});
    return r.graph.node("Reshape", {rows, shape});
  });
  expect_same_rows("filled", [](Rig& r) {
    return r.graph.node("ConstantOfShape", {r.graph.node("Shape", {r.rows()})},
                        {{"value", Tensor::of<float>({1}, std::vector<float>{2})}});
  });
  expect_same_rows(
      "the number itself", [](Rig& r) { return r.num_rows(r.rows()); }, DType::kInt64);
  expect_same_rows(
      "all elements", [](Rig& r) { return r.graph.node("Size", {r.rows()}); }, DType::kInt64);
  expect_same_rows(
      "a range",
      [](Rig& r) {
        return r.graph.node("Range",
                            {r.scalar(2), r.graph.node("Add", {r.num_rows(r.rows()), r.scalar(3)}), r.scalar(1)});
      },
      DType::kInt64);
  expect_same_rows(
      "expanded as exporters do",
      [](Rig& r) {
        const GraphValue flat = r.chosen();
        const GraphValue chosen = r.graph.node("Reshape", {flat, r.graph.integers({-1, 1})});
        const GraphValue shape = r.graph.node("Shape", {r.graph.node("Gather", {r.x, flat})});
        const GraphValue ones = r.graph.node("ConstantOfShape", {r.graph.node("Shape", {shape})},
                                             {{"value", Tensor::of<std::int64_t>({1}, {1})}});
        const GraphValue minus = r.graph.node("Mul", {ones, r.scalar(-1)});
        const GraphValue picked = r.graph.node("Where", {r.graph.node("Equal", {shape, minus}), ones, shape});
        return r.graph.node("Expand", {chosen, picked});
      },
      DType::kInt64);
}

TEST(CudaLoweringCounts, rows_are_joined_and_cut) {
  expect_same_rows("joined", [](Rig& r) {
    return r.graph.node("Concat", {r.rows(0), r.rows(1), r.x, r.rows(2)}, {{"axis", std::int64_t{0}}});
  });
  expect_same_rows("joined side by side", [](Rig& r) {
    const GraphValue rows = r.rows();
    return r.graph.node("Concat", {rows, rows}, {{"axis", std::int64_t{1}}});
  });
  expect_same_rows("the first three", [](Rig& r) {
    return r.graph.node("Slice", {r.rows(), r.graph.integers({0}), r.graph.integers({3}), r.graph.integers({0})});
  });
  expect_same_rows("every second from the first on", [](Rig& r) {
    return r.graph.node("Slice", {r.rows(), r.graph.integers({1}), r.graph.integers({INT64_MAX}), r.graph.integers({0}),
                                  r.graph.integers({2})});
  });
  expect_same_rows("as many of the rows as are chosen", [](Rig& r) {
    const GraphValue count = r.graph.node("Reshape", {r.num_rows(r.rows()), r.graph.integers({1})});
    return r.graph.node("Slice", {r.x, r.graph.integers({0}), count, r.graph.integers({0})});
  });
  expect_same_rows("with zeros behind", [](Rig& r) {
    return r.graph.node("Pad", {r.rows(), r.graph.integers({0, 1, 2, 0})});
  });
}

TEST(CudaLoweringCounts, rows_are_mixed) {
  for (const char* type : {"ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceMean", "ReduceL2"}) {
    // Of nothing most have no value: one row is always there.
    expect_same_rows(type, [type](Rig& r) {
      const GraphValue rows = r.graph.node("Concat", {r.rows(), r.x}, {{"axis", std::int64_t{0}}});
      return r.graph.node(type, {rows, r.graph.integers({0})}, {{"keepdims", std::int64_t{0}}});
    });
  }
  expect_same_rows("of all", [](Rig& r) {
    const GraphValue rows = r.graph.node("Concat", {r.rows(), r.x}, {{"axis", std::int64_t{0}}});
    return r.graph.node("ReduceMean", {rows}, {{"keepdims", std::int64_t{0}}});
  });
  expect_same_rows("softmax", [](Rig& r) { return r.graph.node("Softmax", {r.rows()}, {{"axis", std::int64_t{0}}}); });
  expect_same_rows("sums so far", [](Rig& r) {
    return r.graph.node("CumSum", {r.rows(), r.scalar(0)}, {{"reverse", std::int64_t{1}}});
  });
  expect_same_rows("products", [](Rig& r) {
    const GraphValue rows = r.rows();
    return r.graph.node("MatMul", {r.graph.node("Transpose", {rows}, {{"perm", Ints{1, 0}}}), rows});
  });
  expect_same_rows("the greatest", [](Rig& r) {
    const GraphValue column = r.column(r.rows(), 1);
    const GraphValue count = r.graph.node("Reshape", {r.num_rows(column), r.graph.integers({1})});
    const GraphValue both = r.graph.node("Concat", {r.graph.integers({3}), count}, {{"axis", std::int64_t{0}}});
    const GraphValue k = r.graph.node("ReduceMin", {both}, {{"keepdims", std::int64_t{0}}});
    return r.graph.node_with_outputs("TopK", {column, r.graph.node("Reshape", {k, r.graph.integers({1})})}, 2)[0];
  });
}

TEST(CudaLoweringCounts, updates_of_rows) {
  expect_same_rows("elements", [](Rig& r) {
    const GraphValue chosen = r.graph.node("Reshape", {r.chosen(), r.graph.integers({-1, 1})});
    const GraphValue shape = r.graph.node("Shape", {r.graph.node("Expand", {chosen, r.graph.integers({1, 4})})});
    const GraphValue places = r.graph.node("Expand", {chosen, shape});
    const GraphValue rows = r.graph.node("Gather", {r.x, r.graph.node("Reshape", {chosen, r.graph.integers({-1})})});
    return r.graph.node("ScatterElements", {r.x, places, r.graph.node("Neg", {rows})}, {{"axis", std::int64_t{0}}});
  });
  expect_same_rows("slices", [](Rig& r) {
    const GraphValue chosen = r.graph.node("Reshape", {r.chosen(), r.graph.integers({-1, 1})});
    return r.graph.node("ScatterND", {r.x, chosen, r.graph.node("Neg", {r.rows()})},
                        {{"reduction", std::string("add")}});
  });
}

TEST(CudaLoweringCounts, suppression_and_a_choice) {
  const auto kept = [](Rig& r) {
    const GraphValue rows = r.rows();
    const GraphValue boxes = r.graph.node("Unsqueeze", {rows, r.graph.integers({0})});
    const GraphValue scores = r.graph.node("Unsqueeze", {r.column(rows, 1), r.graph.integers({0, 1})});
    const GraphValue found = r.graph.node("NonMaxSuppression", {boxes, scores, r.scalar(4), r.graph.constant(0.3F)});
    return r.graph.node("Gather", {rows, r.column(found, 2)}, {{"axis", std::int64_t{0}}});
  };
  expect_same_rows("suppression", kept);
  expect_same_rows("nothing, or the rows", [](Rig& r) {
    const GraphValue rows = r.rows();
    const GraphValue is_none = r.graph.node("Equal", {r.num_rows(rows), r.scalar(0)});
    Model nothing;
    {
      GraphBuilder branch("nothing", 18);
      branch.output("none", branch.constant(Tensor(DType::kFloat32, Shape{0, 4})), DType::kFloat32, known(Shape{0, 4}));
      nothing = branch.build();
    }
    Model doubled;
    {
      GraphBuilder branch("doubled", 18);
      branch.output("twice", branch.node("Add", {rows, rows}), DType::kFloat32, {});
      doubled = branch.build();
      doubled.graph.outputs[0].type->shape.reset();
    }
    return r.graph.node("If", {is_none},
                        {{"then_branch", std::make_shared<Graph>(nothing.graph)},
                         {"else_branch", std::make_shared<Graph>(doubled.graph)}});
  });
}

TEST(CudaLoweringCounts, names_what_it_cannot_follow) {
  Rig rig;
  const GraphValue rows = rig.rows();
  const GraphValue y = rig.graph.node(
      "LayerNormalization", {rig.graph.node("Transpose", {rows}, {{"perm", Ints{1, 0}}}), rig.column(rows, 0)});
  rig.graph.output("y", y, DType::kFloat32, {});
  Model model = rig.graph.build();
  model.graph.outputs[0].type->shape.reset();
  const Support support = supports_graph(model);
  ASSERT_FALSE(support);
  EXPECT_THAT(support.reason, testing::HasSubstr("LayerNormalization"));
}

}  // namespace
}  // namespace pajamas::cuda
