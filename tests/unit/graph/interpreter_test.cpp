// The interpreter's limits, errors and control flow. Its numbers are checked against the node cases of the onnx package
// (tests/parity/passes_conformance_test.cpp).
#include "graph/interpreter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "graph/interpreter/small_types.h"
#include "pajamas/error.h"
#include "tensor/half.h"

namespace pajamas {
namespace {

using ::testing::HasSubstr;

Node node_of(const std::string& type, std::vector<std::pair<std::string, AttributeValue>> attributes = {},
             std::size_t num_outputs = 1) {
  Node node;
  node.op_type = type;
  node.name = "n";
  for (std::size_t i = 0; i < num_outputs; ++i) node.outputs.push_back("y" + std::to_string(i));
  for (auto& [name, value] : attributes) node.set_attribute(name, std::move(value));
  return node;
}

Tensor evaluate(const Node& node, std::vector<Tensor> inputs, std::int64_t opset = 17,
                const EvaluationLimits& limits = {}) {
  std::vector<const Tensor*> pointers;
  for (const Tensor& input : inputs) pointers.push_back(input.dtype() == DType::kUndefined ? nullptr : &input);
  return evaluate_node(node, pointers, opset, limits)[0];
}

ErrorKind failure(const Node& node, std::vector<Tensor> inputs, const EvaluationLimits& limits = {}) {
  try {
    evaluate(node, std::move(inputs), 17, limits);
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("node 'n'"));
    return error.kind();
  }
  ADD_FAILURE() << node.op_type << " did not fail";
  return ErrorKind::kInternal;
}

Tensor integers(std::vector<std::int64_t> values) {
  return Tensor::of<std::int64_t>({static_cast<std::int64_t>(values.size())}, values);
}

TEST(Interpreter, LimitsAreCheckedBeforeMemoryIsTaken) {
  EvaluationLimits limits;
  limits.max_output_bytes = 1000;
  const Tensor huge = integers({1LL << 30, 1LL << 10});
  EXPECT_EQ(failure(node_of("ConstantOfShape"), {huge}, limits), ErrorKind::kUnsupported);
  EXPECT_EQ(failure(node_of("Expand"), {Tensor::scalar(1.0F), huge}, limits), ErrorKind::kUnsupported);
  EXPECT_EQ(failure(node_of("Tile"), {Tensor::of<float>({1, 1}, {1}), huge}, limits), ErrorKind::kUnsupported);
  EXPECT_EQ(failure(node_of("Range"),
                    {Tensor::scalar<std::int64_t>(0), Tensor::scalar<std::int64_t>(1LL << 40),
                     Tensor::scalar<std::int64_t>(1)},
                    limits),
            ErrorKind::kUnsupported);
  EXPECT_EQ(failure(node_of("Pad"), {Tensor::of<float>({1}, {1}), integers({0, 1LL << 40})}, limits),
            ErrorKind::kUnsupported);
  EXPECT_EQ(failure(node_of("OneHot"),
                    {integers({0}), Tensor::scalar<std::int64_t>(1LL << 40), Tensor::of<float>({2}, {0, 1})}, limits),
            ErrorKind::kUnsupported);
  const Tensor text(Shape{1, 1}, std::vector<std::string>{"a"});
  EXPECT_EQ(failure(node_of("Expand"), {text, huge}, limits), ErrorKind::kUnsupported);
  EXPECT_EQ(failure(node_of("GatherND"), {text, Tensor(DType::kInt64, {1LL << 40, 0})}, limits),
            ErrorKind::kUnsupported);
  // Empty results take no memory, whatever their other extents.
  EXPECT_EQ(evaluate(node_of("Pad"), {Tensor(DType::kFloat32, {0, 1}), integers({0, 0, 0, 1LL << 50})}).shape(),
            (Shape{0, (1LL << 50) + 1}));
  const Tensor overflow = integers({INT64_MAX, INT64_MAX});
  EXPECT_EQ(failure(node_of("ConstantOfShape"), {overflow}), ErrorKind::kBadInput);
}

TEST(Interpreter, BadInputsAreErrorsThatNameTheNode) {
  const Tensor pair = Tensor::of<float>({2}, {1, 2});
  EXPECT_EQ(failure(node_of("Add"), {pair, Tensor::of<float>({3}, {1, 2, 3})}), ErrorKind::kBadInput);
  EXPECT_EQ(failure(node_of("Add"), {pair, integers({1, 2})}), ErrorKind::kBadInput);
  EXPECT_EQ(failure(node_of("Add"), {pair}), ErrorKind::kBadInput);
  EXPECT_EQ(failure(node_of("Gather"), {pair, integers({2})}), ErrorKind::kBadInput);
  EXPECT_EQ(failure(node_of("Gather"), {pair, integers({INT64_MIN})}), ErrorKind::kBadInput);
  EXPECT_EQ(failure(node_of("GatherND"), {pair, Tensor::of<std::int64_t>({1, 1}, {5})}), ErrorKind::kBadInput);
  EXPECT_EQ(failure(node_of("ScatterElements"), {pair, integers({9}), Tensor::of<float>({1}, {1})}),
            ErrorKind::kBadInput);
  EXPECT_EQ(failure(node_of("Reshape"), {pair, integers({3})}), ErrorKind::kBadInput);
  EXPECT_EQ(failure(node_of("Reshape"), {pair, integers({-1, -1})}), ErrorKind::kBadInput);
  EXPECT_EQ(failure(node_of("Reshape"), {pair, integers({1, 1, 0})}), ErrorKind::kBadInput);
  EXPECT_EQ(failure(node_of("Div"), {integers({1}), integers({0})}), ErrorKind::kBadInput);
  EXPECT_EQ(failure(node_of("Slice"), {pair, integers({0}), integers({1}), integers({0}), integers({0})}),
            ErrorKind::kBadInput);
  EXPECT_EQ(failure(node_of("Slice"), {pair, integers({1, 1}), integers({2, 2}), integers({0, -1})}),
            ErrorKind::kBadInput)
      << "two cuts of one axis began past its end";
  EXPECT_EQ(
      failure(node_of("Transpose", {{"perm", std::vector<std::int64_t>{0, 0}}}), {Tensor::of<float>({1, 2}, {1, 2})}),
      ErrorKind::kBadInput);
  EXPECT_EQ(failure(node_of("MatMul"), {pair, Tensor::of<float>({3}, {1, 2, 3})}), ErrorKind::kBadInput);
  EXPECT_EQ(failure(node_of("Softmax", {{"axis", std::int64_t{4}}}), {pair}), ErrorKind::kBadInput);
  EXPECT_EQ(failure(node_of("TopK", {}, 2), {pair, integers({3})}), ErrorKind::kBadInput);
  const Tensor image = Tensor::of<float>({1, 1, 2, 2}, {1, 2, 3, 4});
  EXPECT_EQ(failure(node_of("Conv"), {image, Tensor::of<float>({1, 1, 3, 3}, {1, 1, 1, 1, 1, 1, 1, 1, 1})}),
            ErrorKind::kBadInput);
  EXPECT_EQ(failure(node_of("MaxPool", {{"kernel_shape", std::vector<std::int64_t>{0, 2}}}), {image}),
            ErrorKind::kBadInput);
  const Tensor weight = Tensor::of<float>({1, 2, 1, 1}, {1, 2});
  EXPECT_EQ(failure(node_of("ConvTranspose"), {image, weight, Tensor::of<float>({1}, {1})}), ErrorKind::kBadInput)
      << "a bias shorter than the channels was read past its end";
  EXPECT_EQ(failure(node_of("ConvTranspose", {{"strides", std::vector<std::int64_t>{INT64_MAX, 1}}}), {image, weight}),
            ErrorKind::kBadInput);
  for (const std::int64_t block : {std::int64_t{0}, std::int64_t{1} << 32}) {  // whose square is 0 in 64 bits
    EXPECT_EQ(failure(node_of("DepthToSpace", {{"blocksize", block}}), {image}), ErrorKind::kBadInput);
    EXPECT_EQ(failure(node_of("SpaceToDepth", {{"blocksize", block}}), {image}), ErrorKind::kBadInput);
  }
  EXPECT_EQ(failure(node_of("NoSuchOperator"), {pair}), ErrorKind::kUnsupported);
}

TEST(Interpreter, PositionsThatAreNoNumbersAreNeverIndices) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  const Tensor image = Tensor::of<float>({1, 1, 2, 2}, {1, 2, 3, 4});
  const Tensor no_image(DType::kFloat32, {1, 1, 0, 2});
  for (const float bad : {nan, infinity, -infinity}) {
    EXPECT_EQ(failure(node_of("RoiAlign"), {image, Tensor::of<float>({1, 4}, {0, 0, bad, 1}), integers({0})}),
              ErrorKind::kBadInput);
    EXPECT_EQ(failure(node_of("RoiAlign"), {image, Tensor::of<float>({1, 4}, {bad, 0, 1, 1}), integers({0})}),
              ErrorKind::kBadInput);
    EXPECT_EQ(failure(node_of("Resize", {{"coordinate_transformation_mode", std::string("tf_crop_and_resize")}}),
                      {image, Tensor::of<float>({8}, {0, 0, 0, bad, 1, 1, 1, 1}), Tensor(), integers({1, 1, 2, 2})}),
              ErrorKind::kBadInput);
  }
  EXPECT_EQ(failure(node_of("RoiAlign"), {no_image, Tensor::of<float>({1, 4}, {0, 0, 1, 1}), integers({0})}),
            ErrorKind::kBadInput);
  const Tensor grid = Tensor::of<float>({1, 1, 4, 2}, {nan, 0, 1e30F, 0, -infinity, 0, 0, -1});
  EXPECT_EQ(failure(node_of("GridSample"), {no_image, grid}), ErrorKind::kBadInput);
  for (const char* mode : {"nearest", "linear", "cubic"}) {
    for (const char* padding : {"zeros", "border", "reflection"}) {
      const Tensor sampled =
          evaluate(node_of("GridSample", {{"mode", std::string(mode)}, {"padding_mode", std::string(padding)}}),
                   {image, grid}, 20);
      const auto values = sampled.as<float>();
      EXPECT_TRUE(std::isnan(values[0])) << mode << padding;
      const std::string kind = padding;
      if (kind == "zeros") {
        EXPECT_EQ(values[1], 0) << mode;
        EXPECT_EQ(values[2], 0) << mode;
      } else if (kind == "border") {
        EXPECT_EQ(values[1], mode == std::string("nearest") ? 2 : 3) << mode;
      }
    }
  }
}

