// The parity table: every operator that the families of models need, alone, on a real GPU in each precision against the
// project's interpreter in float32 on the CPU. Odd extents throughout. Rows in 8 bits are in
// cuda_quantised_parity_test.cpp; several operators in a graph, and their fusion, are the work of cuda_models_test.cpp;
// kernels of steps that of cuda_backends_test.cpp.
#include <gmock/gmock.h>

#include <functional>

#include "gpu/run_on_gpu.h"
#include "graph/graph_builder.h"
#include "targets/cuda/lowering/host_executor.h"
#include "targets/cuda/lowering/lower.h"

namespace pajamas::cuda {
namespace {

using Ints = std::vector<std::int64_t>;
using test::random_tensor;

struct Row {
  std::string name;
  OperatorClass operator_class = OperatorClass::kElementwise;
  std::vector<Ints> inputs;
  Ints output;
  std::function<GraphValue(GraphBuilder&, const std::vector<GraphValue>&)> build;
  DType output_type = DType::kFloat32;
};

std::vector<Dimension> known(const Ints& extents) {
  std::vector<Dimension> dimensions;
  for (const std::int64_t extent : extents) dimensions.push_back(Dimension::known(extent));
  return dimensions;
}

GraphValue weight(GraphBuilder& graph, const char* name, const Ints& extents, unsigned seed = 90) {
  return graph.weight(name, random_tensor(DType::kFloat32, Shape(extents), seed));
}

/// Indices below 2, of random_tensor.
GraphValue indices(GraphBuilder& graph, const Ints& extents) {
  return graph.constant(random_tensor(DType::kInt64, Shape(extents), 91));
}

Row unary(const char* type) {
  return {type,
          OperatorClass::kElementwise,
          {{2, 5, 7}},
          {2, 5, 7},
          [type](GraphBuilder& graph, const std::vector<GraphValue>& x) { return graph.node(type, {x[0]}); }};
}

Row binary(const char* type) {
  return {type,
          OperatorClass::kElementwise,
          {{2, 5, 7}, {5, 1}},
          {2, 5, 7},
          [type](GraphBuilder& graph, const std::vector<GraphValue>& x) {
            return graph.node(type, {x[0], x[1]});
          }};
}

Row along_last(const char* type) {
  return {type,
          OperatorClass::kReduction,
          {{3, 37}},
          {3, 37},
          [type](GraphBuilder& graph, const std::vector<GraphValue>& x) {
            return graph.node(type, {x[0]}, {{"axis", std::int64_t{-1}}});
          }};
}

Row reduction(const char* type) {
  return {
      type, OperatorClass::kReduction, {{3, 37}}, {3}, [type](GraphBuilder& graph, const std::vector<GraphValue>& x) {
        return graph.node(type, {x[0], graph.integers({1})}, {{"keepdims", std::int64_t{0}}});
      }};
}

Row convolution(const char* name, const Ints& x, const Ints& weights, const Ints& y, const Ints& strides,
                const Ints& pads, std::int64_t groups = 1, const char* type = "Conv") {
  return {name, OperatorClass::kReduction, {x}, y, [=](GraphBuilder& graph, const std::vector<GraphValue>& in) {
            return graph.node(type, {in[0], weight(graph, "w", weights), weight(graph, "b", {y[1]}, 92)},
                              {{"strides", strides}, {"pads", pads}, {"group", groups}});
          }};
}

std::vector<Row> table() {
  std::vector<Row> rows;
  for (const char* type :
       {"Relu",      "Sigmoid",     "Tanh",     "Erf", "Exp",  "Sin",  "Cos",      "Neg",   "Abs",  "LeakyRelu",
        "HardSwish", "HardSigmoid", "Softplus", "Elu", "Gelu", "Mish", "Identity", "Floor", "Ceil", "Round"}) {
    rows.push_back(unary(type));
  }
  for (const char* type : {"Add", "Sub", "Mul", "Max", "Min"}) rows.push_back(binary(type));
  rows.push_back(along_last("Softmax"));
  rows.push_back(along_last("LogSoftmax"));
  for (const char* type : {"ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL2"}) {
    rows.push_back(reduction(type));
  }
  rows.push_back(convolution("Conv", {2, 5, 9, 11}, {7, 5, 3, 3}, {2, 7, 5, 6}, {2, 2}, {1, 1, 1, 1}));
  rows.push_back(convolution("Conv of one axis", {2, 5, 33}, {6, 5, 3}, {2, 6, 17}, {2}, {1, 1}));
  rows.push_back(convolution("Conv by channel", {1, 8, 9, 9}, {8, 1, 3, 3}, {1, 8, 9, 9}, {1, 1}, {1, 1, 1, 1}, 8));
  rows.push_back(convolution("ConvTranspose", {1, 4, 17}, {4, 6, 4}, {1, 6, 34}, {2}, {1, 1}, 1, "ConvTranspose"));
  const auto add = [&](const char* name, OperatorClass operator_class, const std::vector<Ints>& inputs,
                       const Ints& output, auto build, DType output_type = DType::kFloat32) {
    rows.push_back({name, operator_class, inputs, output, build, output_type});
  };
  using Values = std::vector<GraphValue>;
  constexpr auto kCopy = OperatorClass::kCopy;
  constexpr auto kElementwise = OperatorClass::kElementwise;
  constexpr auto kReduction = OperatorClass::kReduction;
  add("MatMul", kReduction, {{2, 5, 19}, {2, 19, 7}}, {2, 5, 7}, [](GraphBuilder& g, const Values& x) {
    return g.node("MatMul", {x[0], x[1]});
  });
  add("Gemm", kReduction, {{5, 19}, {1, 7}}, {5, 7}, [](GraphBuilder& g, const Values& x) {
    return g.node("Gemm", {x[0], weight(g, "w", {7, 19}), x[1]},
                  {{"transB", std::int64_t{1}}, {"alpha", 0.5F}, {"beta", 0.25F}});
  });
  add("attention", kReduction, {{1, 2, 9, 16}, {1, 2, 16, 13}, {1, 2, 13, 16}}, {1, 2, 9, 16},
      [](GraphBuilder& g, const Values& x) {
        const auto scores = g.node("Mul", {g.node("MatMul", {x[0], x[1]}), g.constant(0.25F)});
        return g.node("MatMul", {g.node("Softmax", {scores}, {{"axis", std::int64_t{-1}}}), x[2]});
      });
  add("LayerNormalization", kReduction, {{3, 37}}, {3, 37}, [](GraphBuilder& g, const Values& x) {
    return g.node("LayerNormalization", {x[0], weight(g, "s", {37}), weight(g, "b", {37}, 93)});
  });
  add("InstanceNormalization", kReduction, {{2, 3, 37}}, {2, 3, 37}, [](GraphBuilder& g, const Values& x) {
    return g.node("InstanceNormalization", {x[0], weight(g, "s", {3}), weight(g, "b", {3}, 93)});
  });
  add("Pow", kElementwise, {{3, 5}}, {3, 5}, [](GraphBuilder& g, const Values& x) {
    return g.node("Pow", {x[0], g.constant(2.0F)});
  });
  add("Div", kElementwise, {{3, 5}}, {3, 5}, [](GraphBuilder& g, const Values& x) {
    return g.node("Div", {x[0], g.constant(3.0F)});
  });
  add("Sqrt", kElementwise, {{3, 5}}, {3, 5},
      [](GraphBuilder& g, const Values& x) { return g.node("Sqrt", {g.node("Abs", {x[0]})}); });
  add("Clip", kCopy, {{3, 5}}, {3, 5}, [](GraphBuilder& g, const Values& x) {
    return g.node("Clip", {x[0], g.constant(-0.5F), g.constant(0.25F)});
  });
  add("Where", kCopy, {{3, 5}, {3, 5}}, {3, 5}, [](GraphBuilder& g, const Values& x) {
    return g.node("Where", {g.node("Greater", {x[0], g.constant(0.0F)}), x[0], x[1]});
  });
  add("Concat", kCopy, {{2, 3, 5}, {2, 4, 5}}, {2, 7, 5}, [](GraphBuilder& g, const Values& x) {
    return g.node("Concat", {x[0], x[1]}, {{"axis", std::int64_t{1}}});
  });
  add("Slice", kCopy, {{2, 9, 5}}, {2, 4, 5}, [](GraphBuilder& g, const Values& x) {
    return g.node("Slice", {x[0], g.integers({1}), g.integers({9}), g.integers({1}), g.integers({2})});
  });
  add("Transpose", kCopy, {{2, 3, 5}}, {5, 2, 3}, [](GraphBuilder& g, const Values& x) {
    return g.node("Transpose", {x[0]}, {{"perm", Ints{2, 0, 1}}});
  });
  add("Reshape", kCopy, {{2, 3, 5}}, {5, 6}, [](GraphBuilder& g, const Values& x) {
    return g.node("Reshape", {x[0], g.integers({5, 6})});
  });
  add("Expand", kCopy, {{3, 1}}, {2, 3, 4}, [](GraphBuilder& g, const Values& x) {
    return g.node("Expand", {x[0], g.integers({2, 3, 4})});
  });
  add("Tile", kCopy, {{2, 3}}, {4, 9}, [](GraphBuilder& g, const Values& x) {
    return g.node("Tile", {x[0], g.integers({2, 3})});
  });
  add("Pad", kCopy, {{2, 3}}, {5, 4}, [](GraphBuilder& g, const Values& x) {
    return g.node("Pad", {x[0], g.integers({1, 0, 2, 1})});
  });
  add("Gather", kCopy, {{4, 5}}, {4, 3}, [](GraphBuilder& g, const Values& x) {
    return g.node("Gather", {x[0], indices(g, {3})}, {{"axis", std::int64_t{1}}});
  });
  add("GatherElements", kCopy, {{4, 5}}, {4, 3}, [](GraphBuilder& g, const Values& x) {
    return g.node("GatherElements", {x[0], indices(g, {4, 3})}, {{"axis", std::int64_t{1}}});
  });
  add("GatherND", kCopy, {{4, 5, 3}}, {6, 3}, [](GraphBuilder& g, const Values& x) {
    return g.node("GatherND", {x[0], indices(g, {6, 2})});
  });
  add("ScatterElements", kCopy, {{4, 5}, {4, 2}}, {4, 5}, [](GraphBuilder& g, const Values& x) {
    return g.node("ScatterElements", {x[0], indices(g, {4, 2}), x[1]}, {{"axis", std::int64_t{1}}});
  });
  add("ScatterND", kReduction, {{4, 5}, {3, 5}}, {4, 5}, [](GraphBuilder& g, const Values& x) {
    return g.node("ScatterND", {x[0], indices(g, {3, 1}), x[1]}, {{"reduction", std::string("add")}});
  });
  add("TopK", kCopy, {{3, 301}}, {3, 17}, [](GraphBuilder& g, const Values& x) {
    return g.node("TopK", {x[0], g.integers({17})});
  });
  add("TopK of a long axis", kCopy, {{2, 40000}}, {2, 300}, [](GraphBuilder& g, const Values& x) {
    return g.node("TopK", {x[0], g.integers({300})});
  });
  add(
      "ArgMax", kCopy, {{3, 37}}, {3},
      [](GraphBuilder& g, const Values& x) {
        // Of few levels, so that float16 has the same ties.
        return g.node("ArgMax", {g.node("Round", {x[0]})}, {{"axis", std::int64_t{1}}, {"keepdims", std::int64_t{0}}});
      },
      DType::kInt64);
  for (const char* mode : {"nearest", "linear"}) {
    rows.push_back({std::string("Resize, ") + mode,
                    kReduction,
                    {{1, 3, 5, 7}},
                    {1, 3, 10, 14},
                    [mode](GraphBuilder& g, const Values& x) {
                      const auto none = g.constant(Tensor(DType::kFloat32, Shape{0}));
                      const auto scales = g.constant(Tensor::of<float>({4}, std::vector<float>{1, 1, 2, 2}));
                      return g.node("Resize", {x[0], none, scales}, {{"mode", std::string(mode)}});
                    }});
  }
  add("MaxPool", kCopy, {{1, 5, 9, 9}}, {1, 5, 9, 9}, [](GraphBuilder& g, const Values& x) {
    return g.node("MaxPool", {x[0]}, {{"kernel_shape", Ints{5, 5}}, {"pads", Ints{2, 2, 2, 2}}});
  });
  add("AveragePool", kReduction, {{1, 5, 9, 9}}, {1, 5, 4, 4}, [](GraphBuilder& g, const Values& x) {
    return g.node("AveragePool", {x[0]}, {{"kernel_shape", Ints{3, 3}}, {"strides", Ints{2, 2}}});
  });
  add("GlobalAveragePool", kReduction, {{2, 5, 9, 7}}, {2, 5, 1, 1},
      [](GraphBuilder& g, const Values& x) { return g.node("GlobalAveragePool", {x[0]}); });
  for (const char* padding : {"zeros", "border", "reflection"}) {
    rows.push_back({std::string("GridSample with ") + padding,
                    kReduction,
                    {{1, 3, 9, 7}},
                    {1, 3, 4, 5},
                    [padding](GraphBuilder& g, const Values& x) {
                      return g.node("GridSample", {x[0], weight(g, "grid", {1, 4, 5, 2})},
                                    {{"mode", std::string("linear")}, {"padding_mode", std::string(padding)}});
                    }});
  }
  add("RotaryEmbedding", kElementwise, {{2, 3, 5, 8}}, {2, 3, 5, 8}, [](GraphBuilder& g, const Values& x) {
    return g.node("RotaryEmbedding", {x[0], weight(g, "cos", {2, 5, 4}), weight(g, "sin", {2, 5, 4}, 94)});
  });
  add("RoiAlign", kReduction, {{2, 3, 9, 7}}, {4, 3, 2, 2}, [](GraphBuilder& g, const Values& x) {
    return g.node("RoiAlign", {x[0], weight(g, "regions", {4, 4}), indices(g, {4})},
                  {{"output_height", std::int64_t{2}},
                   {"output_width", std::int64_t{2}},
                   {"sampling_ratio", std::int64_t{2}},
                   {"spatial_scale", 4.0F}});
  });
  add("CumSum", kReduction, {{3, 37}}, {3, 37}, [](GraphBuilder& g, const Values& x) {
    return g.node("CumSum", {x[0], g.constant(Tensor::scalar(std::int64_t{1}))});
  });
  return rows;
}

struct Prepared {
  Model model;    ///< As a user gives it.
  Model lowered;  ///< After the passes for a precision.
  std::vector<Tensor> inputs;
};

Prepared prepared(const Row& row, Precision precision) {
  Prepared made;
  GraphBuilder graph("parity");
  std::vector<GraphValue> values;
  for (std::size_t i = 0; i < row.inputs.size(); ++i) {
    values.push_back(graph.input("x" + std::to_string(i), DType::kFloat32, known(row.inputs[i])));
    made.inputs.push_back(random_tensor(DType::kFloat32, Shape(row.inputs[i]), 70 + static_cast<unsigned>(i)));
  }
  graph.output("y", row.build(graph, values), row.output_type, known(row.output));
  made.model = graph.build();
  made.lowered = test::lowered_for_gpu(made.model, precision);
  return made;
}

class CudaParity : public testing::TestWithParam<Precision> {};

TEST_P(CudaParity, every_operator_gives_what_the_cpu_gives) {
  PAJAMAS_NEED_GPU();
  for (const Row& row : table()) {
    SCOPED_TRACE(row.name);
    const Prepared item = prepared(row, GetParam());
    const Support support = supports_graph(item.lowered);
    EXPECT_TRUE(support) << support.reason;
    if (!support) continue;
    const BuiltEngine built = test::build_on_gpu(item.lowered, GetParam());
    // Inputs are rounded on their way in; what only moves them shows that one rounding, what computes, the table's.
    test::expect_near(test::run_on_gpu(*built.engine, item.inputs), test::run_by_interpreter(item.model, item.inputs),
                      GetParam(), row.name, row.operator_class);
  }
}

/// The same without a GPU, as far as that goes: the program in its own arena and strides, steps by the interpreter.
TEST_P(CudaParity, every_operator_lowers_to_what_the_host_computes_alike) {
  for (const Row& row : table()) {
    SCOPED_TRACE(row.name);
    const Prepared item = prepared(row, GetParam());
    const Support support = supports_graph(item.lowered);
    EXPECT_TRUE(support) << support.reason;
    if (!support) continue;
    ConstantTable constants;
    for (const Initializer& initializer : item.lowered.graph.initializers) {
      constants.add(initializer.name, {initializer.tensor.dtype(), initializer.tensor.shape(), initializer.tensor});
    }
    test::expect_near(run_on_host(lower(item.lowered, constants), constants, item.inputs),
                      test::run_by_interpreter(item.model, item.inputs), GetParam(), row.name, row.operator_class);
  }
}

INSTANTIATE_TEST_SUITE_P(Precisions, CudaParity,
                         testing::Values(Precision::kFp32, Precision::kTf32, Precision::kFp16, Precision::kBf16),
                         [](const auto& test_case) { return std::string(to_string(test_case.param)); });

}  // namespace
}  // namespace pajamas::cuda
