// Attention kernels without a GPU: which steps and shapes are offered, that every source is CUDA C++ (where NVRTC is
// there), and every thread on the host (attention_emulation.h) against plain sums. Speed and the instructions
// themselves are a GPU's to tell (cuda_backends_test.cpp).
#include "targets/cuda/backends/attention_source.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <set>
#include <span>

#include "gpu/emulated_kernel.h"
#include "gpu/step_cases.h"
#include "gpu/step_reference.h"
#include "pajamas/error.h"
#include "targets/cuda/runtime/nvrtc.h"
#include "tensor/half.h"

namespace pajamas::cuda {
namespace {

constexpr int kSm = 90, kNumMultiprocessors = 132;

TEST(AttentionSource, shapes_have_names_that_read_back) {
  const AttentionShape shape{.groups = 3, .keys = 96, .stages = 5, .has_q_in_registers = true};
  EXPECT_EQ(shape.to_string(), "3x96s5q1");
  EXPECT_EQ(parse_attention_shape("3x96s5q1"), shape);
  for (const char* wrong :
       {"", "3x96", "3x96s5", "3x96s5q", "3x96s5q2", "3x96s5q1 ", "03x96s5q1", "3x96s5q1x", "3x96s5q10"}) {
    EXPECT_FALSE(parse_attention_shape(wrong)) << wrong;
  }
}

TEST(AttentionSource, refuses_shapes_that_do_not_fit) {
  const test::StepCase item = test::attention_case({.name = "attention", .seq_len = 300, .kv_len = 300});
  const Step& step = item.program.steps.front();
  const auto make = [&](const char* shape) {
    make_attention_source(item.program, step, *parse_attention_shape(shape), kNumMultiprocessors);
  };
  EXPECT_NO_THROW(make("2x128s4q0"));
  for (const char* wrong : {
           "0x128s4q0",  // No rows.
           "4x128s4q0",  // More warpgroups than registers.
           "2x120s4q0",  // Keys that are no multiple of 16.
           "2x272s4q0",  // More keys than one instruction or box takes.
           "3x208s2q0",  // More scores than registers.
           "2x128s1q0",  // One place for keys and values.
           "2x128s9q0",  // More places than are counted.
           "2x240s8q0",  // More shared memory than there is.
           "3x128s4q1",  // Queries for which there are no registers.
       }) {
    EXPECT_THROW(make(wrong), Error) << wrong;
  }
}

TEST(AttentionSource, offers_nothing_for_what_it_cannot_compute) {
  auto negative = test::attention_case({.name = "negative scale", .seq_len = 64, .kv_len = 64});
  std::get<AttentionStep>(negative.program.steps.front().work).scale = -1;
  auto misplaced = test::attention_case({.name = "misplaced", .seq_len = 64, .kv_len = 64});
  misplaced.program.values[1].offset_elements = 4;
  for (const test::StepCase& item :
       {negative, misplaced,
        test::attention_case({.name = "fp32", .dtype = DType::kFloat32, .seq_len = 64, .kv_len = 64}),
        test::attention_case({.name = "mask", .seq_len = 64, .kv_len = 64, .has_mask = true}),
        test::attention_case({.name = "causal", .seq_len = 64, .kv_len = 64, .is_causal = true}),
        test::attention_case({.name = "odd heads", .seq_len = 64, .kv_len = 64, .head_dim = 36}),
        test::attention_case({.name = "wide heads", .seq_len = 64, .kv_len = 64, .head_dim = 136}),
        test::matmul_case({.name = "product", .m = 256, .n = 256, .k = 64})}) {
    EXPECT_TRUE(attention_shapes(item.program, item.program.steps.front(), kSm, kNumMultiprocessors).empty())
        << item.name;
  }
  const test::StepCase item = test::attention_case({.name = "attention", .seq_len = 64, .kv_len = 64});
  EXPECT_FALSE(attention_shapes(item.program, item.program.steps.front(), kSm, kNumMultiprocessors).empty());
  for (const int sm : {80, 89, 100, 120}) {
    EXPECT_TRUE(attention_shapes(item.program, item.program.steps.front(), sm, kNumMultiprocessors).empty()) << sm;
  }
}

TEST(AttentionSource, every_source_compiles) {
  try {
    nvrtc_version();
  } catch (const Error& error) {
    GTEST_SKIP() << error.what();
  }
  std::size_t num_compiled = 0;
  for (const test::AttentionSpec& spec :
       {test::AttentionSpec{
            .name = "short", .num_heads = 12, .num_kv_heads = 12, .seq_len = 197, .kv_len = 197, .is_merged = true},
        test::AttentionSpec{.name = "long", .num_heads = 6, .num_kv_heads = 6, .seq_len = 1500, .kv_len = 1500},
        test::AttentionSpec{.name = "wide heads",
        .dtype = DType::kBfloat16,
        .num_heads = 4,
        .num_kv_heads = 2,
        .seq_len = 300,
        .kv_len = 300,
        .head_dim = 80}}) {
    const test::StepCase item = test::attention_case(spec);
    const Step& step = item.program.steps.front();
    for (const AttentionShape& shape : attention_shapes(item.program, step, kSm, kNumMultiprocessors)) {
      const KernelSource source = make_attention_source(item.program, step, shape, kNumMultiprocessors);
      EXPECT_NO_THROW(compile_to_cubin(source.source, source.entry, kSm)) << spec.name << " " << shape.to_string();
      ++num_compiled;
    }
  }
  EXPECT_GE(num_compiled, 12U);
}

std::string text_of(const MatrixBoxes& boxes, const std::string& address) {
  std::string text = "{(const u16*)" + address + ", 0, " + std::to_string(boxes.columns) + ", 0, 0, " +
                     std::to_string(boxes.box_columns) + ", " + std::to_string(boxes.axes.size()) + ", {";
  for (const MatrixBoxes::Axis& axis : boxes.axes) {
    text +=
        "{" + std::to_string(axis.extent) + ", " + std::to_string(axis.stride) + ", " + std::to_string(axis.box) + "},";
  }
  return text + "}}";
}

/// The kernel of a shape for the one step of a program, on the host.
class EmulatedAttention {
 public:
  EmulatedAttention(const Program& program, const std::string& shape, int num_multiprocessors)
      : program_(program),
        source_(make_attention_source(program, program.steps.front(), parse_attention_shape(shape).value(),
                                      num_multiprocessors, "#include \"gpu/attention_emulation.h\"\n")) {
    run_ = test::compile_on_host(
        source_.source + "extern \"C\" void run(void* const* a, bool is_late) {\n  lp::is_late = is_late;\n" +
        "  const TensorMap q = " + text_of(source_.boxes[0], "a[0]") + ", k = " + text_of(source_.boxes[1], "a[1]") +
        ", v = " + text_of(source_.boxes[2], "a[2]") + ";\n  lp::run({" + std::to_string(source_.grid[0]) +
        ", 1, 1}, " + std::to_string(source_.block_size) + ", 1, " + std::to_string(source_.shared_bytes) +
        ", [&] { attention(q, k, v, (u16*)a[3]); });\n}\n");
  }
  bool is_compiled() const { return run_ != nullptr; }
  test::RunFunction function() const { return run_; }
  std::vector<ValueId> arguments() const {
    std::vector<ValueId> ids;
    for (const MatrixBoxes& boxes : source_.boxes) ids.push_back(boxes.value);
    ids.insert(ids.end(), source_.arguments.begin(), source_.arguments.end());
    return ids;
  }
  void operator()(std::span<std::uint16_t* const> begins, bool is_late) const {
    std::vector<void*> arguments;
    for (const ValueId id : this->arguments()) {
      const Value& value = program_.value(id);
      arguments.push_back(begins[static_cast<std::size_t>(value.buffer)] + value.offset_elements);
    }
    run_(arguments.data(), is_late);
  }

