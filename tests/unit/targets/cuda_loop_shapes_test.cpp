// What generated sources look like where it decides their speed: whole vectors in and out, work fused that would
// otherwise be written to memory and read again. No GPU; their numbers are checked in cuda_loops_test.cpp.
#include <regex>

#include "targets/cuda/loops/loops.h"
#include "unit/targets/cuda_lowering_support.h"

namespace pajamas::cuda {
namespace {

struct Loop {
  std::string label;
  std::string source;  ///< The kernel alone.
};

std::vector<Loop> loops_of(const Model& model) {
  const LoweredProgram lowered = lower(model, table_of(model));
  std::vector<Loop> loops;
  for (const Step& step : lowered.program.steps) {
    const auto* loop = std::get_if<LoopStep>(&step.work);
    if (loop == nullptr) continue;
    Loop made;
    for (const std::string& name : step.fused_from) made.label += name + " ";
    const std::string source = make_loop_kernel(lowered.program, *loop).source;
    made.source = source.substr(source.find("extern \"C\""));
    loops.push_back(std::move(made));
  }
  return loops;
}

int count(const std::string& text, const std::string& pattern) {
  const std::regex expression(pattern);
  return static_cast<int>(std::distance(std::sregex_iterator(text.begin(), text.end(), expression), {}));
}

int num_scalar_loads(const Loop& loop) { return count(loop.source, R"(\bin\d+\[)"); }
int num_scalar_stores(const Loop& loop) { return count(loop.source, R"(\bout\d+\[)"); }
int num_vector_loads(const Loop& loop, int width) {
  return count(loop.source, R"(\(const lp_vector<unsigned short, )" + std::to_string(width) + R"(>\*\)\(in)");
}
int num_vector_stores(const Loop& loop, int width) {
  return count(loop.source, R"(\*\(lp_vector<unsigned short, )" + std::to_string(width) + R"(>\*\)\(out)");
}

/// The head of YOLOv8 on three levels of 16, 8 and 4 pixels, behind convolutions.
Model head_model() {
  constexpr DType kType = DType::kFloat16;
  GraphBuilder builder("head");
  std::vector<GraphValue> levels;
  std::int64_t num_anchors = 0;
  for (const std::int64_t side : {16, 8, 4}) {
    const std::string name = "level" + std::to_string(side);
    const auto scope = builder.scope(name);
    const GraphValue x = builder.input(name + "_x", kType, known({2, 32, side, side}));
    const auto conv = [&](const char* part, std::int64_t channels) {
      return builder.node("Conv", {x, builder.weight(name + part, scaled(kType, {channels, 32, 1, 1}, 5, 0.3F))});
    };
    const GraphValue both = builder.node("Concat", {conv("box", 64), conv("class", 80)}, {{"axis", std::int64_t{1}}});
    levels.push_back(builder.node("Reshape", {both, builder.integers({2, 144, side * side})}));
    num_anchors += side * side;
  }
  const GraphValue all = builder.node("Concat", levels, {{"axis", std::int64_t{2}}});
  const auto parts =
      builder.node_with_outputs("Split", {all, builder.integers({64, 80})}, 2, {{"axis", std::int64_t{1}}});
  const GraphValue sides =
      builder.node("Transpose", {builder.node("Reshape", {parts[0], builder.integers({2, 4, 16, num_anchors})})},
                   {{"perm", std::vector<std::int64_t>{0, 2, 1, 3}}});
  const GraphValue bins = builder.node("Softmax", {sides}, {{"axis", std::int64_t{1}}});
  const GraphValue expected =
      builder.node("Conv", {bins, builder.weight("dfl", scaled(kType, {1, 16, 1, 1}, 6, 4.0F))});
  const GraphValue boxes = builder.node("Reshape", {expected, builder.integers({2, 4, num_anchors})});
  const GraphValue y =
      builder.node("Concat", {boxes, builder.node("Sigmoid", {parts[1]})}, {{"axis", std::int64_t{1}}});
  builder.output("y", y, kType, known({2, 84, num_anchors}));
  return builder.build();
}

TEST(CudaLoopShapes, a_detector_head_is_two_loops) {
  const Model model = head_model();
  const auto lowered = expect_same(model, 0.02);
  EXPECT_EQ(count_kinds(lowered.program)["conv"], 6) << "the expectation is a sum in a loop";
  std::vector<Loop> boxes;
  std::vector<Loop> classes;
  for (const Loop& loop : loops_of(model)) {
    if (loop.label.find("Softmax") != std::string::npos) boxes.push_back(loop);
    if (loop.label.find("Sigmoid") != std::string::npos) classes.push_back(loop);
  }
  ASSERT_EQ(boxes.size(), 1U);
  ASSERT_EQ(classes.size(), 1U);
  EXPECT_NE(boxes[0].label.find("Conv"), std::string::npos) << boxes[0].label;
  // 16 bins lie side by side: two vectors from one of three levels, and nothing else is read.
  EXPECT_EQ(num_scalar_loads(boxes[0]), 0) << boxes[0].source;
  EXPECT_GE(num_vector_loads(boxes[0], 8), 3) << boxes[0].source;
  EXPECT_EQ(count(boxes[0].source, "lp_(row|column)_reduce<lp_(sum|most), (?!1>)"), 0) << "a row is one thread's";
  // Four classes side by side of each of eight anchors, stored by anchors.
  EXPECT_EQ(num_scalar_loads(classes[0]), 0) << classes[0].source;
  EXPECT_GE(num_vector_loads(classes[0], 4), 8) << classes[0].source;
  EXPECT_EQ(num_scalar_stores(classes[0]), 0) << classes[0].source;
  EXPECT_EQ(num_vector_stores(classes[0], 8), 4) << classes[0].source;
}

TEST(CudaLoopShapes, an_image_becomes_channels_last_in_vectors) {
  GraphBuilder builder("stem");
  const GraphValue x = builder.input("x", DType::kFloat16, known({1, 3, 16, 24}));
  const GraphValue y =
      builder.node("Conv", {x, builder.weight("w", scaled(DType::kFloat16, {16, 3, 3, 3}, 1, 0.2F))},
                   {{"pads", std::vector<std::int64_t>{1, 1, 1, 1}}, {"strides", std::vector<std::int64_t>{2, 2}}});
  builder.output("y", builder.node("Relu", {y}), DType::kFloat16, known({1, 16, 8, 12}));
  const auto loops = loops_of(builder.build());
  ASSERT_FALSE(loops.empty());
  EXPECT_EQ(num_scalar_loads(loops[0]), 0) << loops[0].source;
  EXPECT_GE(num_vector_loads(loops[0], 8), 3) << loops[0].source;
  EXPECT_EQ(num_scalar_stores(loops[0]), 0) << loops[0].source;
  EXPECT_EQ(num_vector_stores(loops[0], 8), 4) << loops[0].source;
}

TEST(CudaLoopShapes, patches_are_cut_in_vectors) {
  GraphBuilder builder("patches");
  const GraphValue x = builder.input("x", DType::kFloat16, known({2, 3, 224, 224}));
  const GraphValue y = builder.node("Conv", {x, builder.weight("w", scaled(DType::kFloat16, {24, 3, 16, 16}, 1, 0.2F))},
                                    {{"strides", std::vector<std::int64_t>{16, 16}}});
  const GraphValue flat = builder.node("Reshape", {y, builder.integers({2, 24, 196})});
  const GraphValue tokens = builder.node("Transpose", {flat}, {{"perm", std::vector<std::int64_t>{0, 2, 1}}});
  builder.output("y", tokens, DType::kFloat16, known({2, 196, 24}));
  const auto loops = loops_of(builder.build());
  ASSERT_EQ(loops.size(), 1U);
  EXPECT_EQ(num_scalar_loads(loops[0]) + num_scalar_stores(loops[0]), 0) << loops[0].source;
}

TEST(CudaLoopShapes, pooling_takes_vectors_of_channels_and_no_second_choice) {
  GraphBuilder builder("pool");
  const GraphValue x = builder.input("x", DType::kFloat16, known({1, 64, 20, 20}));
  const GraphValue w = builder.weight("w", scaled(DType::kFloat16, {64, 64, 1, 1}, 1, 0.2F));
  const GraphValue in = builder.node("Relu", {builder.node("Conv", {x, w})});
  const GraphValue pooled = builder.node(
      "MaxPool", {in},
      {{"kernel_shape", std::vector<std::int64_t>{5, 5}}, {"pads", std::vector<std::int64_t>{2, 2, 2, 2}}});
  builder.output("y", builder.node("Relu", {builder.node("Conv", {pooled, w})}), DType::kFloat16,
                 known({1, 64, 20, 20}));
  for (const Loop& loop : loops_of(builder.build())) {
    if (loop.label.find("MaxPool") == std::string::npos) continue;
    EXPECT_EQ(num_scalar_stores(loop), num_scalar_loads(loop)) << "both by vectors, or both by elements";
    // Outside the image a load gives -infinity by itself.
    EXPECT_EQ(count(loop.source, "lp_f32_infinity"), num_scalar_loads(loop)) << loop.source;
  }
}

}  // namespace
}  // namespace pajamas::cuda
