// Random graphs through the passes: the interpreter must give the same outputs before and after, shape inference must
// agree with what is computed, and a 16-bit conversion must stay within the rounding of the type. Seeds are fixed; a
// failure prints the seed.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>

#include "graph/interpreter.h"
#include "graph/passes/pipeline.h"
#include "graph/shape_inference.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

/// Builds a graph over float values of shape [batch, channels, height, width], with the shape arithmetic, constants,
/// no-ops and repetitions that exporters leave behind.
class Generator {
 public:
  explicit Generator(unsigned seed) : random_(seed) {
    model_.ir_version = 8;
    model_.opset_imports = {{"", 17}};
    height_ = 3 + static_cast<std::int64_t>(random_() % 4);
    ValueInfo input;
    input.name = "x";
    input.type = ValueType{};
    input.type->dtype = DType::kFloat32;
    input.type->shape = {Dimension::named("batch"), Dimension::known(4), Dimension::known(height_),
                         Dimension::known(height_)};
    model_.graph.inputs.push_back(input);
    values_ = {"x"};
  }

  Model build(int num_steps) {
    for (int i = 0; i < num_steps; ++i) step();
    // Several outputs, one of them possibly in the middle of a chain.
    for (int i = 0; i < 2; ++i) add_output(i == 0 ? values_.back() : pick());
    return model_;
  }

  Tensor input(std::int64_t batch) {
    Tensor tensor(DType::kFloat32, {batch, 4, height_, height_});
    std::normal_distribution<float> normal;
    for (float& value : tensor.mutable_as<float>()) value = normal(random_);
    return tensor;
  }

 private:
  std::string fresh() { return "v" + std::to_string(counter_++); }
  const std::string& pick() { return values_[random_() % values_.size()]; }

  std::string add(const std::string& type, std::vector<std::string> inputs,
                  std::vector<std::pair<std::string, AttributeValue>> attributes = {}) {
    Node node;
    node.op_type = type;
    node.name = "n" + std::to_string(counter_);
    node.inputs = std::move(inputs);
    node.outputs = {fresh()};
    for (auto& [name, value] : attributes) node.set_attribute(name, std::move(value));
    model_.graph.nodes.push_back(node);
    return node.outputs[0];
  }

  std::string constant(const Tensor& tensor) {
    if (random_() % 3 == 0) return add("Constant", {}, {{"value", tensor}});
    const std::string name = fresh();
    model_.graph.initializers.push_back(Initializer{name, tensor, {}, {}});
    return name;
  }

  std::string integers(std::vector<std::int64_t> values) {
    return constant(Tensor::of<std::int64_t>({static_cast<std::int64_t>(values.size())}, values));
  }

  Tensor weights(const Shape& shape, float scale) {
    Tensor tensor(DType::kFloat32, shape);
    std::uniform_real_distribution<float> uniform(-scale, scale);
    for (float& value : tensor.mutable_as<float>()) value = uniform(random_);
    return tensor;
  }

  std::string batch_norm(const std::string& in) {
    Tensor variance = weights({4}, 1);
    for (float& value : variance.mutable_as<float>()) value = std::fabs(value) + 0.5F;
    return add("BatchNormalization", {in, constant(weights({4}, 2)), constant(weights({4}, 1)),
                                      constant(weights({4}, 1)), constant(variance)});
  }

  /// The batch of a value as a one-element tensor, the way PyTorch's exporter spells it.
  std::string batch_of(const std::string& in) {
    const std::string shape = add("Shape", {in});
    const std::string scalar = add("Gather", {shape, constant(Tensor::scalar<std::int64_t>(0))});
    return add("Unsqueeze", {scalar, integers({0})});
  }