 private:
  const Program& program_;
  KernelSource source_;
  test::RunFunction run_ = nullptr;
};

struct EmulatedCase {
  test::AttentionSpec spec;
  std::string shape;
  int num_multiprocessors;
};

TEST(AttentionEmulation, every_thread_together_gives_what_the_sum_gives) {
  std::vector<EmulatedCase> cases;
  const auto add = [&](const test::AttentionSpec& spec, const char* shape, int num_multiprocessors) {
    cases.push_back({spec, shape, num_multiprocessors});
  };
  add({.name = "one row, one key", .seq_len = 1, .kv_len = 1}, "1x32s2q0", 1);
  add({.name = "all keys at once, several items a block",
       .batch = 1,
       .num_heads = 2,
       .num_kv_heads = 2,
       .seq_len = 197,
       .kv_len = 197,
       .is_merged = true},
      "2x208s4q1", 1);
  add({.name = "rows of one tile less one, keys of one block, bf16",
       .dtype = DType::kBfloat16,
       .batch = 3,
       .num_heads = 1,
       .num_kv_heads = 1,
       .seq_len = 63,
       .kv_len = 64,
       .is_packed = false},
      "1x64s3q0", 1);
  add({.name = "blocks of keys, one more key than two, odd batch, more items than blocks",
       .batch = 3,
       .num_heads = 1,
       .num_kv_heads = 1,
       .seq_len = 65,
       .kv_len = 65,
       .is_merged = true},
      "1x32s2q0", 2);
  add({.name = "three warpgroups, queries share keys",
       .batch = 1,
       .num_heads = 2,
       .num_kv_heads = 1,
       .seq_len = 200,
       .kv_len = 150},
      "3x48s4q1", 1);
  add({.name = "long rows", .seq_len = 3, .kv_len = 1500}, "2x128s3q0", 1);
  add({.name = "heads of two panels",
       .dtype = DType::kBfloat16,
       .num_heads = 2,
       .num_kv_heads = 2,
       .seq_len = 70,
       .kv_len = 100,
       .head_dim = 80},
      "2x64s4q1", 2);
  add({.name = "short heads", .num_heads = 3, .num_kv_heads = 3, .seq_len = 64, .kv_len = 33, .head_dim = 24},
      "1x48s4q0", 2);
  for (const EmulatedCase& item : cases) {
    SCOPED_TRACE(item.spec.name + " " + item.shape);
    const test::StepCase step = test::attention_case(item.spec);
    const EmulatedAttention run(step.program, item.shape, item.num_multiprocessors);
    ASSERT_TRUE(run.is_compiled());
    test::expect_sums(step.program, run.arguments(), run.function());
  }
}

/// Runs it on buffers of these numbers, rounded to float16; what the output's buffer has afterwards.
std::vector<float> run_on(const EmulatedAttention& run, const Program& program,
                          std::vector<std::vector<float>>& values) {
  std::vector<std::vector<std::uint16_t>> bits(values.size());
  std::vector<std::uint16_t*> begins;
  for (std::size_t i = 0; i < values.size(); ++i) {
    for (float& value : values[i]) {
      bits[i].push_back(float16_from_float(value));
      value = float_from_float16(bits[i].back());
    }
    bits[i].resize(bits[i].size() + 64);
    auto* begin = bits[i].data();
    while (reinterpret_cast<std::uintptr_t>(begin) % 16 != 0) ++begin;
    std::memmove(begin, bits[i].data(), values[i].size() * 2);
    begins.push_back(begin);
  }
  run(begins, true);
  const auto y = static_cast<std::size_t>(program.value(std::get<AttentionStep>(program.steps.front().work).y).buffer);
  std::vector<float> result;
  for (std::size_t i = 0; i < values[y].size(); ++i) result.push_back(float_from_float16(begins[y][i]));
  return result;
}

TEST(AttentionEmulation, takes_numbers_of_all_kinds) {
  for (const std::string shape : {"1x32s3q0", "1x80s3q1"}) {
    SCOPED_TRACE(shape);
    const test::StepCase item = test::attention_case({.name = "attention", .batch = 2, .seq_len = 9, .kv_len = 70});
    const Program& program = item.program;
    const EmulatedAttention run(program, shape, 1);
    ASSERT_TRUE(run.is_compiled());
    std::mt19937 random(11);
    const auto fill = [&](float q, float k, float v) {
      std::vector<std::vector<float>> values(program.buffers.size());
      const float largest[] = {q, k, v, 1};
      for (std::size_t i = 0; i < values.size(); ++i) {
        for (std::size_t e = 0; e < program.buffers[i].size_bytes / 2; ++e) {
          values[i].push_back(std::uniform_real_distribution<float>(-largest[i], largest[i])(random));
        }
      }
      return values;
    };
    const auto expect_near = [&](std::vector<std::vector<float>> values, double tolerance) {
      const std::vector<float> actual = run_on(run, program, values);
      double difference = 0, norm = 0;
      for (const test::ExpectedElement& element : test::expected_elements(program, values, 1 << 20)) {
        const double given = static_cast<double>(actual[static_cast<std::size_t>(element.offset)]);
        difference += (given - element.value) * (given - element.value);
        norm += element.value * element.value;
      }
      EXPECT_LE(std::sqrt(difference / norm), tolerance);
    };
    {
      SCOPED_TRACE("scores of thousands");
      expect_near(fill(60, 60, 1), 1e-3);
    }
    {
      SCOPED_TRACE("values near the largest of the type");
      expect_near(fill(1, 1, 60000), 1e-3);
    }
    {
      SCOPED_TRACE("equal scores");
      expect_near(fill(0, 1, 1), 1e-3);
    }
    {
      SCOPED_TRACE("each key better than the one behind it, and the other way round");
      for (const float slope : {-3.0F, 3.0F}) {
        auto values = fill(1, 0, 1);
        for (float& q : values[0]) q = 1;
        for (std::size_t i = 0; i < values[1].size(); ++i) values[1][i] = slope * static_cast<float>(i / 64 % 70) / 8;
        expect_near(values, 1e-3);
      }
    }
    const float not_a_number = std::nanf("");
    const auto num_nan = [](const std::vector<float>& actual, std::size_t begin, std::size_t end) {
      std::size_t count = 0;
      for (std::size_t i = begin; i < end; ++i) count += std::isnan(actual[i]) ? 1 : 0;
      return count;
    };
    constexpr std::size_t kRows = 9 * 64, kKeys = 70 * 64;  // Elements of a batch item.
    {
      SCOPED_TRACE("NaN in a query: its row");
      auto values = fill(1, 1, 1);
      values[0][5 * 64 + 3] = not_a_number;
      const std::vector<float> actual = run_on(run, program, values);
      EXPECT_EQ(num_nan(actual, 5 * 64, 6 * 64), 64U);
      EXPECT_EQ(num_nan(actual, 0, 2 * kRows), 64U);
    }
    for (const std::size_t row : {0, 31, 69}) {
      SCOPED_TRACE("NaN in a key: all of its batch item " + std::to_string(row));
      auto values = fill(1, 1, 1);
      values[1][kKeys + row * 64 + 7] = not_a_number;
      const std::vector<float> actual = run_on(run, program, values);
      EXPECT_EQ(num_nan(actual, 0, kRows), 0U);
      EXPECT_EQ(num_nan(actual, kRows, 2 * kRows), kRows);
    }
    {
      SCOPED_TRACE("NaN in a value: its column of the batch item");
      auto values = fill(1, 1, 1);
      values[2][kKeys + 9] = not_a_number;
      const std::vector<float> actual = run_on(run, program, values);
      EXPECT_EQ(num_nan(actual, 0, kRows), 0U);
      EXPECT_EQ(num_nan(actual, kRows, 2 * kRows), 9U);
    }
    {
      SCOPED_TRACE("minus infinity in the last keys");
      auto values = fill(1, 1, 1);
      for (float& q : values[0]) q = 1;
      for (std::size_t row = 60; row < 70; ++row) values[1][row * 64] = -std::numeric_limits<float>::infinity();
      expect_near(values, 1e-3);
    }
  }
}

}  // namespace
}  // namespace pajamas::cuda
