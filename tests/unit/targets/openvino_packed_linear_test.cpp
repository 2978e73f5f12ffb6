// Packed linear layers against plain loops: every form of weights, odd numbers of rows and tokens, biases, SwiGLU.
#include "targets/openvino/packed_linear.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <string>

#if defined(__x86_64__)
#include "targets/openvino/packed_kernels.h"
#endif

namespace pajamas::openvino {
namespace {

/// A stored matrix with the memory behind it.
struct Stored {
  StoredMatrix matrix;
  std::vector<std::uint8_t> bytes;
  std::vector<float> dense;  ///< [num_rows, num_columns], the values it stands for.
};

Stored make_matrix(StoredMatrix::Form form, std::int64_t num_rows, std::int64_t num_columns, std::int64_t num_groups,
                   bool has_bias, std::uint32_t seed) {
  std::mt19937 generator(seed);
  std::uniform_real_distribution<float> uniform(-1.0F, 1.0F);
  const bool is_4bit = form == StoredMatrix::Form::kUint4 || form == StoredMatrix::Form::kInt4;
  Stored stored;
  const auto count = static_cast<std::size_t>(num_rows * num_columns);
  stored.bytes.resize(is_4bit ? (count + 1) / 2 : count);
  for (auto& byte : stored.bytes) byte = static_cast<std::uint8_t>(generator());
  stored.matrix = {form, num_rows, num_columns, num_groups, stored.bytes.data(), {}, {}, {}};
  const float middle = form == StoredMatrix::Form::kUint4 ? 7.5F : form == StoredMatrix::Form::kUint8 ? 127.5F : 0.0F;
  const float scale = (is_4bit ? 0.02F : 0.001F);
  for (std::int64_t i = 0; i < num_rows * num_groups; ++i) {
    stored.matrix.scales.push_back(scale * (1.0F + 0.5F * uniform(generator)));
    stored.matrix.offsets.push_back(-(middle + 0.1F * middle * uniform(generator)) * stored.matrix.scales.back());
  }
  for (std::int64_t i = 0; has_bias && i < num_rows; ++i) stored.matrix.bias.push_back(uniform(generator));
  for (std::size_t i = 0; i < count; ++i) {
    int q = is_4bit ? (stored.bytes[i / 2] >> (i % 2 * 4)) & 15 : stored.bytes[i];
    if (form == StoredMatrix::Form::kInt4 && q > 7) q -= 16;
    if (form == StoredMatrix::Form::kInt8 && q > 127) q -= 256;
    const std::size_t group = i / static_cast<std::size_t>(num_columns / num_groups);
    stored.dense.push_back(static_cast<float>(q) * stored.matrix.scales[group] + stored.matrix.offsets[group]);
  }
  return stored;
}

std::vector<float> multiply(const Stored& stored, const std::vector<float>& x) {
  const auto num_columns = static_cast<std::size_t>(stored.matrix.num_columns);
  const auto num_rows = static_cast<std::size_t>(stored.matrix.num_rows);
  std::vector<float> result;
  for (std::size_t begin = 0; begin < x.size(); begin += num_columns) {
    for (std::size_t row = 0; row < num_rows; ++row) {
      double sum = stored.matrix.bias.empty() ? 0.0 : static_cast<double>(stored.matrix.bias[row]);
      for (std::size_t i = 0; i < num_columns; ++i) {
        sum += static_cast<double>(stored.dense[row * num_columns + i]) * static_cast<double>(x[begin + i]);
      }
      result.push_back(static_cast<float>(sum));
    }
  }
  return result;
}

std::vector<float> random_rows(std::int64_t count, std::uint32_t seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = normal(generator);
  return values;
}

/// Root of the mean squared difference, relative to that of what is expected.
double relative_error(const std::vector<float>& found, const std::vector<float>& expected) {
  double difference = 0.0;
  double size = 0.0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double gap = static_cast<double>(found[i]) - static_cast<double>(expected[i]);
    difference += gap * gap;
    size += static_cast<double>(expected[i]) * static_cast<double>(expected[i]);
  }
  return std::sqrt(difference / size);
}

// int8 by groups of a normal distribution: a step of 3.5 σ / 127 gives 0.8 %; bfloat16 0.2 % each.
constexpr double kTolerance = 0.012;

class PackedLinearForms : public ::testing::TestWithParam<std::tuple<StoredMatrix::Form, std::int64_t, std::int64_t>> {
 protected:
  void SetUp() override {
    if (!PackedLinear::is_available()) GTEST_SKIP() << "this processor has no AVX512-VNNI";
  }
};

TEST_P(PackedLinearForms, EqualsPlainLoopsForAnyNumberOfTokens) {
  const auto& [form, num_columns, num_groups] = GetParam();
  const Stored stored = make_matrix(form, 53, num_columns, num_groups, true, 1);
  ASSERT_TRUE(PackedLinear::can_pack(stored.matrix));
  const PackedLinear linear({&stored.matrix, 1}, Combination::kSeparate);
  for (const std::int64_t num_tokens : {0, 1, 2, 3, 4, 5, 8, 31, 32, 33, 47, 70}) {
    const std::vector<float> x = random_rows(num_tokens * num_columns, 7);
    const std::vector<float> expected = multiply(stored, x);
    std::vector<float> found(expected.size() + 1, 12345.0F);
    float* const output = found.data();
    linear.run(x.data(), num_tokens, {&output, 1});
    EXPECT_EQ(found.back(), 12345.0F) << "written past the end";
    found.pop_back();
    if (num_tokens == 0) continue;
    EXPECT_LT(relative_error(found, expected), kTolerance) << num_tokens << " tokens";
  }
}

using Form = StoredMatrix::Form;
INSTANTIATE_TEST_SUITE_P(All, PackedLinearForms,
                         ::testing::Values(std::tuple{Form::kUint4, 96, 3}, std::tuple{Form::kUint4, 256, 2},
                                           std::tuple{Form::kUint4, 1280, 20}, std::tuple{Form::kUint4, 160, 1},
                                           std::tuple{Form::kInt4, 128, 2}, std::tuple{Form::kUint8, 192, 3},
                                           std::tuple{Form::kInt8, 192, 1}, std::tuple{Form::kInt8, 1152, 9}));

TEST(PackedLinear, SeveralMatricesOfOneInputGiveAnOutputEach) {
  if (!PackedLinear::is_available()) GTEST_SKIP() << "this processor has no AVX512-VNNI";
  const Stored a = make_matrix(Form::kUint4, 17, 64, 2, false, 1);
  const Stored b = make_matrix(Form::kUint4, 1, 64, 2, true, 2);
  const Stored c = make_matrix(Form::kUint4, 48, 64, 2, false, 3);
  const std::vector<StoredMatrix> matrices{a.matrix, b.matrix, c.matrix};
  const PackedLinear linear(matrices, Combination::kSeparate);
  EXPECT_EQ(linear.output_dims(), (std::vector<std::int64_t>{17, 1, 48}));
  for (const std::int64_t num_tokens : {1, 6, 40}) {
    const std::vector<float> x = random_rows(num_tokens * 64, 9);
    std::vector<std::vector<float>> found;
    std::vector<float*> outputs;
    for (const std::int64_t dim : linear.output_dims()) found.emplace_back(static_cast<std::size_t>(num_tokens * dim));
    for (auto& values : found) outputs.push_back(values.data());
    linear.run(x.data(), num_tokens, outputs);
    EXPECT_LT(relative_error(found[0], multiply(a, x)), kTolerance);
    EXPECT_LT(relative_error(found[1], multiply(b, x)), kTolerance);
    EXPECT_LT(relative_error(found[2], multiply(c, x)), kTolerance);
  }
}

TEST(PackedLinear, GateAndUpBecomeSwiGlu) {
  if (!PackedLinear::is_available()) GTEST_SKIP() << "this processor has no AVX512-VNNI";
  const Stored gate = make_matrix(Form::kUint4, 40, 128, 2, true, 1);
  const Stored up = make_matrix(Form::kUint4, 40, 128, 2, false, 2);
  const std::vector<StoredMatrix> matrices{gate.matrix, up.matrix};
  const PackedLinear linear(matrices, Combination::kSwiGlu);
  EXPECT_EQ(linear.output_dims(), (std::vector<std::int64_t>{40}));
  for (const std::int64_t num_tokens : {1, 5, 37}) {
    std::vector<float> x = random_rows(num_tokens * 128, 9);
    for (float& value : x) value *= 10.0F;  // far into both ends of the sigmoid
    std::vector<float> expected = multiply(gate, x);
    const std::vector<float> factor = multiply(up, x);
    for (std::size_t i = 0; i < expected.size(); ++i) expected[i] *= factor[i] / (1.0F + std::exp(-expected[i]));
    std::vector<float> found(expected.size());
    float* const output = found.data();
    linear.run(x.data(), num_tokens, {&output, 1});
    EXPECT_LT(relative_error(found, expected), 2 * kTolerance);
  }
}

/// Rows [begin, end) of a dense matrix of that width.
std::vector<float> rows_of(const std::vector<float>& matrix, std::int64_t width, std::int64_t begin, std::int64_t end) {
  return {matrix.begin() + begin * width, matrix.begin() + end * width};
}

TEST(PackedLinear, LongStepsComeInPiecesOfTokensRowsAndColumns) {
  if (!PackedLinear::is_available()) GTEST_SKIP() << "this processor has no AVX512-VNNI";
  // More tokens than go over the weights at a time, columns in two pieces, more rows than are summed side by side.
  constexpr std::int64_t kTokens = 531;
  constexpr std::int64_t kColumns = 640;
  const Stored wide = make_matrix(Form::kUint4, 1072, kColumns, 20, true, 1);
  const Stored odd = make_matrix(Form::kUint4, 7, kColumns, 20, false, 2);
  const std::vector<StoredMatrix> matrices{wide.matrix, odd.matrix};
  const PackedLinear linear(matrices, Combination::kSeparate);
  const std::vector<float> x = random_rows(kTokens * kColumns, 7);
  std::vector<float> found(kTokens * 1072);
  std::vector<float> found_odd(kTokens * 7);
  const std::vector<float*> outputs{found.data(), found_odd.data()};
  linear.run(x.data(), kTokens, outputs);
  for (const auto& [begin, end] : {std::pair{0, 2}, std::pair{270, 290}, std::pair{510, 514}, std::pair{529, 531}}) {
    const std::vector<float> part = rows_of(x, kColumns, begin, end);
    EXPECT_LT(relative_error(rows_of(found, 1072, begin, end), multiply(wide, part)), kTolerance) << begin;
    EXPECT_LT(relative_error(rows_of(found_odd, 7, begin, end), multiply(odd, part)), kTolerance) << begin;
  }
}

TEST(PackedLinear, AGatedLayerAndTheOneBehindItGiveWhatBothGiveByThemselves) {
  if (!PackedLinear::is_available()) GTEST_SKIP() << "this processor has no AVX512-VNNI";
  for (const bool has_bias : {false, true}) {
    const Stored gate = make_matrix(Form::kUint4, 96, 64, 2, has_bias, 1);
    const Stored up = make_matrix(Form::kUint4, 96, 64, 2, has_bias, 2);
    const Stored down = make_matrix(Form::kUint8, 21, 96, 3, has_bias, 3);
    const std::vector<StoredMatrix> matrices{gate.matrix, up.matrix};
    const PackedLinear gated(matrices, Combination::kSwiGlu);
    const PackedLinear next({&down.matrix, 1}, Combination::kSeparate);
    EXPECT_TRUE(gated.is_gated());
    EXPECT_FALSE(next.is_gated());
    for (const std::int64_t num_tokens : {0, 1, 5, 32, 33, 70, 520}) {
      const std::vector<float> x = random_rows(num_tokens * 64, 9);
      std::vector<float> between(static_cast<std::size_t>(num_tokens * 96));
      float* const middle = between.data();
      gated.run(x.data(), num_tokens, {&middle, 1});
      std::vector<float> expected(static_cast<std::size_t>(num_tokens * 21));
      float* const output = expected.data();
      next.run(between.data(), num_tokens, {&output, 1});
      std::vector<float> found(expected.size() + 1, 12345.0F);
      gated.run_gated(x.data(), num_tokens, next, found.data());
      EXPECT_EQ(found.back(), 12345.0F) << "written past the end";
      found.pop_back();
      EXPECT_EQ(found, expected) << num_tokens << " tokens";
    }
  }
}

#if defined(__x86_64__)
PAJAMAS_VNNI void silu_of_sixteen(const float* x, float* result) { _mm512_storeu_ps(result, silu(_mm512_loadu_ps(x))); }

TEST(PackedLinear, SiluIsThatOfTheStandardLibrary) {
  if (!PackedLinear::is_available()) GTEST_SKIP() << "this processor has no AVX512-VNNI";
  for (float begin = -80.0F; begin < 90.0F; begin += 0.37F) {
    float x[16];
    float found[16];
    for (int i = 0; i < 16; ++i) x[i] = begin + 0.021F * static_cast<float>(i);
    silu_of_sixteen(x, found);
    for (int i = 0; i < 16; ++i) {
      const double expected = static_cast<double>(x[i]) / (1.0 + std::exp(-static_cast<double>(x[i])));
      // Rounding of the exponent's argument and of log2(e) comes on top of the kernel's own error.
      const double bound = (4e-7 + 1e-7 * std::abs(static_cast<double>(x[i]))) * std::abs(expected) + 1e-37;
      ASSERT_NEAR(static_cast<double>(found[i]), expected, bound) << x[i];
    }
  }
  const float ends[16] = {-INFINITY, -1e30F, -200.0F, 0.0F, 200.0F, 1e30F, INFINITY, NAN};
  float found[16];
  silu_of_sixteen(ends, found);
  EXPECT_NEAR(found[2], 0.0F, 1e-30F);
  EXPECT_EQ(found[3], 0.0F);
  EXPECT_EQ(found[4], 200.0F);
  EXPECT_EQ(found[5], 1e30F);
  EXPECT_EQ(found[6], INFINITY);
  EXPECT_TRUE(std::isnan(found[7]));
}
#endif

TEST(PackedLinear, ActivationsOfZeroGiveTheBias) {
  if (!PackedLinear::is_available()) GTEST_SKIP() << "this processor has no AVX512-VNNI";
  const Stored stored = make_matrix(Form::kInt8, 20, 64, 1, true, 1);
  const PackedLinear linear({&stored.matrix, 1}, Combination::kSeparate);
  const std::vector<float> x(64, 0.0F);
  std::vector<float> found(20);
  float* const output = found.data();
  linear.run(x.data(), 1, {&output, 1});
  EXPECT_EQ(found, stored.matrix.bias);
}

TEST(PackedLinear, RefusesWhatItsFormCannotHold) {
  Stored stored = make_matrix(Form::kUint4, 16, 96, 4, false, 1);
  EXPECT_FALSE(PackedLinear::can_pack(stored.matrix)) << "groups of 24 columns";
  stored = make_matrix(Form::kUint4, 16, 40, 1, false, 1);
  EXPECT_FALSE(PackedLinear::can_pack(stored.matrix)) << "40 columns are no groups of 32";
  stored = make_matrix(Form::kUint4, 16, 96, 3, false, 1);
  stored.matrix.scales[5] = 1e-7F;
  EXPECT_TRUE(PackedLinear::can_pack(stored.matrix)) << "one group of nothing";
  for (float& scale : stored.matrix.scales) scale *= 1e-4F;
  for (float& offset : stored.matrix.offsets) offset *= 1e-4F;
  EXPECT_FALSE(PackedLinear::can_pack(stored.matrix)) << "float16 has no such scales";
  stored = make_matrix(Form::kInt8, 16, 96, 3, false, 1);
  stored.matrix.scales[5] = 600.0F;
  EXPECT_FALSE(PackedLinear::can_pack(stored.matrix)) << "nor an offset of 76,800";
}

}  // namespace
}  // namespace pajamas::openvino
