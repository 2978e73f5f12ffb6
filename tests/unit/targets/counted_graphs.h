// Graphs whose extents the data decide, for the tests of lowering (on the host) and of engines (on a GPU): rows chosen
// by NonZero and NonMaxSuppression, and what may follow them. Each is to be run with some, all and none of the rows.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "unit/targets/cuda_lowering_support.h"

namespace pajamas::cuda::counted {

using Ints = std::vector<std::int64_t>;

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

struct CountedCase {
  std::string name;
  std::function<GraphValue(Rig&)> build;
  DType dtype = DType::kFloat32;
  bool takes_nan = false;  ///< What it makes of NaN is the same everywhere.

  /// Input "x", output "y" of unknown shape.
  Model model() const {
    Rig rig;
    rig.graph.output("y", build(rig), dtype, {});
    Model made = rig.graph.build();
    made.graph.outputs[0].type->shape.reset();
    return made;
  }
  /// Some rows, all, none, and some with NaN in them.
  std::vector<Tensor> inputs() const {
    std::vector<Tensor> all;
    for (const float shift : {0.0F, 10.0F, -10.0F, 0.0F}) {
      Tensor x = random_tensor(DType::kFloat32, Shape{kRows, 4}, 5);
      for (float& value : x.mutable_as<float>()) value += shift;
      all.push_back(std::move(x));
    }
    if (!takes_nan) all.pop_back();
    for (std::size_t i = 0; takes_nan && i < static_cast<std::size_t>(4 * kRows); i += 7) {
      all.back().mutable_as<float>()[i] = std::nanf("");
    }
    return all;
  }
};
using CountedCases = std::vector<CountedCase>;

inline void add_rows_that_are_chosen(CountedCases& cases) {
  const auto add = [&](const std::string& name, const std::function<GraphValue(Rig&)>& build,
                       DType dtype = DType::kFloat32) {
    cases.push_back({name, build, dtype, true});
  };
  add(
      "indices", [](Rig& r) { return r.chosen(); }, DType::kInt64);
  add("rows", [](Rig& r) { return r.rows(); });
  add("columns", [](Rig& r) { return r.graph.node("Transpose", {r.rows()}, {{"perm", Ints{1, 0}}}); });
  add(
      "places of all",
      [](Rig& r) {
        return r.graph.node("NonZero", {r.graph.node("Greater", {r.x, r.graph.constant(0.5F)})});
      },
      DType::kInt64);
  add("chosen twice", [](Rig& r) {
    const GraphValue rows = r.rows();
    const GraphValue again =
        r.graph.node("NonZero", {r.graph.node("Greater", {r.column(rows, 1), r.graph.constant(0.0F)})});
    return r.graph.node("Gather", {rows, r.graph.node("Reshape", {again, r.graph.integers({-1})})},
                        {{"axis", std::int64_t{0}}});
  });
}

inline void add_shapes_made_of_counts(CountedCases& cases) {
  const auto add = [&](const std::string& name, const std::function<GraphValue(Rig&)>& build,
                       DType dtype = DType::kFloat32) {
    cases.push_back({name, build, dtype, false});
  };
  add("flat", [](Rig& r) { return r.graph.node("Reshape", {r.rows(), r.graph.integers({-1})}); });
  add("pairs", [](Rig& r) { return r.graph.node("Reshape", {r.rows(), r.graph.integers({-1, 2, 2})}); });
  add("by a computed shape", [](Rig& r) {
    const GraphValue rows = r.rows();
    const GraphValue count = r.graph.node("Unsqueeze", {r.num_rows(rows), r.graph.integers({0})});
    const GraphValue shape = r.graph.node("Concat", {count, r.graph.integers({2, 2})}, {{"axis", std::int64_t{0}}});
    return r.graph.node("Reshape", {rows, shape});
  });
  add("filled", [](Rig& r) {
    return r.graph.node("ConstantOfShape", {r.graph.node("Shape", {r.rows()})},
                        {{"value", Tensor::of<float>({1}, std::vector<float>{2})}});
  });
  add(
      "the number itself", [](Rig& r) { return r.num_rows(r.rows()); }, DType::kInt64);
  add(
      "all elements", [](Rig& r) { return r.graph.node("Size", {r.rows()}); }, DType::kInt64);
  add(
      "a range",
      [](Rig& r) {
        return r.graph.node("Range",
                            {r.scalar(2), r.graph.node("Add", {r.num_rows(r.rows()), r.scalar(3)}), r.scalar(1)});
      },
      DType::kInt64);
  add(
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

inline void add_rows_are_joined_and_cut(CountedCases& cases) {
  const auto add = [&](const std::string& name, const std::function<GraphValue(Rig&)>& build,
                       DType dtype = DType::kFloat32) {
    cases.push_back({name, build, dtype, true});
  };
  add("joined", [](Rig& r) {
    return r.graph.node("Concat", {r.rows(0), r.rows(1), r.x, r.rows(2)}, {{"axis", std::int64_t{0}}});
  });
  add("joined side by side", [](Rig& r) {
    const GraphValue rows = r.rows();
    return r.graph.node("Concat", {rows, rows}, {{"axis", std::int64_t{1}}});
  });
  add("the first three", [](Rig& r) {
    return r.graph.node("Slice", {r.rows(), r.graph.integers({0}), r.graph.integers({3}), r.graph.integers({0})});
  });
  add("every second from the first on", [](Rig& r) {
    return r.graph.node("Slice", {r.rows(), r.graph.integers({1}), r.graph.integers({INT64_MAX}), r.graph.integers({0}),
                                  r.graph.integers({2})});
  });
  add("as many of the rows as are chosen", [](Rig& r) {
    const GraphValue count = r.graph.node("Reshape", {r.num_rows(r.rows()), r.graph.integers({1})});
    return r.graph.node("Slice", {r.x, r.graph.integers({0}), count, r.graph.integers({0})});
  });
  add("with zeros behind", [](Rig& r) { return r.graph.node("Pad", {r.rows(), r.graph.integers({0, 1, 2, 0})}); });
}

inline void add_rows_are_mixed(CountedCases& cases) {
  const auto add = [&](const std::string& name, const std::function<GraphValue(Rig&)>& build,
                       DType dtype = DType::kFloat32) {
    cases.push_back({name, build, dtype, false});
  };
  for (const char* type : {"ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceMean", "ReduceL2"}) {
    // Of nothing most have no value: one row is always there.
    add(type, [type](Rig& r) {
      const GraphValue rows = r.graph.node("Concat", {r.rows(), r.x}, {{"axis", std::int64_t{0}}});
      return r.graph.node(type, {rows, r.graph.integers({0})}, {{"keepdims", std::int64_t{0}}});
    });
  }
  add("of all", [](Rig& r) {
    const GraphValue rows = r.graph.node("Concat", {r.rows(), r.x}, {{"axis", std::int64_t{0}}});
    return r.graph.node("ReduceMean", {rows}, {{"keepdims", std::int64_t{0}}});
  });
  add("softmax", [](Rig& r) { return r.graph.node("Softmax", {r.rows()}, {{"axis", std::int64_t{0}}}); });
  add("sums so far", [](Rig& r) {
    return r.graph.node("CumSum", {r.rows(), r.scalar(0)}, {{"reverse", std::int64_t{1}}});
  });
  add("products", [](Rig& r) {
    const GraphValue rows = r.rows();
    return r.graph.node("MatMul", {r.graph.node("Transpose", {rows}, {{"perm", Ints{1, 0}}}), rows});
  });
  add("the greatest", [](Rig& r) {
    const GraphValue column = r.column(r.rows(), 1);
    const GraphValue count = r.graph.node("Reshape", {r.num_rows(column), r.graph.integers({1})});
    const GraphValue both = r.graph.node("Concat", {r.graph.integers({3}), count}, {{"axis", std::int64_t{0}}});
    const GraphValue k = r.graph.node("ReduceMin", {both}, {{"keepdims", std::int64_t{0}}});
    return r.graph.node_with_outputs("TopK", {column, r.graph.node("Reshape", {k, r.graph.integers({1})})}, 2)[0];
  });
}

inline void add_updates_of_rows(CountedCases& cases) {
  const auto add = [&](const std::string& name, const std::function<GraphValue(Rig&)>& build,
                       DType dtype = DType::kFloat32) {
    cases.push_back({name, build, dtype, false});
  };
  add("elements", [](Rig& r) {
    const GraphValue chosen = r.graph.node("Reshape", {r.chosen(), r.graph.integers({-1, 1})});
    const GraphValue shape = r.graph.node("Shape", {r.graph.node("Expand", {chosen, r.graph.integers({1, 4})})});
    const GraphValue places = r.graph.node("Expand", {chosen, shape});
    const GraphValue rows = r.graph.node("Gather", {r.x, r.graph.node("Reshape", {chosen, r.graph.integers({-1})})});
    return r.graph.node("ScatterElements", {r.x, places, r.graph.node("Neg", {rows})}, {{"axis", std::int64_t{0}}});
  });
  add("slices", [](Rig& r) {
    const GraphValue chosen = r.graph.node("Reshape", {r.chosen(), r.graph.integers({-1, 1})});
    return r.graph.node("ScatterND", {r.x, chosen, r.graph.node("Neg", {r.rows()})},
                        {{"reduction", std::string("add")}});
  });
  add("means of regions, as many samples as they are large", [](Rig& r) {
    const GraphValue features = r.graph.constant(random_tensor(DType::kFloat32, Shape{1, 2, 5, 7}, 8));
    const GraphValue rows = r.rows();
    const GraphValue count = r.graph.node("Unsqueeze", {r.num_rows(rows), r.graph.integers({0})});
    const GraphValue pictures =
        r.graph.node("ConstantOfShape", {count}, {{"value", Tensor::of<std::int64_t>({1}, {0})}});
    return r.graph.node("RoiAlign", {features, rows, pictures},
                        {{"output_height", std::int64_t{2}}, {"output_width", std::int64_t{3}}});
  });
}

inline void add_suppression_and_a_choice(CountedCases& cases) {
  const auto add = [&](const std::string& name, const std::function<GraphValue(Rig&)>& build,
                       DType dtype = DType::kFloat32) {
    cases.push_back({name, build, dtype, true});
  };
  const auto kept = [](Rig& r) {
    const GraphValue rows = r.rows();
    const GraphValue boxes = r.graph.node("Unsqueeze", {rows, r.graph.integers({0})});
    const GraphValue scores = r.graph.node("Unsqueeze", {r.column(rows, 1), r.graph.integers({0, 1})});
    const GraphValue found = r.graph.node("NonMaxSuppression", {boxes, scores, r.scalar(4), r.graph.constant(0.3F)});
    return r.graph.node("Gather", {rows, r.column(found, 2)}, {{"axis", std::int64_t{0}}});
  };
  add("suppression", kept);
  add("nothing, or the rows", [](Rig& r) {
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

inline CountedCases counted_cases() {
  CountedCases cases;
  add_rows_that_are_chosen(cases);
  add_shapes_made_of_counts(cases);
  add_rows_are_joined_and_cut(cases);
  add_rows_are_mixed(cases);
  add_updates_of_rows(cases);
  add_suppression_and_a_choice(cases);
  return cases;
}

}  // namespace pajamas::cuda::counted
