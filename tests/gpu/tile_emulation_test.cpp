// Tile kernels on the host, thread by thread (warp_emulation.h), against plain sums: their index arithmetic, fragments,
// waits and sums over clusters are proven without a GPU. Small problems with every feature; speed and the instructions
// themselves are a GPU's to tell (cuda_backends_test.cpp).
#include <gtest/gtest.h>

#include "gpu/emulated_kernel.h"
#include "gpu/step_cases.h"
#include "targets/cuda/backends/tile_source.h"

namespace pajamas::cuda {
namespace {

struct EmulatedCase {
  test::StepCase step;
  std::string shape;
};

std::vector<EmulatedCase> cases() {
  const Activation relu{ActivationKind::kRelu}, silu{ActivationKind::kSilu}, gelu{ActivationKind::kGeluErf};
  std::vector<EmulatedCase> cases;
  const auto conv = [&](const test::ConvSpec& spec, const char* shape) {
    cases.push_back({test::conv_case(spec), shape});
  };
  const auto product = [&](const test::MatMulSpec& spec, const char* shape) {
    cases.push_back({test::matmul_case(spec), shape});
  };
  conv({.name = "3x3", .x = {1, 16, 9, 7}, .num_channels = 32, .kernel = {3, 3}, .pads = {1, 1}, .activation = relu},
       "64x32w2x2s5k1");
  conv({.name = "stride 2, split",
        .x = {2, 64, 9, 11},
        .num_channels = 80,
        .kernel = {3, 3},
        .strides = {2, 2},
        .pads = {1, 1},
        .activation = silu},
       "64x80w4x1s4k2");
  conv({.name = "stem",
        .x = {1, 4, 21, 19},
        .num_channels = 64,
        .kernel = {7, 7},
        .strides = {2, 2},
        .pads = {3, 3},
        .activation = relu},
       "64x64w2x2s4k1");
  conv({.name = "1x1 stride 2, residual first",
        .x = {1, 128, 8, 8},
        .num_channels = 32,
        .kernel = {1, 1},
        .strides = {2, 2},
        .activation = relu,
        .residual = 1},
       "16x32w1x2s6k2");
  conv({.name = "slices",
        .x = {1, 32, 6, 5},
        .num_channels = 48,
        .kernel = {3, 3},
        .pads = {1, 1},
        .activation = silu,
        .residual = 2,
        .x_pitch = 64,
        .x_offset = 32,
        .y_pitch = 96,
        .y_offset = 24},
       "32x64w2x2s5k1");
  conv({.name = "deep and small, eight blocks a cluster",
        .x = {1, 512, 4, 4},
        .num_channels = 32,
        .kernel = {3, 3},
        .pads = {1, 1},
        .activation = relu},
       "32x32w2x2s6k8");
  conv({.name = "one axis, dilated, bf16",
        .dtype = DType::kBfloat16,
        .x = {2, 80, 40},
        .num_channels = 24,
        .kernel = {3},
        .pads = {2},
        .dilations = {2},
        .activation = gelu},
       "128x32w4x1s4k2");
  conv({.name = "odd pads, odd channels",
        .x = {1, 8, 7, 9},
        .num_channels = 18,
        .kernel = {2, 3},
        .pads = {1, 0},
        .pads_end = {0, 2},
        .has_bias = false},
       "64x16w4x1s6k1");
  product({.name = "b along k", .m = 37, .n = 72, .k = 200, .is_b_transposed = true, .has_bias = true, .residual = 2},
          "32x64w2x2s5k4");
  product({.name = "b along n", .m = 20, .n = 136, .k = 72, .activation = gelu, .has_bias = true}, "16x128w1x4s4k1");
  product({.name = "one row", .m = 1, .n = 40, .k = 320, .scale = 0.5F, .has_bias = true, .residual = 1},
          "16x32w1x2s6k4");
  product({.name = "wide tile into a slice", .m = 130, .n = 128, .k = 64, .y_pitch = 256, .y_offset = 64},
          "128x128w2x4s4k1");
  return cases;
}

TEST(TileEmulation, every_thread_together_gives_what_the_sum_gives) {
  for (const EmulatedCase& item : cases()) {
    SCOPED_TRACE(item.step.name + " " + item.shape);
    const Program& program = item.step.program;
    const auto shape = parse_tile_shape(item.shape);
    ASSERT_TRUE(shape);
    const KernelSource source =
        make_tile_source(program, program.steps.front(), *shape, "#include \"gpu/warp_emulation.h\"\n");
    const std::string text =
        source.source + "extern \"C\" void run(void* const* a, bool is_late) {\n  lp::is_late = is_late;\n  lp::run({" +
        std::to_string(source.grid[0]) + ", " + std::to_string(source.grid[1]) + ", " + std::to_string(source.grid[2]) +
        "}, " + std::to_string(source.block_size) + ", " + std::to_string(shape->splits) + ", " +
        std::to_string(source.shared_bytes) +
        ", [&] { tile((const u16*)a[0], (const u16*)a[1], (const Bias*)a[2], (const u16*)a[3], (Out*)a[4]); });\n}\n";
    const test::RunFunction run = test::compile_on_host(text);
    ASSERT_NE(run, nullptr);
    test::expect_sums(program, source.arguments, run);
  }
}

}  // namespace
}  // namespace pajamas::cuda
