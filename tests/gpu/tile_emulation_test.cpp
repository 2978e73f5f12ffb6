// Tile kernels on the host, thread by thread (warp_emulation.h), against plain sums: their index arithmetic, fragments,
// waits and sums over clusters are proven without a GPU. Small problems with every feature; speed and the instructions
// themselves are a GPU's to tell (cuda_backends_test.cpp).
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <random>

#include "gpu/step_cases.h"
#include "gpu/step_reference.h"
#include "support/temporary_folder.h"
#include "targets/cuda/backends/tile_source.h"
#include "tensor/half.h"

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

ValueId output_of(const Program& program) {
  const StepWork& work = program.steps.front().work;
  if (const auto* conv = std::get_if<ConvStep>(&work)) return conv->y;
  return std::get<MatMulStep>(work).y;
}

std::uint16_t bits_of_value(float value, DType dtype) {
  return dtype == DType::kBfloat16 ? bfloat16_from_float(value) : float16_from_float(value);
}
float value_of_bits(std::uint16_t bits, DType dtype) {
  return dtype == DType::kBfloat16 ? float_from_bfloat16(bits) : float_from_float16(bits);
}

using RunFunction = void (*)(void* const* arguments, bool is_late);

RunFunction compile(const TileSource& source, const std::filesystem::path& stem, int splits) {
  std::ofstream file(stem.string() + ".cpp");
  file << source.source
       << "extern \"C\" void run(void* const* a, bool is_late) {\n  lp::is_late = is_late;\n  lp::run({"
       << source.grid[0] << ", " << source.grid[1] << ", " << source.grid[2] << "}, " << source.block_size << ", "
       << splits << ", " << source.shared_bytes
       << ", [&] { tile((const u16*)a[0], (const u16*)a[1], (const Bias*)a[2], (const u16*)a[3], (Out*)a[4]); });\n}\n";
  file.close();
  const std::string command = "g++ -std=c++20 -O1 -w -fPIC -shared -fno-strict-aliasing -I" PAJAMAS_SOURCE_DIR
                              "/tests -o " +
                              stem.string() + ".so " + stem.string() + ".cpp > " + stem.string() + ".log 2>&1";
  if (std::system(command.c_str()) != 0) {
    std::ifstream log(stem.string() + ".log");
    ADD_FAILURE() << std::string(std::istreambuf_iterator<char>(log), {}).substr(0, 2000);
    return nullptr;
  }
  void* library = dlopen((stem.string() + ".so").c_str(), RTLD_NOW | RTLD_LOCAL);
  return library == nullptr ? nullptr : reinterpret_cast<RunFunction>(dlsym(library, "run"));
}

TEST(TileEmulation, every_thread_together_gives_what_the_sum_gives) {
  const test::TemporaryFolder folder;
  int number = 0;
  for (const EmulatedCase& item : cases()) {
    SCOPED_TRACE(item.step.name + " " + item.shape);
    const Program& program = item.step.program;
    const auto shape = parse_tile_shape(item.shape);
    ASSERT_TRUE(shape);
    const TileSource source =
        make_tile_source(program, program.steps.front(), *shape, "#include \"gpu/warp_emulation.h\"\n");
    const RunFunction run = compile(source, folder.path() / std::to_string(number++), shape->splits);
    ASSERT_NE(run, nullptr);

    const Value& y = program.value(output_of(program));
    std::mt19937 random(7);
    std::vector<std::vector<float>> values(program.buffers.size());
    std::vector<std::vector<std::uint16_t>> bits(program.buffers.size());
    for (std::size_t i = 0; i < program.buffers.size(); ++i) {
      const std::size_t count = program.buffers[i].size_bytes / 2;
      for (std::size_t k = 0; k < count; ++k) {
        bits[i].push_back(bits_of_value(std::uniform_real_distribution<float>(-1, 1)(random), y.desc.dtype));
        values[i].push_back(value_of_bits(bits[i].back(), y.desc.dtype));
      }
      // Vectors want aligned beginnings, as the device's allocations have.
      bits[i].reserve(count + 64);
    }
    const auto expected = test::expected_elements(program, values, 1 << 20);
    const std::vector<std::uint16_t> poison(bits[static_cast<std::size_t>(y.buffer)].size(), 0xffff);
    for (const bool is_late : {false, true}) {
      std::vector<std::vector<std::uint16_t>> memory = bits;
      memory[static_cast<std::size_t>(y.buffer)] = poison;
      std::vector<std::unique_ptr<std::byte[]>> aligned;
      std::vector<std::uint16_t*> begins;
      for (const auto& buffer : memory) {
        aligned.push_back(std::make_unique<std::byte[]>(buffer.size() * 2 + 256));
        auto* begin = aligned.back().get();
        begin += (256 - reinterpret_cast<std::uintptr_t>(begin) % 256) % 256;
        std::memcpy(begin, buffer.data(), buffer.size() * 2);
        begins.push_back(reinterpret_cast<std::uint16_t*>(begin));
      }
      std::vector<void*> arguments;
      for (const ValueId id : source.arguments) {
        const Value& value = program.value(id);
        arguments.push_back(begins[static_cast<std::size_t>(value.buffer)] + value.offset_elements);
      }
      run(arguments.data(), is_late);
      const std::uint16_t* out = begins[static_cast<std::size_t>(y.buffer)];
      double difference = 0, norm = 0;
      for (const test::ExpectedElement& element : expected) {
        const auto actual = static_cast<double>(value_of_bits(out[element.offset], y.desc.dtype));
        difference += (actual - element.value) * (actual - element.value);
        norm += element.value * element.value;
      }
      EXPECT_LE(std::sqrt(difference / norm), y.desc.dtype == DType::kBfloat16 ? 4e-3 : 6e-4)
          << (is_late ? "copies as late as they may be" : "copies at once");
      std::vector<bool> is_written(poison.size(), false);
      for (const std::int64_t offset : test::offsets_of(y)) {
        is_written[static_cast<std::size_t>(offset)] = true;
        EXPECT_NE(out[offset], 0xffff) << "not written: " << offset;
      }
      for (std::size_t i = 0; i < poison.size(); ++i) {
        if (!is_written[i]) {
          ASSERT_EQ(out[i], 0xffff) << "written beside the slice: " << i;
        }
      }
    }
  }
}

}  // namespace
}  // namespace pajamas::cuda