TEST(Interpreter, IntegersThatResizeOvershootsStayInRange) {
  // Two bright pixels in the dark: the cubic kernel swings above 255 between them and below 0 beside them.
  const Tensor image = Tensor::of<std::uint8_t>({1, 1, 1, 6}, {0, 0, 255, 255, 0, 0});
  const Tensor resized = evaluate(node_of("Resize", {{"mode", std::string("cubic")}}),
                                  {image, Tensor(), Tensor(), integers({1, 1, 1, 12})});
  const auto values = resized.as<std::uint8_t>();
  EXPECT_EQ(values[5], 255);
  EXPECT_EQ(values[6], 255);
  EXPECT_EQ(values[2], 0);
  EXPECT_EQ(values[9], 0);
}

TEST(Interpreter, DequantizesToFloatsAlone) {
  const Tensor scale = Tensor::of<float>({}, {0.5F});
  const Tensor quantised = Tensor::of<std::int8_t>({2}, {2, -3});
  EXPECT_EQ(evaluate(node_of("DequantizeLinear"), {quantised, scale}).as<float>()[1], -1.5F);
  EXPECT_EQ(failure(node_of("DequantizeLinear", {{"output_dtype", static_cast<std::int64_t>(DType::kFloat64)}}),
                    {quantised, scale}),
            ErrorKind::kUnsupported)
      << "its bytes were those of bfloat16";
  EXPECT_EQ(failure(node_of("Dropout"), {scale, Tensor(), Tensor(DType::kBool, {0})}), ErrorKind::kBadInput);
}