  void step() {
    const std::string in = pick();
    std::string out;
    switch (random_() % 16) {
      case 0: {
        out =
            add("Conv", {in, constant(weights({4, 4, 3, 3}, 0.3F))}, {{"pads", std::vector<std::int64_t>{1, 1, 1, 1}}});
        if (random_() % 2 == 0) out = batch_norm(out);
        break;
      }
      case 1: {
        out = add("Conv", {in, constant(weights({4, 2, 1, 1}, 0.5F)), constant(weights({4}, 1))},
                  {{"group", std::int64_t{2}}});
        values_.push_back(out);  // sometimes used before its BatchNormalization too
        out = batch_norm(out);
        break;
      }
      case 2: {
        out = add("ConvTranspose", {in, constant(weights({4, 2, 3, 3}, 0.3F))},
                  {{"pads", std::vector<std::int64_t>{1, 1, 1, 1}}, {"group", std::int64_t{2}}});
        out = batch_norm(out);
        break;
      }
      case 3: out = add("Relu", {in}); break;
      case 4: out = add("Mul", {in, add("Sigmoid", {in})}); break;
      case 5: out = add("Identity", {in}); break;
      case 6: out = add("Dropout", {in}); break;
      case 7: out = add("Transpose", {in}, {{"perm", std::vector<std::int64_t>{0, 1, 2, 3}}}); break;
      case 8: out = add("Cast", {in}, {{"to", std::int64_t{1}}}); break;
      case 9: out = add("Add", {in, pick()}); break;
      case 10: {
        const std::string target =
            add("Concat", {batch_of(in), integers({4}), integers({height_ * height_})}, {{"axis", std::int64_t{0}}});
        const std::string flat = add("Reshape", {in, target});
        const std::string back =
            add("Concat", {batch_of(flat), integers({4, height_, height_})}, {{"axis", std::int64_t{0}}});
        out = add("Reshape", {add("Softmax", {flat}, {{"axis", std::int64_t{-1}}}), back});
        break;
      }
      case 11: out = add("Pad", {in, integers({0, 0, 0, 0, 0, 0, 0, 0})}); break;
      case 12: {
        // Constants computed of constants.
        const std::string scale = add("Sqrt", {add("Abs", {constant(weights({4, 1, 1}, 2))})});
        out = add("Mul", {in, scale});
        break;
      }
      case 13: {
        const std::string left = add("Slice", {in, integers({0}), integers({2}), integers({1})});
        const std::string right = add("Slice", {in, integers({2}), integers({INT64_MAX}), integers({1})});
        out = add("Concat", {right, left}, {{"axis", std::int64_t{1}}});
        break;
      }
      case 14: {
        // The same twice, for the removal of duplicates.
        out = add("Sub", {add("Tanh", {in}), add("Neg", {add("Tanh", {in})})});
        break;
      }
      case 15: {
        const std::string mean = add("ReduceMean", {in}, {{"axes", std::vector<std::int64_t>{2, 3}}});
        const std::string centered = add("Sub", {in, mean});
        const std::string square = add("Pow", {centered, constant(Tensor::scalar(2.0F))});
        const std::string variance = add("ReduceMean", {square}, {{"axes", std::vector<std::int64_t>{2, 3}}});
        const std::string deviation = add("Sqrt", {add("Add", {variance, constant(Tensor::scalar(1e-5F))})});
        out = add("Div", {centered, deviation});
        break;
      }
    }
    values_.push_back(out);
  }

  void add_output(const std::string& name) {
    // A graph input as an output, or the same output twice, is not what exporters write.
    for (const ValueInfo& output : model_.graph.outputs) {
      if (output.name == name) return;
    }
    if (name == "x") return;
    ValueInfo output;
    output.name = name;
    output.type = ValueType{};
    output.type->dtype = DType::kFloat32;
    model_.graph.outputs.push_back(output);
  }

  std::mt19937 random_;
  Model model_;
  std::int64_t height_ = 3;
  int counter_ = 0;
  std::vector<std::string> values_;
};

