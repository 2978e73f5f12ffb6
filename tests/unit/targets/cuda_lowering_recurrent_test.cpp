// LSTM, GRU and RNN written out step by step, run on the host in the arena and strides of the GPU, against the formulas
// of ONNX in plain loops. ONNX's own cases (tests/gpu/cuda_models_test.cpp) check their last state only.
#include <functional>

#include "pajamas/error.h"
#include "unit/targets/cuda_lowering_support.h"

namespace pajamas::cuda {
namespace {

using Ints = std::vector<std::int64_t>;
using Numbers = std::vector<double>;

struct Case {
  std::string type;
  std::string direction = "forward";
  std::int64_t steps = 4, batch = 3, inputs = 5, hidden = 2;
  bool has_bias = false, has_state = false, has_peepholes = false, has_lengths = false;
  bool is_late = false;  ///< GRU: linear_before_reset
  std::int64_t num_gates() const { return type == "LSTM" ? 4 : type == "GRU" ? 3 : 1; }
  std::int64_t num_directions() const { return direction == "bidirectional" ? 2 : 1; }
};

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

struct Found {
  Numbers all, state, cell;
};

/// ONNX's formulas, one element after the other. `lengths` may be empty.
class Reference {
 public:
  Reference(const Case& c, const std::map<std::string, Tensor>& given, const std::vector<std::int32_t>& lengths)
      : c_(c), given_(given), lengths_(lengths) {}

  Found run() {
    const auto n = static_cast<std::size_t>(c_.num_directions() * c_.batch * c_.hidden);
    Found found{Numbers(n * static_cast<std::size_t>(c_.steps)), Numbers(n), Numbers(n)};
    for (std::int64_t d = 0; d < c_.num_directions(); ++d) {
      for (std::int64_t b = 0; b < c_.batch; ++b) run_one(d, b, found);
    }
    return found;
  }

 private:
  double at(const char* name, std::int64_t index, bool is_there = true) const {
    return is_there ? static_cast<double>(given_.at(name).as<float>()[index]) : 0;
  }
  /// Input and state through a gate's weights, without what is behind the reset gate of a GRU.
  double inner(const char* name, std::int64_t d, std::int64_t gate, std::int64_t k, const Numbers& values) const {
    const auto width = static_cast<std::int64_t>(values.size());
    double sum = 0;
    for (std::int64_t i = 0; i < width; ++i) {
      sum += at(name, ((d * c_.num_gates() + gate) * c_.hidden + k) * width + i) * values[static_cast<std::size_t>(i)];
    }
    return sum;
  }
  double bias(std::int64_t d, std::int64_t gate, std::int64_t k, bool is_recurrent) const {
    const std::int64_t row = (2 * d + (is_recurrent ? 1 : 0)) * c_.num_gates() + gate;
    return at("B", row * c_.hidden + k, c_.has_bias);
  }