TEST(Interpreter, EmptyAndExtremeValues) {
  const Tensor empty(DType::kFloat32, {0, 3});
  EXPECT_EQ(evaluate(node_of("Relu"), {empty}).shape(), (Shape{0, 3}));
  EXPECT_EQ(evaluate(node_of("Transpose"), {empty}).shape(), (Shape{3, 0}));
  EXPECT_EQ(evaluate(node_of("MatMul"), {Tensor(DType::kFloat32, {2, 0}), empty}).as<float>()[0], 0);
  EXPECT_EQ(
      evaluate(node_of("Concat", {{"axis", std::int64_t{0}}}), {empty, Tensor::of<float>({1, 3}, {1, 2, 3})}).shape(),
      (Shape{1, 3}));
  const auto einsum = [](const char* equation) { return node_of("Einsum", {{"equation", std::string(equation)}}); };
  const Tensor none(DType::kFloat32, {0});
  EXPECT_EQ(evaluate(einsum("i,i->i"), {Tensor::of<float>({1}, {5}), none}).shape(), (Shape{0}));
  EXPECT_EQ(evaluate(einsum("i,i->"), {Tensor::of<float>({1}, {5}), none}).as<float>()[0], 0);
  EXPECT_EQ(failure(einsum("i->ii"), {Tensor::of<float>({1}, {5})}), ErrorKind::kBadInput);
  const Tensor low = integers({INT64_MIN});
  EXPECT_EQ(evaluate(node_of("Neg"), {low}).as<std::int64_t>()[0], INT64_MIN) << "wraps, and is no undefined behaviour";
  EXPECT_EQ(evaluate(node_of("Abs"), {low}).as<std::int64_t>()[0], INT64_MIN);
  EXPECT_EQ(evaluate(node_of("Div"), {low, integers({-1})}).as<std::int64_t>()[0], INT64_MIN);
  EXPECT_EQ(evaluate(node_of("Mod"), {low, integers({-1})}).as<std::int64_t>()[0], 0);
  EXPECT_EQ(evaluate(node_of("Slice"),
                     {integers({1, 2, 3}), integers({-1}), integers({INT64_MIN}), integers({0}), integers({INT64_MIN})})
                .shape(),
            (Shape{1}));
  Node cast = node_of("Cast", {{"to", std::int64_t{7}}});
  EXPECT_EQ(evaluate(cast, {Tensor::scalar(1e30F)}).as<std::int64_t>()[0], INT64_MAX);
  EXPECT_EQ(evaluate(cast, {Tensor::scalar(std::nanf(""))}).as<std::int64_t>()[0], 0);
}

