// Tests of targets/cuda/backends/tile_source.h that need no GPU: which steps and shapes are offered, and that every
// source is CUDA C++ (where NVRTC is there). Their numbers are compared in cuda_backends_test.cpp.
#include "targets/cuda/backends/tile_source.h"

#include <gtest/gtest.h>

#include <set>

#include "gpu/step_cases.h"
#include "pajamas/error.h"
#include "targets/cuda/runtime/nvrtc.h"

namespace pajamas::cuda {
namespace {

constexpr int kSm = 90, kNumMultiprocessors = 132;

TEST(TileSource, shapes_have_names_that_read_back) {
  const TileShape shape{64, 128, 2, 4, 4, 8};
  EXPECT_EQ(shape.to_string(), "64x128w2x4s4k8");
  EXPECT_EQ(parse_tile_shape("64x128w2x4s4k8"), shape);
  for (const char* wrong : {"", "64x128", "64x128w2x4s4k8 ", " 64x128w2x4s4k8", "064x128w2x4s4k8", "64x128w2x4s4k8x",
                            "99999x128w2x4s4k8", "64x128w2x4s4"}) {
    EXPECT_FALSE(parse_tile_shape(wrong)) << wrong;
  }
}

TEST(TileSource, refuses_shapes_that_do_not_divide) {
  const test::StepCase item = test::matmul_case({.name = "product", .m = 64, .n = 64, .k = 64});
  const Step& step = item.program.steps.front();
  EXPECT_NO_THROW(make_tile_source(item.program, step, {64, 64, 2, 2, 4, 1}));
  for (const TileShape& shape :
       {TileShape{60, 64, 2, 2, 4, 1}, TileShape{64, 40, 2, 2, 4, 1}, TileShape{64, 64, 2, 2, 1, 1},
        TileShape{64, 64, 2, 2, 9, 1}, TileShape{64, 64, 2, 2, 4, 2}, TileShape{64, 64, 0, 2, 4, 1},
        TileShape{256, 256, 4, 4, 8, 1}, TileShape{64, 64, -2, -2, 4, 1}}) {
    EXPECT_THROW(make_tile_source(item.program, step, shape), Error) << shape.to_string();
  }
}

TEST(TileSource, offers_nothing_for_what_it_cannot_compute) {
  for (const test::StepCase& item :
       {test::matmul_case({.name = "fp32", .dtype = DType::kFloat32, .m = 64, .n = 64, .k = 64}),
        test::matmul_case({.name = "odd k", .m = 64, .n = 64, .k = 63}),
        test::conv_case({.name = "groups", .x = {1, 32, 8, 8}, .num_channels = 32, .kernel = {3, 3}, .groups = 32}),
        test::conv_case({.name = "channels", .x = {1, 3, 8, 8}, .num_channels = 32, .kernel = {3, 3}}),
        test::attention_case({.name = "attention"})}) {
    EXPECT_TRUE(tile_shapes(item.program, item.program.steps.front(), kSm, kNumMultiprocessors).empty()) << item.name;
  }
}

TEST(TileSource, splits_only_where_blocks_form_clusters) {
  const test::StepCase item =
      test::conv_case({.name = "layer4", .x = {1, 512, 7, 7}, .num_channels = 512, .kernel = {3, 3}, .pads = {1, 1}});
  const Step& step = item.program.steps.front();
  const auto has_splits = [](const std::vector<TileShape>& shapes) {
    for (const TileShape& shape : shapes) {
      if (shape.splits > 1) return true;
    }
    return false;
  };
  const auto shapes = tile_shapes(item.program, step, kSm, kNumMultiprocessors);
  EXPECT_TRUE(has_splits(shapes));
  EXPECT_GT(shapes.front().splits, 1) << "49 rows of 4,608 products want the sum shared";
  EXPECT_FALSE(has_splits(tile_shapes(item.program, step, 89, kNumMultiprocessors)));
  EXPECT_FALSE(tile_shapes(item.program, step, 89, kNumMultiprocessors).empty());
  EXPECT_TRUE(tile_shapes(item.program, step, 75, kNumMultiprocessors).empty());
}

TEST(TileSource, every_source_compiles) {
  try {
    nvrtc_version();
  } catch (const Error& error) {
    GTEST_SKIP() << error.what();
  }
  std::set<std::string> compiled;
  for (const test::StepCase& item : test::step_cases()) {
    const Step& step = item.program.steps.front();
    const auto shapes = tile_shapes(item.program, step, kSm, kNumMultiprocessors);
    // One shape a case, a different one where there is a choice: each shape compiles with some problem.
    for (const TileShape& shape : shapes) {
      TileShape unsplit = shape;
      unsplit.splits = 1;
      if (&shape != &shapes.back() && !compiled.insert(unsplit.to_string()).second) continue;
      const KernelSource source = make_tile_source(item.program, step, shape);
      EXPECT_NO_THROW(compile_to_cubin(source.source, "tile", kSm)) << item.name << " " << shape.to_string();
      break;
    }
  }
}

}  // namespace
}  // namespace pajamas::cuda