  void run_one(std::int64_t d, std::int64_t b, Found& found) {
    const auto hidden = static_cast<std::size_t>(c_.hidden);
    const std::int64_t own = (d * c_.batch + b) * c_.hidden;
    Numbers h(hidden);
    Numbers cell(hidden);
    for (std::size_t k = 0; k < hidden; ++k) {
      h[k] = at("h", own + static_cast<std::int64_t>(k), c_.has_state);
      cell[k] = at("c", own + static_cast<std::int64_t>(k), c_.has_state && c_.type == "LSTM");
    }
    const std::int64_t length = lengths_.empty() ? c_.steps : lengths_[static_cast<std::size_t>(b)];
    const bool is_reverse = d == 1 || c_.direction == "reverse";
    for (std::int64_t step = 0; step < length; ++step) {
      const std::int64_t t = is_reverse ? length - 1 - step : step;
      Numbers x;
      for (std::int64_t i = 0; i < c_.inputs; ++i) x.push_back(at("X", (t * c_.batch + b) * c_.inputs + i));
      const Numbers before = h;
      const auto gate = [&](std::int64_t which, std::int64_t k) {
        return inner("W", d, which, k, x) + inner("R", d, which, k, before) + bias(d, which, k, false) +
               bias(d, which, k, true);
      };
      Numbers hidden_by_reset(hidden);
      for (std::size_t k = 0; k < hidden && c_.type == "GRU"; ++k) {
        hidden_by_reset[k] = sigmoid(gate(1, static_cast<std::int64_t>(k))) * before[k];
      }
      for (std::int64_t k = 0; k < c_.hidden; ++k) {
        const auto at_k = static_cast<std::size_t>(k);
        const auto peephole = [&](std::int64_t which) {
          return at("P", (3 * d + which) * c_.hidden + k, c_.has_peepholes) * cell[at_k];
        };
        if (c_.type == "RNN") {
          h[at_k] = std::tanh(gate(0, k));
        } else if (c_.type == "GRU") {
          const double z = sigmoid(gate(0, k));
          const double behind = c_.is_late ? sigmoid(gate(1, k)) * (inner("R", d, 2, k, before) + bias(d, 2, k, true))
                                           : inner("R", d, 2, k, hidden_by_reset) + bias(d, 2, k, true);
          const double fresh = std::tanh(inner("W", d, 2, k, x) + bias(d, 2, k, false) + behind);
          h[at_k] = (1 - z) * fresh + z * before[at_k];
        } else {
          const double in = sigmoid(gate(0, k) + peephole(0));
          const double forget = sigmoid(gate(2, k) + peephole(2));
          cell[at_k] = forget * cell[at_k] + in * std::tanh(gate(3, k));
          h[at_k] = sigmoid(gate(1, k) + peephole(1)) * std::tanh(cell[at_k]);
        }
        found.all[static_cast<std::size_t>(((t * c_.num_directions() + d) * c_.batch + b) * c_.hidden + k)] = h[at_k];
      }
    }
    for (std::size_t k = 0; k < hidden; ++k) {
      found.state[static_cast<std::size_t>(own) + k] = h[k];
      found.cell[static_cast<std::size_t>(own) + k] = cell[k];
    }
  }

