// Warpgroup kernels without a GPU: which steps and shapes are offered, that every source is CUDA C++ (where NVRTC is
// there), and every thread on the host (warpgroup_emulation.h) against plain sums. Speed and the instructions
// themselves are a GPU's to tell (cuda_backends_test.cpp).
#include "targets/cuda/backends/warpgroup_source.h"

#include <gtest/gtest.h>

#include <set>

#include "gpu/emulated_kernel.h"
#include "gpu/step_cases.h"
#include "pajamas/error.h"
#include "targets/cuda/runtime/nvrtc.h"

namespace pajamas::cuda {
namespace {

constexpr int kSm = 90, kNumMultiprocessors = 132;

TEST(WarpgroupSource, shapes_have_names_that_read_back) {
  const WarpgroupShape shape{128, 160, true, 2, 5};
  EXPECT_EQ(shape.to_string(), "128x160a2s5");
  EXPECT_EQ(parse_warpgroup_shape("128x160a2s5"), shape);
  for (const char* name : {"128x192r1s4", "64x128h1s5k2", "64x192a1s6g3", "64x256h2s4d1", "64x144h1s6d1t"}) {
    const auto read = parse_warpgroup_shape(name);
    ASSERT_TRUE(read) << name;
    EXPECT_EQ(read->to_string(), name);
  }
  for (const char* wrong : {"", "128x160", "128x160b2s5", "128x160a2s5 ", "0128x160a2s5", "128x160a2", "128x160a2s5x",
                            "128x160a2s5g2", "128x160a2s5td1"}) {
    EXPECT_FALSE(parse_warpgroup_shape(wrong)) << wrong;
  }
}

TEST(WarpgroupSource, refuses_shapes_that_do_not_fit) {
  const test::StepCase item = test::matmul_case({.name = "product", .m = 256, .n = 256, .k = 64});
  const Step& step = item.program.steps.front();
  EXPECT_NO_THROW(make_warpgroup_source(item.program, step, {128, 128, true, 1, 4}, kNumMultiprocessors));
  for (const WarpgroupShape& shape : {WarpgroupShape{96, 128, true, 1, 4},
                                      WarpgroupShape{64, 40, true, 1, 4},
                                      WarpgroupShape{64, 288, true, 1, 4},
                                      WarpgroupShape{128, 224, true, 1, 4},
                                      WarpgroupShape{64, 128, true, 3, 4},
                                      WarpgroupShape{64, 128, true, 1, 2},
                                      WarpgroupShape{128, 128, true, 1, 8},
                                      WarpgroupShape{64, 96, true, 1, 4},
                                      WarpgroupShape{64, 96, true, 2, 4},
                                      WarpgroupShape{64, 128, true, 1, 4, 2},
                                      WarpgroupShape{64, 128, false, 2, 4, 2},
                                      WarpgroupShape{64, 128, false, 1, 4, 3},
                                      WarpgroupShape{64, 128, false, 1, 4, 8},
                                      WarpgroupShape{64, 128, false, 1, 4, 1, true},
                                      WarpgroupShape{64, 128, true, 2, 4, 1, true},
                                      WarpgroupShape{64, 128, true, 1, 4, 1, false, 2, 1},
                                      WarpgroupShape{64, 128, false, 1, 4, 1, false, 2, 1},
                                      WarpgroupShape{64, 72, true, 1, 4, 1, false, 2, 0, true},
                                      WarpgroupShape{64, 128, false, 1, 4, 2, false, 2, 0, true},
                                      WarpgroupShape{64, 128, true, 1, 4, 1, true, 2, 0, true},
                                      WarpgroupShape{64, 128, false, 1, 4, 1, false, 3},
                                      WarpgroupShape{64, 224, true, 1, 4, 1, false, 3}}) {
    EXPECT_THROW(make_warpgroup_source(item.program, step, shape, kNumMultiprocessors), Error) << shape.to_string();
  }
}

TEST(WarpgroupSource, offers_nothing_for_what_it_cannot_compute) {
  for (const test::StepCase& item :
       {test::matmul_case({.name = "fp32", .dtype = DType::kFloat32, .m = 64, .n = 64, .k = 64}),
        test::matmul_case({.name = "few rows", .m = 63, .n = 64, .k = 64}),
        test::matmul_case({.name = "odd n", .m = 64, .n = 68, .k = 64}),
        test::matmul_case({.name = "odd slice", .m = 64, .n = 64, .k = 64, .y_pitch = 132, .y_offset = 4}),
        test::matmul_case({.name = "8 bits along n", .m = 64, .n = 64, .k = 64, .is_small = true}),
        test::matmul_case(
            {.name = "8 bits, odd k", .m = 64, .n = 64, .k = 72, .is_b_transposed = true, .is_small = true}),
        test::matmul_case({.name = "8 bits, odd n",
        .m = 64,
        .n = 72,
        .k = 64,
        .is_b_transposed = true,
        .is_small = true,
        .y_scale = 0.5F}),
        test::conv_case(
            {.name = "few channels", .x = {1, 32, 16, 16}, .num_channels = 32, .kernel = {3, 3}, .pads = {1, 1}}),
        test::attention_case({.name = "attention"})}) {
    EXPECT_TRUE(warpgroup_shapes(item.program, item.program.steps.front(), kSm, kNumMultiprocessors).empty())
        << item.name;
  }
  const test::StepCase item = test::matmul_case({.name = "product", .m = 256, .n = 256, .k = 64});
  EXPECT_FALSE(warpgroup_shapes(item.program, item.program.steps.front(), kSm, kNumMultiprocessors).empty());
  for (const int sm : {80, 89, 100, 120}) {
    EXPECT_TRUE(warpgroup_shapes(item.program, item.program.steps.front(), sm, kNumMultiprocessors).empty()) << sm;
  }
}

// 132 tiles of 128 columns and 144 rows: one for each multiprocessor, where tiles of 128 rows need a second round.
TEST(WarpgroupSource, rows_are_cut_to_fill_the_device) {
  const test::StepCase item =
      test::matmul_case({.name = "ViT-B, fc2, batch 16", .m = 3152, .n = 768, .k = 3072, .has_bias = true});
  const Step& step = item.program.steps.front();
  const auto shapes = warpgroup_shapes(item.program, step, kSm, kNumMultiprocessors);
  ASSERT_FALSE(shapes.empty());
  EXPECT_EQ(shapes.front().to_string(), "64x144h1s6d1t");
  EXPECT_EQ(make_warpgroup_source(item.program, step, shapes.front(), kNumMultiprocessors).grid[0], 132U);
}

TEST(WarpgroupSource, every_source_compiles) {
  try {
    nvrtc_version();
  } catch (const Error& error) {
    GTEST_SKIP() << error.what();
  }
  const Activation gelu{ActivationKind::kGeluErf};
  std::set<std::string> compiled;
  for (const int kind : {0, 1, 2, 3, 4, 5}) {
    const test::StepCase item = test::matmul_case({.name = "product",
                                                   .m = 600,
                                                   .n = 768,
                                                   .k = 192,
                                                   .is_b_transposed = kind != 0,
                                                   .activation = gelu,
                                                   .has_bias = true,
                                                   .residual = kind == 1 ? 2 : 0,
                                                   .is_small = kind == 2 || kind == 3,
                                                   .is_integer = kind >= 4,
                                                   .has_column_scale = kind >= 4,
                                                   .a_zero_point = kind == 4 ? 3 : 0,
                                                   .y_scale = kind % 2 == 1 && kind > 1 ? 0.5F : 0});
    const Step& step = item.program.steps.front();
    int num_compiled = 0;
    for (const WarpgroupShape& shape : warpgroup_shapes(item.program, step, kSm, kNumMultiprocessors)) {
      // Of factors of 8 bits the first few, the instruction and the store are the same in all.
      if (kind >= 2 ? ++num_compiled > 3 : !compiled.insert(shape.to_string()).second) continue;
      // Those that two blocks fetch for are compiled once, with weights along K.
      if (kind == 0 && shape.cluster == 2) continue;
      const KernelSource source = make_warpgroup_source(item.program, step, shape, kNumMultiprocessors);
      EXPECT_NO_THROW(compile_to_cubin(source.source, source.entry, kSm)) << shape.to_string();
    }
  }
  EXPECT_GE(compiled.size(), 15U);
  const test::StepCase large =
      test::matmul_case({.name = "large", .m = 24000, .n = 384, .k = 384, .activation = gelu, .has_bias = true});
  for (const char* shape : {"64x192r1s6g3", "64x192a1s6g3", "64x144a1s6g3t"}) {
    const KernelSource source = make_warpgroup_source(large.program, large.program.steps.front(),
                                                      *parse_warpgroup_shape(shape), kNumMultiprocessors);
    EXPECT_NO_THROW(compile_to_cubin(source.source, source.entry, kSm)) << shape;
  }
  const test::StepCase window = test::conv_case({.name = "window",
                                                 .x = {1, 96, 20, 20},
                                                 .num_channels = 128,
                                                 .kernel = {3, 3},
                                                 .strides = {2, 2},
                                                 .pads = {1, 1},
                                                 .activation = gelu});
  for (const char* shape : {"64x128a1s4", "64x128h2s4", "64x64h1s4k4"}) {
    const KernelSource source = make_warpgroup_source(window.program, window.program.steps.front(),
                                                      *parse_warpgroup_shape(shape), kNumMultiprocessors);
    EXPECT_NO_THROW(compile_to_cubin(source.source, source.entry, kSm)) << shape;
  }
}

struct EmulatedCase {
  test::StepCase step;
  std::string shape;
  int num_multiprocessors;
};

std::vector<EmulatedCase> cases() {
  const Activation silu{ActivationKind::kSilu}, gelu{ActivationKind::kGeluErf}, tanh{ActivationKind::kGeluTanh};
  std::vector<EmulatedCase> cases;
  const auto product = [&](const test::MatMulSpec& spec, const char* shape, int num_multiprocessors) {
    cases.push_back({test::matmul_case(spec), shape, num_multiprocessors});
  };
  product({.name = "several tiles a block, turns, b along n",
           .m = 200,
           .n = 136,
           .k = 264,
           .activation = gelu,
           .has_bias = true},
          "64x64a1s3", 2);
  product({.name = "as many pieces as twice the places",
           .m = 300,
           .n = 128,
           .k = 384,
           .is_b_transposed = true,
           .activation = silu,
           .has_bias = true},
          "64x64a1s3", 1);
  product({.name = "halves, residual after, b along k",
           .m = 150,
           .n = 200,
           .k = 72,
           .is_b_transposed = true,
           .has_bias = true,
           .residual = 2},
          "64x128h1s4", 2);
  product({.name = "two blocks fetch for each other, residual first, bf16",
           .dtype = DType::kBfloat16,
           .m = 210,
           .n = 192,
           .k = 136,
           .is_b_transposed = true,
           .activation = tanh,
           .has_bias = true,
           .residual = 1},
          "64x96a2s3", 4);
  product({.name = "cluster and panels, into a slice",
           .m = 290,
           .n = 128,
           .k = 200,
           .y_pitch = 256,
           .y_offset = 64,
           .scale = 0.5F},
          "128x128a2s3", 2);
  product({.name = "8 bits, turns, half a piece more",
           .m = 200,
           .n = 144,
           .k = 320,
           .is_b_transposed = true,
           .activation = gelu,
           .has_bias = true,
           .is_small = true},
          "64x64a1s3", 2);
  product({.name = "8 bits in and out, turns",
           .m = 150,
           .n = 208,
           .k = 272,
           .is_b_transposed = true,
           .scale = 0.5F,
           .activation = gelu,
           .has_bias = true,
           .is_small = true,
           .y_scale = 0.125F},
          "64x96a1s3", 2);
  product({.name = "8 bits in and out of a cluster, halves, into a slice",
           .m = 300,
           .n = 128,
           .k = 144,
           .is_b_transposed = true,
           .y_pitch = 256,
           .y_offset = 64,
           .is_small = true,
           .y_scale = 0.25F},
          "64x128h2s3", 4);
  product({.name = "8 bits and a residual, bf16",
           .dtype = DType::kBfloat16,
           .m = 130,
           .n = 128,
           .k = 128,
           .is_b_transposed = true,
           .has_bias = true,
           .residual = 2,
           .is_small = true},
          "128x128a1s3", 2);
  product({.name = "8 bits, columns kept",
           .m = 450,
           .n = 192,
           .k = 272,
           .is_b_transposed = true,
           .activation = gelu,
           .has_bias = true,
           .is_small = true,
           .y_scale = 0.125F},
          "64x96r1s3", 2);
  product({.name = "integers, a scale a column, a zero point, turns",
           .m = 200,
           .n = 144,
           .k = 320,
           .is_b_transposed = true,
           .scale = 1e-5F,
           .activation = gelu,
           .has_bias = true,
           .is_integer = true,
           .has_column_scale = true,
           .a_zero_point = -3},
          "64x64a1s3", 2);
  product({.name = "integers in and out, columns kept",
           .m = 450,
           .n = 192,
           .k = 272,
           .is_b_transposed = true,
           .scale = 1e-5F,
           .activation = silu,
           .is_integer = true,
           .has_column_scale = true,
           .y_scale = 0.02F,
           .y_zero_point = 5},
          "64x96r1s3", 2);
  product({.name = "integers with one scale, a zero point and a residual, halves of a cluster",
           .m = 300,
           .n = 128,
           .k = 144,
           .is_b_transposed = true,
           .scale = 1e-5F,
           .residual = 2,
           .is_integer = true,
           .a_zero_point = 7},
          "64x128h2s3", 4);
  product({.name = "8 bits, four parts of K",
           .m = 150,
           .n = 144,
           .k = 592,
           .is_b_transposed = true,
           .has_bias = true,
           .is_small = true,
           .y_scale = 0.25F},
          "64x128h1s3k4", 4);
  product({.name = "halves of a cluster", .m = 400, .n = 256, .k = 64, .has_bias = true}, "64x128h2s3", 4);
  product({.name = "columns kept, b along n",
           .m = 450,
           .n = 200,
           .k = 136,
           .activation = gelu,
           .has_bias = true,
           .residual = 2},
          "64x128r1s3", 4);
  product({.name = "columns kept, b along k", .m = 300, .n = 96, .k = 72, .is_b_transposed = true}, "128x96r1s3", 1);
  product({.name = "halves, one behind the other",
           .m = 270,
           .n = 136,
           .k = 264,
           .activation = gelu,
           .has_bias = true,
           .residual = 2},
          "64x64h1s4d2", 2);
  product({.name = "many sums", .m = 200, .n = 200, .k = 136, .activation = gelu, .has_bias = true}, "128x192a1s3", 1);
  product(
      {.name = "three take turns", .m = 330, .n = 136, .k = 200, .activation = gelu, .has_bias = true, .residual = 2},
      "64x64a1s4g3", 2);
  product({.name = "three take turns, columns kept", .m = 270, .n = 128, .k = 136, .has_bias = true}, "64x128r1s3g3",
          1);
  product({.name = "three of a cluster, transposed",
           .m = 300,
           .n = 520,
           .k = 72,
           .is_b_transposed = true,
           .activation = silu,
           .has_bias = true},
          "64x96a2s3g3t", 4);
  product({.name = "transposed, turns, weights along n",
           .m = 200,
           .n = 200,
           .k = 264,
           .activation = gelu,
           .has_bias = true},
          "128x80a1s3t", 2);
  product({.name = "transposed halves, residual after, weights along k",
           .m = 260,
           .n = 136,
           .k = 328,
           .is_b_transposed = true,
           .activation = silu,
           .has_bias = true,
           .residual = 2},
          "64x144h1s4d1t", 2);
  product({.name = "transposed cluster, residual first, into a slice, bf16",
           .dtype = DType::kBfloat16,
           .m = 150,
           .n = 264,
           .k = 136,
           .y_pitch = 320,
           .y_offset = 16,
           .has_bias = true,
           .residual = 1},
          "64x96a2s3t", 4);
  product({.name = "transposed, two sums a warpgroup, one part", .m = 333, .n = 256, .k = 72}, "128x64h2s3t", 2);
  product({.name = "many sums of a cluster", .m = 390, .n = 200, .k = 72, .has_bias = true, .residual = 2},
          "128x192a2s3", 4);
  product({.name = "two parts of K, several tiles",
           .m = 300,
           .n = 136,
           .k = 328,
           .is_b_transposed = true,
           .activation = gelu,
           .has_bias = true,
           .residual = 1},
          "64x96h1s3k2", 2);
  product({.name = "four parts of K, several tiles",
           .m = 150,
           .n = 256,
           .k = 584,
           .activation = silu,
           .has_bias = true,
           .residual = 2},
          "64x128h1s3k4", 4);
  product({.name = "eight parts of K, two sums a warpgroup", .m = 257, .n = 192, .k = 512, .has_bias = true},
          "128x64h1s3k8", 8);
  const auto conv = [&](const test::ConvSpec& spec, const char* shape, int num_multiprocessors) {
    cases.push_back({test::conv_case(spec), shape, num_multiprocessors});
  };
  conv({.name = "window, lines and images go on",
        .x = {3, 64, 7, 9},
        .num_channels = 64,
        .kernel = {3, 3},
        .pads = {1, 1},
        .activation = silu,
        .residual = 2},
       "64x64a1s3", 2);
  conv({.name = "window, stride 2, slices, channels that are no whole pieces",
        .x = {2, 80, 11, 14},
        .num_channels = 96,
        .kernel = {3, 3},
        .strides = {2, 2},
        .pads = {1, 1},
        .activation = gelu,
        .x_pitch = 128,
        .x_offset = 16,
        .y_pitch = 160,
        .y_offset = 32},
       "64x96h1s3", 1);
  conv({.name = "one axis, stride 2, cluster",
        .x = {2, 128, 300},
        .num_channels = 128,
        .kernel = {3},
        .strides = {2},
        .pads = {1},
        .activation = gelu},
       "64x128a2s3", 4);
  conv({.name = "window in four parts, uneven pads and strides, dilated, bf16",
        .dtype = DType::kBfloat16,
        .x = {1, 72, 13, 20},
        .num_channels = 64,
        .kernel = {3, 2},
        .strides = {1, 2},
        .pads = {2, 0},
        .dilations = {2, 3},
        .pads_end = {0, 3},
        .residual = 1},
       "64x64h1s3k4", 4);
  conv({.name = "kernel 1, stride 2", .x = {1, 64, 20, 21}, .num_channels = 64, .kernel = {1, 1}, .strides = {2, 2}},
       "64x64h1s3", 1);
  return cases;
}

std::string text_of(const MatrixBoxes& boxes, const std::string& address) {
  std::string pixels;
  if (boxes.pixels) {
    const PixelGrid& grid = *boxes.pixels;
    for (const std::int64_t number :
         {grid.images, grid.height, grid.width, grid.image_stride, grid.line_stride, std::int64_t{grid.stride_y},
          std::int64_t{grid.stride_x}, std::int64_t{grid.first_y}, std::int64_t{grid.first_x},
          std::int64_t{grid.last_y}, std::int64_t{grid.last_x}}) {
      pixels += std::to_string(number) + ", ";
    }
  }
  return "{" + address + ", " + std::to_string(boxes.rows) + ", " + std::to_string(boxes.columns) + ", " +
         std::to_string(boxes.row_stride) + ", " + std::to_string(boxes.box_rows) + ", " +
         std::to_string(boxes.box_columns) + ", 0, {}, {" + pixels + "}, " + std::to_string(boxes.element_bytes) + "}";
}

TEST(WarpgroupEmulation, every_thread_together_gives_what_the_sum_gives) {
  for (const EmulatedCase& item : cases()) {
    SCOPED_TRACE(item.step.name + " " + item.shape);
    const Program& program = item.step.program;
    const auto shape = parse_warpgroup_shape(item.shape);
    ASSERT_TRUE(shape);
    const KernelSource source = make_warpgroup_source(program, program.steps.front(), *shape, item.num_multiprocessors,
                                                      "#include \"gpu/warpgroup_emulation.h\"\n");
    const std::string text = source.source +
                             "extern \"C\" void run(void* const* a, bool is_late) {\n  lp::is_late = is_late;\n"
                             "  const TensorMap of_a = " +
                             text_of(source.boxes[0], "a[0]") + ", of_b = " + text_of(source.boxes[1], "a[1]") +
                             ";\n  lp::run({" + std::to_string(source.grid[0]) + ", 1, " +
                             std::to_string(source.grid[2]) + "}, " + std::to_string(source.block_size) + ", " +
                             std::to_string(source.grid[2]) + ", " + std::to_string(source.shared_bytes) +
                             ", [&] { warpgroup(of_a, of_b, (const Bias*)a[2], (const u16*)a[3], (Result*)a[4]" +
                             (source.arguments.size() > 3 ? ", (const float*)a[5], (const int*)a[6]" : "") +
                             "); });\n}\n";
    const test::RunFunction run = test::compile_on_host(text);
    ASSERT_NE(run, nullptr);
    std::vector<ValueId> arguments;
    for (const MatrixBoxes& boxes : source.boxes) arguments.push_back(boxes.value);
    arguments.insert(arguments.end(), source.arguments.begin(), source.arguments.end());
    test::expect_sums(program, arguments, run);
  }
}

}  // namespace
}  // namespace pajamas::cuda
