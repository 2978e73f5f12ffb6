// Halo kernels without a GPU: which steps and shapes are offered, that sources are CUDA C++ (where NVRTC is there), and
// every thread on the host (warp_emulation.h) against plain sums.
#include "targets/cuda/backends/halo_source.h"

#include <gtest/gtest.h>

#include "gpu/emulated_kernel.h"
#include "gpu/step_cases.h"
#include "pajamas/error.h"
#include "targets/cuda/runtime/nvrtc.h"

namespace pajamas::cuda {
namespace {

constexpr int kNumMultiprocessors = 132;

TEST(HaloSource, shapes_have_names_that_read_back) {
  const HaloShape shape{8, 32, 4, 2, 144};
  EXPECT_EQ(shape.to_string(), "8x32w4x2n144");
  EXPECT_EQ(parse_halo_shape("8x32w4x2n144"), shape);
  for (const char* wrong : {"", "8x32", "8x32w4x2", "8x32w4x2n144 ", "08x32w4x2n144", "8x32w4x2n144k"}) {
    EXPECT_FALSE(parse_halo_shape(wrong)) << wrong;
  }
}

TEST(HaloSource, offers_nothing_for_what_it_cannot_compute) {
  const auto conv = [](test::ConvSpec spec) { return test::conv_case(spec); };
  const std::vector<std::int64_t> image{1, 32, 16, 16}, kernel{3, 3}, pads{1, 1};
  for (const test::StepCase& item :
       {conv({.name = "fp32", .dtype = DType::kFloat32, .x = image, .num_channels = 32, .kernel = kernel}),
        conv({.name = "no window", .x = image, .num_channels = 32, .kernel = {1, 1}}),
        conv({.name = "odd channels", .x = {1, 12, 16, 16}, .num_channels = 32, .kernel = kernel}),
        conv({.name = "odd outputs", .x = image, .num_channels = 24, .kernel = kernel}),
        conv({.name = "groups", .x = image, .num_channels = 32, .kernel = kernel, .groups = 2}),
        conv({.name = "dilated", .x = image, .num_channels = 32, .kernel = kernel, .dilations = {2, 2}}),
        conv({.name = "4 channels, stride 1", .x = {1, 4, 16, 16}, .num_channels = 16, .kernel = kernel}),
        conv({.name = "4 channels, odd width",
        .x = {1, 4, 16, 17},
        .num_channels = 16,
        .kernel = kernel,
        .strides = {2, 2}}),
        conv({.name = "odd slice", .x = image, .num_channels = 32, .kernel = kernel, .x_pitch = 40, .x_offset = 4}),
        conv({.name = "rows", .x = image, .num_channels = 32, .kernel = kernel, .is_y_row_major = true}),
        conv({.name = "heavy weights", .x = {1, 2048, 8, 8}, .num_channels = 512, .kernel = kernel, .pads = pads}),
        test::matmul_case({.name = "product", .m = 64, .n = 64, .k = 64})}) {
    EXPECT_TRUE(halo_shapes(item.program, item.program.steps.front(), 90, kNumMultiprocessors).empty()) << item.name;
  }
  const test::StepCase item = conv({.name = "conv", .x = image, .num_channels = 32, .kernel = kernel, .pads = pads});
  const Step& step = item.program.steps.front();
  EXPECT_FALSE(halo_shapes(item.program, step, 90, kNumMultiprocessors).empty());
  EXPECT_FALSE(halo_shapes(item.program, step, 86, kNumMultiprocessors).empty());
  EXPECT_TRUE(halo_shapes(item.program, step, 75, kNumMultiprocessors).empty());
  for (const HaloShape& shape : {HaloShape{8, 24, 4, 1, 32}, HaloShape{7, 8, 1, 1, 32}, HaloShape{8, 16, 3, 1, 32},
                                 HaloShape{8, 16, 4, 2, 32}, HaloShape{8, 16, 4, 1, 64}, HaloShape{64, 64, 1, 1, 32}}) {
    EXPECT_THROW(make_halo_source(item.program, step, shape, kNumMultiprocessors), Error) << shape.to_string();
  }
}

struct EmulatedCase {
  test::StepCase step;
  std::string shape;
  int num_multiprocessors;
};

std::vector<EmulatedCase> cases() {
  const Activation relu{ActivationKind::kRelu}, silu{ActivationKind::kSilu}, gelu{ActivationKind::kGeluErf};
  std::vector<EmulatedCase> cases;
  const auto conv = [&](const test::ConvSpec& spec, const char* shape, int num_multiprocessors) {
    cases.push_back({test::conv_case(spec), shape, num_multiprocessors});
  };
  conv({.name = "several tiles a block, slices, residual after",
        .x = {2, 16, 19, 37},
        .num_channels = 16,
        .kernel = {3, 3},
        .pads = {1, 1},
        .activation = silu,
        .residual = 2,
        .x_pitch = 32,
        .x_offset = 16,
        .y_pitch = 48,
        .y_offset = 32},
       "4x16w4x1n16", 1);
  conv({.name = "stem of 4 channels",
        .x = {2, 4, 21, 38},
        .num_channels = 16,
        .kernel = {3, 3},
        .strides = {2, 2},
        .pads = {1, 1},
        .activation = silu},
       "8x16w4x1n16", 1);
  conv({.name = "stem of 7 x 7",
        .x = {1, 4, 30, 34},
        .num_channels = 64,
        .kernel = {7, 7},
        .strides = {2, 2},
        .pads = {3, 3},
        .activation = relu},
       "4x16w2x2n64", 4);
  conv({.name = "4 channels, no lead", .x = {1, 4, 12, 20}, .num_channels = 32, .kernel = {2, 4}, .strides = {2, 4}},
       "4x16w4x1n32", 4);
  conv({.name = "8 channels, stride 1", .x = {1, 8, 9, 21}, .num_channels = 32, .kernel = {3, 3}, .pads = {1, 1}},
       "8x16w8x1n32", 4);
  conv({.name = "stride 2, 32 channels",
        .x = {1, 16, 17, 33},
        .num_channels = 32,
        .kernel = {3, 3},
        .strides = {2, 2},
        .pads = {1, 1},
        .activation = silu},
       "8x16w4x1n32", 1);
  conv({.name = "tiles 8 wide, columns in parts, bf16, residual first",
        .dtype = DType::kBfloat16,
        .x = {1, 32, 10, 13},
        .num_channels = 80,
        .kernel = {3, 3},
        .pads = {1, 1},
        .activation = relu,
        .residual = 1},
       "8x8w4x1n16", 2);
  conv({.name = "64 channels, two warps across",
        .x = {1, 64, 9, 17},
        .num_channels = 64,
        .kernel = {3, 3},
        .pads = {1, 1},
        .activation = silu},
       "8x16w4x2n64", 1);
  conv({.name = "80 channels, 144 outputs", .x = {1, 80, 5, 9}, .num_channels = 144, .kernel = {3, 3}, .pads = {1, 1}},
       "4x16w4x1n48", 4);
  conv({.name = "stride 2, 128 channels",
        .x = {1, 128, 6, 7},
        .num_channels = 32,
        .kernel = {3, 3},
        .strides = {2, 2},
        .pads = {1, 1}},
       "8x8w4x1n32", 4);
  conv(
      {.name = "one axis, gelu", .x = {3, 80, 130}, .num_channels = 96, .kernel = {3}, .pads = {1}, .activation = gelu},
      "1x64w2x1n96", 2);
  conv({.name = "one pixel, no bias, uneven pads",
        .x = {1, 16, 1, 1},
        .num_channels = 16,
        .kernel = {3, 2},
        .pads = {1, 1},
        .pads_end = {1, 0},
        .has_bias = false},
       "8x16w4x1n16", 1);
  return cases;
}

TEST(HaloSource, every_source_compiles) {
  try {
    nvrtc_version();
  } catch (const Error& error) {
    GTEST_SKIP() << error.what();
  }
  for (const EmulatedCase& item : cases()) {
    const Program& program = item.step.program;
    const KernelSource source = make_halo_source(program, program.steps.front(), *parse_halo_shape(item.shape), 132);
    for (const int sm : {80, 90}) {
      EXPECT_NO_THROW(compile_to_cubin(source.source, source.entry, sm)) << item.step.name << " " << sm;
    }
  }
}

TEST(HaloEmulation, every_thread_together_gives_what_the_sum_gives) {
  for (const EmulatedCase& item : cases()) {
    SCOPED_TRACE(item.step.name + " " + item.shape);
    const Program& program = item.step.program;
    const auto shape = parse_halo_shape(item.shape);
    ASSERT_TRUE(shape);
    const KernelSource source = make_halo_source(program, program.steps.front(), *shape, item.num_multiprocessors,
                                                 "#include \"gpu/warp_emulation.h\"\n");
    const std::string text =
        source.source + "extern \"C\" void run(void* const* a, bool is_late) {\n  lp::is_late = is_late;\n  lp::run({" +
        std::to_string(source.grid[0]) + ", " + std::to_string(source.grid[1]) + ", 1}, " +
        std::to_string(source.block_size) + ", 1, " + std::to_string(source.shared_bytes) +
        ", [&] { halo((const u16*)a[0], (const u16*)a[1], (const Bias*)a[2], (const u16*)a[3], (u16*)a[4]); });\n}\n";
    const test::RunFunction run = test::compile_on_host(text);
    ASSERT_NE(run, nullptr);
    test::expect_sums(program, source.arguments, run);
  }
}

}  // namespace
}  // namespace pajamas::cuda