  const Case& c_;
  const std::map<std::string, Tensor>& given_;
  const std::vector<std::int32_t>& lengths_;
};

void expect_near(const Tensor& found, const Shape& shape, const Numbers& wanted) {
  ASSERT_EQ(found.shape(), shape);
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    EXPECT_NEAR(static_cast<double>(found.as<float>()[i]), wanted[i], 1e-5) << "element " << i;
  }
}

struct Built {
  Model model;
  std::map<std::string, Tensor> given;
};

/// X is an input, all else are constants.
Built build(const Case& c, const std::vector<std::pair<const char*, AttributeValue>>& more = {}) {
  Built made;
  GraphBuilder graph("recurrent", 17);
  const std::int64_t d = c.num_directions();
  const std::int64_t g = c.num_gates() * c.hidden;
  const std::vector<std::pair<const char*, Shape>> shapes{{"X", Shape{c.steps, c.batch, c.inputs}},
                                                          {"W", Shape{d, g, c.inputs}},
                                                          {"R", Shape{d, g, c.hidden}},
                                                          {"B", Shape{d, 2 * g}},
                                                          {"h", Shape{d, c.batch, c.hidden}},
                                                          {"c", Shape{d, c.batch, c.hidden}},
                                                          {"P", Shape{d, 3 * c.hidden}}};
  std::uint64_t seed = 1;
  for (const auto& [name, shape] : shapes) made.given[name] = random_tensor(DType::kFloat32, shape, seed++);
  std::vector<GraphValue> values{graph.input("X", DType::kFloat32, known(made.given["X"].shape())),
                                 graph.constant(made.given["W"]), graph.constant(made.given["R"])};
  values.push_back(c.has_bias ? graph.constant(made.given["B"]) : GraphValue{});
  values.push_back(c.has_lengths ? graph.input("lengths", DType::kInt32, known(Shape{c.batch})) : GraphValue{});
  values.push_back(c.has_state ? graph.constant(made.given["h"]) : GraphValue{});
  if (c.type == "LSTM") {
    values.push_back(c.has_state ? graph.constant(made.given["c"]) : GraphValue{});
    values.push_back(c.has_peepholes ? graph.constant(made.given["P"]) : GraphValue{});
  }
  graph.output("y", graph.node(c.type, std::span<const GraphValue>(values)), DType::kFloat32,
               known(Shape{c.steps, d, c.batch, c.hidden}));
  made.model = graph.build();
  for (Node& node : made.model.graph.nodes) {
    if (!node.is(c.type)) continue;
    node.set_attribute("hidden_size", c.hidden);
    node.set_attribute("direction", c.direction);
    if (c.is_late) node.set_attribute("linear_before_reset", std::int64_t{1});
    for (const auto& [name, value] : more) node.set_attribute(name, value);
    for (const char* name : {"y_h", "y_c"}) {
      if (node.outputs.size() == (c.type == "LSTM" ? 3U : 2U)) break;
      node.outputs.emplace_back(name);
      made.model.graph.outputs.push_back(tensor_value(name, DType::kFloat32, known(Shape{d, c.batch, c.hidden})));
    }
  }
  return made;
}

void expect_formulas(const Case& c) {
  SCOPED_TRACE(c.type + " " + c.direction);
  const Built built = build(c);
  const ConstantTable table = table_of(built.model);
  const LoweredProgram lowered = lower(built.model, table);
  std::vector<std::int32_t> lengths;
  std::vector<Tensor> inputs{built.given.at("X")};
  for (std::int64_t b = 0; c.has_lengths && b < c.batch; ++b) lengths.push_back(static_cast<std::int32_t>(b * 2 % 5));
  if (c.has_lengths) inputs.push_back(Tensor::of<std::int32_t>({c.batch}, std::span<const std::int32_t>(lengths)));
  const Found wanted = Reference(c, built.given, lengths).run();
  const auto found = run_on_host(lowered, table, inputs, {5});
  const Shape state{c.num_directions(), c.batch, c.hidden};
  expect_near(found.at(0), Shape{c.steps, c.num_directions(), c.batch, c.hidden}, wanted.all);
  expect_near(found.at(1), state, wanted.state);
  if (c.type == "LSTM") expect_near(found.at(2), state, wanted.cell);
}

TEST(CudaRecurrent, computes_the_formulas_of_onnx) {
  for (const char* type : {"LSTM", "GRU", "RNN"}) {
    for (const char* direction : {"forward", "reverse", "bidirectional"}) {
      Case c{type, direction};
      expect_formulas(c);
      c.has_bias = c.has_state = true;
      expect_formulas(c);
      c.has_lengths = true;
      c.has_peepholes = c.is_late = true;
      expect_formulas(c);
      c.has_state = false;
      expect_formulas(c);
    }
    expect_formulas({type, "forward", 1, 1, 1, 1});
  }
}

TEST(CudaRecurrent, names_what_it_cannot_write_out) {
  const auto reason = [](const Case& c, const std::vector<std::pair<const char*, AttributeValue>>& more) {
    return supports_graph(build(c, more).model).reason;
  };
  EXPECT_EQ(reason({"LSTM"}, {}), "");
  EXPECT_THAT(reason({"LSTM"}, {{"clip", 1.0F}}), testing::HasSubstr("'clip'"));
  EXPECT_THAT(reason({"LSTM"}, {{"input_forget", std::int64_t{1}}}), testing::HasSubstr("'input_forget'"));
  EXPECT_THAT(reason({"RNN"}, {{"activations", std::vector<std::string>{"Elu"}}}), testing::HasSubstr("activation"));
  EXPECT_THAT(reason({"GRU"}, {{"activations", std::vector<std::string>{"Tanh"}}}), testing::HasSubstr("activations"));
  EXPECT_THAT(reason({"RNN", "forward", 1025}, {}), testing::HasSubstr("1,024"));
}

}  // namespace
}  // namespace pajamas::cuda