/// Largest difference relative to the largest magnitude of `wanted`.
double difference(const Tensor& found, const Tensor& wanted) {
  EXPECT_EQ(found.dtype(), wanted.dtype());
  EXPECT_EQ(found.shape(), wanted.shape());
  if (found.dtype() != wanted.dtype() || found.shape() != wanted.shape()) return 1e9;
  double peak = 1;
  double worst = 0;
  const auto a = found.as<float>();
  const auto b = wanted.as<float>();
  for (std::size_t i = 0; i < a.size(); ++i) {
    peak = std::max(peak, std::fabs(static_cast<double>(b[i])));
    worst = std::max(worst, std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  }
  return worst / peak;
}

constexpr unsigned kNumGraphs = 150;

TEST(PassesRandomGraphs, OutputsStay) {
  std::int64_t num_changes = 0;
  for (unsigned seed = 0; seed < kNumGraphs; ++seed) {
    Generator generator(seed);
    const Model before = generator.build(20);
    Model after = before;
    const PassLog log = run_passes(after, {});
    for (const PassReport& report : log.reports) num_changes += report.num_changes;
    for (const std::int64_t batch : {1, 3}) {
      const std::map<std::string, Tensor> inputs{{"x", generator.input(batch)}};
      const auto wanted = run_graph(before, inputs);
      const auto found = run_graph(after, inputs);
      for (const auto& [name, tensor] : wanted) {
        EXPECT_LT(difference(found.at(name), tensor), 2e-5) << "seed " << seed << " output " << name;
      }
    }
    for (const Node& node : after.graph.nodes) {
      // One stays where two outputs are the same value.
      const bool gives_output = after.graph.outputs.size() == 2 && (node.outputs[0] == after.graph.outputs[0].name ||
                                                                    node.outputs[0] == after.graph.outputs[1].name);
      EXPECT_FALSE(node.is("Identity") && !gives_output) << "seed " << seed;
      EXPECT_FALSE(node.is("Shape")) << "seed " << seed << ": a shape chain is left";
      EXPECT_FALSE(node.is("Constant")) << "seed " << seed;
    }
  }
  EXPECT_GT(num_changes, 5 * static_cast<std::int64_t>(kNumGraphs));
}

TEST(PassesRandomGraphs, TheResultIsTheSameEachTime) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    PassOptions options;
    options.float_type = DType::kFloat16;
    std::string texts[2];
    for (std::string& text : texts) {
      Generator generator(seed);
      Model model = generator.build(20);
      text = run_passes(model, options).to_text();
      for (const Node& node : model.graph.nodes) {
        text += node.op_type;
        for (const auto* list : {&node.inputs, &node.outputs}) {
          for (const std::string& name : *list) text += " " + name;
        }
        text += "\n";
      }
      for (const Initializer& initializer : model.graph.initializers) text += initializer.name + "\n";
    }
    EXPECT_EQ(texts[0], texts[1]) << "seed " << seed;
  }
}

TEST(PassesRandomGraphs, ShapesAreThoseComputed) {
  for (unsigned seed = 0; seed < kNumGraphs; ++seed) {
    Generator generator(seed);
    const Model model = generator.build(20);
    const auto facts = infer_facts(model);
    RunOptions options;
    options.has_all_values = true;
    const auto values = run_graph(model, {{"x", generator.input(5)}}, options);
    for (const auto& [name, tensor] : values) {
      const ValueFact* fact = facts->find(name);
      ASSERT_NE(fact, nullptr) << name;
      EXPECT_EQ(fact->dtype, tensor.dtype()) << "seed " << seed << " " << name;
      ASSERT_TRUE(fact->shape) << "seed " << seed << " " << name;
      ASSERT_EQ(fact->shape->size(), tensor.shape().rank()) << "seed " << seed << " " << name;
      for (std::size_t i = 0; i < fact->shape->size(); ++i) {
        const Extent& extent = (*fact->shape)[i];
        if (extent.is_known()) {
          EXPECT_EQ(extent.value(), tensor.shape()[i]) << "seed " << seed << " " << name;
        } else if (extent == Extent::named("batch")) {
          EXPECT_EQ(tensor.shape()[i], 5) << "seed " << seed << " " << name;
        } else {
          ADD_FAILURE() << "seed " << seed << " " << name << ": extent " << extent.to_string() << " is not the batch";
        }
      }
    }
  }
}

TEST(PassesRandomGraphs, SixteenBitsStayWithinRounding) {
  for (const DType dtype : {DType::kFloat16, DType::kBfloat16}) {
    // Twenty steps, some of them products: a few hundred roundings of half a digit at worst.
    const double tolerance = dtype == DType::kFloat16 ? 0.02 : 0.15;
    double total = 0;
    for (unsigned seed = 0; seed < kNumGraphs; ++seed) {
      Generator generator(seed);
      const Model before = generator.build(12);
      Model after = before;
      PassOptions options;
      options.float_type = dtype;
      run_passes(after, options);
      const std::map<std::string, Tensor> inputs{{"x", generator.input(2)}};
      const auto wanted = run_graph(before, inputs);
      const auto found = run_graph(after, inputs);
      for (const auto& [name, tensor] : wanted) {
        const double worst = difference(found.at(name), tensor);
        total += worst;
        EXPECT_LT(worst, tolerance) << "seed " << seed << " output " << name << " " << to_string(dtype);
      }
      // The types must fit: every input of an operator that shares a type variable agrees.
      EXPECT_NO_THROW(infer_facts(after)) << "seed " << seed;
    }
    EXPECT_GT(total, 0) << "nothing was computed in " << to_string(dtype);
  }
}

}  // namespace
}  // namespace pajamas