TEST(Interpreter, SmallFloatsRoundTripAndRoundToEven) {
  using interpreter::read_small;
  using interpreter::write_small;
  for (const DType dtype : {DType::kFloat8E4M3Fn, DType::kFloat8E4M3Fnuz, DType::kFloat8E5M2, DType::kFloat8E5M2Fnuz}) {
    for (int code = 0; code < 256; ++code) {
      std::byte bits[1] = {static_cast<std::byte>(code)};
      const double value = read_small(dtype, bits, 0);
      if (std::isnan(value)) continue;
      std::byte back[1] = {};
      write_small(dtype, back, 0, value, false);
      EXPECT_EQ(back[0], bits[0]) << to_string(dtype) << " code " << code << " value " << value;
    }
  }
  std::byte bits[1] = {};
  write_small(DType::kFloat8E4M3Fn, bits, 0, 448, true);
  EXPECT_EQ(bits[0], std::byte{0x7e});
  write_small(DType::kFloat8E4M3Fn, bits, 0, 17, true);  // between 16 and 18: to the even mantissa
  EXPECT_EQ(read_small(DType::kFloat8E4M3Fn, bits, 0), 16);
  write_small(DType::kFloat8E4M3Fn, bits, 0, 19, true);
  EXPECT_EQ(read_small(DType::kFloat8E4M3Fn, bits, 0), 20);
  write_small(DType::kFloat8E4M3Fn, bits, 0, 1e9, false);
  EXPECT_TRUE(std::isnan(read_small(DType::kFloat8E4M3Fn, bits, 0)));
}

Tensor half(float value) {
  Tensor tensor(DType::kFloat16, {1});
  const std::uint16_t bits = float16_from_float(value);
  std::copy_n(reinterpret_cast<const std::byte*>(&bits), 2, tensor.mutable_bytes().data());
  return tensor;
}

TEST(Interpreter, HalfIsRoundedOnce) {
  const Tensor sum = evaluate(node_of("Add"), {half(2048), half(1)});
  EXPECT_EQ(sum.dtype(), DType::kFloat16);
  EXPECT_EQ(to_float32(sum.view()).as<float>()[0], 2048);
  EXPECT_THROW(evaluate(node_of("Add"), {half(1), Tensor::of<float>({1}, {1})}), Error) << "mixed types";
}

