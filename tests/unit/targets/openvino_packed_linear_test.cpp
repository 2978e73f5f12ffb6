// Packed linear layers against plain loops: every form of weights, odd numbers of rows and tokens, biases, SwiGLU.
#include "targets/openvino/packed_linear.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <string>

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