TEST(Interpreter, TheFirstInputDecidesWhatIsHalf) {
  const Tensor base = Tensor::of<float>({1}, {3});
  const Tensor power = evaluate(node_of("Pow"), {base, half(11)});
  ASSERT_EQ(power.dtype(), DType::kFloat32);
  EXPECT_EQ(power.as<float>()[0], 177147) << "past float16";
  EXPECT_EQ(evaluate(node_of("Pow"), {half(3), base}).dtype(), DType::kFloat16);
  // ONNX has the statistics of a norm in float32 (stash_type).
  const Tensor x = half(2), scale = half(1);
  const Tensor* inputs[] = {&x, &scale};
  const auto outputs = evaluate_node(node_of("LayerNormalization", {}, 3), inputs, 17);
  EXPECT_EQ(outputs[0].dtype(), DType::kFloat16);
  EXPECT_EQ(outputs[1].dtype(), DType::kFloat32);
  EXPECT_EQ(outputs[1].as<float>()[0], 2);
}

TEST(Interpreter, SuppressionTakesTheLargestIntegerForAll) {
  const Tensor boxes = Tensor::of<float>({1, 3, 4}, {0, 0, 1, 1, 2, 2, 3, 3, 0, 0, 1, 1});
  const Tensor scores = Tensor::of<float>({1, 1, 3}, {0.5F, 0.75F, 0.25F});
  for (const std::int64_t most : {std::int64_t{2}, std::int64_t{INT64_MAX}}) {
    const Tensor found =
        evaluate(node_of("NonMaxSuppression"), {boxes, scores, Tensor::scalar(most), Tensor::scalar(0.5F)});
    EXPECT_EQ(found.shape(), (Shape{2, 3})) << most;
  }
}

/// Counts from 0 while the count is below `end`, at most `most` times; PyTorch exports `while` so.
Model counting_loop(std::int64_t most, std::int64_t end) {
  const auto named = [](const char* name) {
    ValueInfo info;
    info.name = name;
    return info;
  };
  auto body = std::make_shared<Graph>();
  for (const char* name : {"trip", "goes_on", "count"}) body->inputs.push_back(named(name));
  for (const char* name : {"goes_on_after", "count_after"}) body->outputs.push_back(named(name));
  body->initializers.push_back({"one", Tensor::scalar<std::int64_t>(1), {}, {}});
  body->initializers.push_back({"end", Tensor::scalar(end), {}, {}});
  body->nodes.push_back(node_of("Add"));
  body->nodes[0].inputs = {"count", "one"};
  body->nodes[0].outputs = {"count_after"};
  body->nodes.push_back(node_of("Less"));
  body->nodes[1].inputs = {"count_after", "end"};
  body->nodes[1].outputs = {"goes_on_after"};
  Model model;
  model.opset_imports = {{"", 17}};
  model.graph.initializers.push_back({"most", Tensor::scalar(most), {}, {}});
  model.graph.initializers.push_back({"goes", Tensor::of<bool>({}, {true}), {}, {}});
  model.graph.initializers.push_back({"zero", Tensor::scalar<std::int64_t>(0), {}, {}});
  model.graph.nodes.push_back(node_of("Loop", {{"body", body}}));
  model.graph.nodes[0].inputs = {"most", "goes", "zero"};
  model.graph.outputs.push_back(named("y0"));
  return model;
}

TEST(Interpreter, LoopsUntilTheirConditionFails) {
  const auto count = [](std::int64_t most, std::int64_t end) {
    return run_graph(counting_loop(most, end), {}).at("y0").as<std::int64_t>()[0];
  };
  EXPECT_EQ(count(INT64_MAX, 3), 3) << "the largest integer stands for no limit";
  EXPECT_EQ(count(2, 3), 2);
  EXPECT_EQ(count(0, 3), 0);
}

TEST(Interpreter, MissingInputsAndCancellation) {
  Model model;
  model.opset_imports = {{"", 17}};
  ValueInfo input;
  input.name = "x";
  model.graph.inputs.push_back(input);
  Node node = node_of("Relu");
  node.inputs = {"x"};
  model.graph.nodes.push_back(node);
  ValueInfo output;
  output.name = "y0";
  model.graph.outputs.push_back(output);
  EXPECT_THROW(run_graph(model, {}), Error);
  CancelToken token;
  token.cancel();
  RunOptions options;
  options.cancel = &token;
  EXPECT_THROW(run_graph(model, {{"x", Tensor::scalar(1.0F)}}, options), Error);
  model.graph.nodes[0].inputs = {"nothing"};
  EXPECT_THROW(run_graph(model, {{"x", Tensor::scalar(1.0F)}}), Error);
}

}  // namespace
}  // namespace pajamas
