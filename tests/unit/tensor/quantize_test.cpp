// Tests of tensor/quantize.h against plain double-precision references that share no code with it, and of
// base/parallel.h under it.
#include "tensor/quantize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "base/parallel.h"
#include "pajamas/error.h"
#include "tensor/half.h"

namespace pajamas {
namespace {

constexpr unsigned kSeed = 7;

std::vector<float> random_weights(std::size_t count, float deviation = 0.02F) {
  std::mt19937 random(kSeed);
  std::normal_distribution<float> normal(0, deviation);
  std::vector<float> weights(count);
  for (float& weight : weights) weight = normal(random);
  return weights;
}

struct Result {
  BlockWeight weight;
  std::vector<float> values;
  QuantizationError error;
};

Result quantize(const QuantizedForm& form, const std::vector<float>& rows, std::int64_t in_dim) {
  const auto out_dim = static_cast<std::int64_t>(rows.size()) / in_dim;
  Result result;
  result.weight = allocate_block_weight(form, out_dim, in_dim);
  result.error = quantize_rows(form, rows, 0, result.weight);
  check_block_weight(result.weight);
  result.values.resize(rows.size());
  dequantize_rows(result.weight, 0, out_dim, result.values);
  return result;
}

double squared_error(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    sum += (static_cast<double>(a[i]) - b[i]) * (static_cast<double>(a[i]) - b[i]);
  return sum;
}

/// Round to nearest on a grid of `scale` with integers [low, high] and a zero point; the textbook way.
double error_on_grid(std::span<const float> x, double scale, double low, double high, double zero_point) {
  double sum = 0;
  for (const float value : x) {
    const double q = std::clamp(std::nearbyint(value / scale) + zero_point, low, high);
    sum += std::pow((q - zero_point) * scale - value, 2);
  }
  return sum;
}

TEST(Quantize, Int8PerRowRoundsToTheNearestOf255Steps) {
  const std::int64_t in_dim = 77;
  const auto rows = random_weights(3 * 77);
  const Result result = quantize(kInt8PerRow, rows, in_dim);
  const auto integers = result.weight.values.as<std::int8_t>();
  for (std::size_t r = 0; r < 3; ++r) {
    float largest = 0;
    for (std::size_t i = 0; i < 77; ++i) largest = std::max(largest, std::fabs(rows[r * 77 + i]));
    EXPECT_FLOAT_EQ(result.weight.scales.as<float>()[r], largest / 127);
    for (std::size_t i = 0; i < 77; ++i) {
      const double exact = static_cast<double>(rows[r * 77 + i]) / (static_cast<double>(largest) / 127);
      EXPECT_NEAR(integers[r * 77 + i], exact, 0.5001) << "row " << r << " column " << i;
    }
  }
}

TEST(Quantize, ErrorsAreThoseOfTheDequantizedValues) {
  for (const QuantizedForm form :
       {kInt8PerRow, kInt8PerGroup, kInt4PerGroup, kInt4SymmetricPerGroup, kInt4WithMinimums, kFloat8PerRow}) {
    const auto rows = random_weights(5 * 256);
    const Result result = quantize(form, rows, 256);
    const double expected = squared_error(result.values, rows);
    EXPECT_NEAR(result.error.squared_error, expected, 1e-4 * expected) << to_string(form.values);
    EXPECT_NEAR(result.error.squared_weight, squared_error(rows, std::vector<float>(rows.size())),
                1e-4 * result.error.squared_weight);
    double largest = 0;
    for (std::size_t i = 0; i < rows.size(); ++i)
      largest = std::max(largest, std::fabs(static_cast<double>(result.values[i]) - rows[i]));
    EXPECT_NEAR(result.error.max_error, largest, 1e-6);
  }
}

TEST(Quantize, ChoosesTheRangeOfLeastErrorAmongThoseItTries) {
  // The reference tries the same parts of the range by the textbook formula. Scales are float16 in both.
  const auto rows = random_weights(16 * 128);
  const Result asymmetric = quantize(kInt4PerGroup, rows, 128);
  const Result symmetric = quantize(kInt4SymmetricPerGroup, rows, 128);
  const auto half = [](double scale) { return float_from_float16(float16_from_float(static_cast<float>(scale))); };
  double total_asymmetric = 0, total_symmetric = 0, full_range = 0;
  for (std::size_t r = 0; r < 16; ++r) {
    const auto row = std::span(rows).subspan(r * 128, 128);
    const double low = std::min(0.0F, *std::min_element(row.begin(), row.end()));
    const double high = std::max(0.0F, *std::max_element(row.begin(), row.end()));
    double best_asymmetric = 1e30, best_symmetric = 1e30;
    for (int k = 0; k < kInt4PerGroup.num_ranges; ++k) {
      const double part = 1 - (1.0 - static_cast<double>(kMinRange)) * k / (kInt4PerGroup.num_ranges - 1);
      const double scale = half((high - low) * part / 15);
      const double zero_point = std::clamp(std::nearbyint(-low * part / scale), 0.0, 15.0);
      best_asymmetric = std::min(best_asymmetric, error_on_grid(row, scale, 0, 15, zero_point));
      best_symmetric = std::min(best_symmetric, error_on_grid(row, half(std::max(-low, high) * part / 7), -8, 7, 0));
      if (k == 0) full_range += error_on_grid(row, scale, 0, 15, zero_point);
    }
    total_asymmetric += best_asymmetric;
    total_symmetric += best_symmetric;
  }
  EXPECT_NEAR(asymmetric.error.squared_error, total_asymmetric, 2e-3 * total_asymmetric);
  EXPECT_NEAR(symmetric.error.squared_error, total_symmetric, 2e-3 * total_symmetric);
  EXPECT_LT(asymmetric.error.squared_error, 0.97 * full_range);
}

TEST(Quantize, MinimumsFindAGridThatIsThere) {
  // Groups of 32 on grids of their own, none of which holds zero, as a file in Q4_1 has them.
  std::mt19937 random(kSeed);
  const auto half = [](float value) { return float_from_float16(float16_from_float(value)); };
  std::vector<float> rows(4 * 96);
  for (std::size_t begin = 0; begin < rows.size(); begin += 32) {
    const float scale = half(0.001F + 0.0001F * static_cast<float>(random() % 64));
    const float minimum = half(-0.037F * static_cast<float>(1 + random() % 3));
    for (std::size_t i = 0; i < 32; ++i) {
      const unsigned q = i == 3 ? 0 : i == 17 ? 15 : static_cast<unsigned>(random() % 16);
      rows[begin + i] = static_cast<float>(q) * scale + minimum;
    }
  }
  QuantizedForm form = kInt4WithMinimums;
  form.group_size = 32;
  const Result exact = quantize(form, rows, 96);
  EXPECT_EQ(exact.values, rows);
  EXPECT_EQ(exact.error.squared_error, 0);
  form = kInt4PerGroup;
  form.group_size = 32;
  EXPECT_GT(quantize(form, rows, 96).error.relative(), 0.01) << "zero points are whole steps";
}

TEST(Quantize, MinimumsAreNearTheBestThereAre) {
  // The reference tries all pairs of a fine lattice of scales and minimums, in double precision.
  const std::size_t size = 16;
  const auto rows = random_weights(12 * size);
  std::vector<float> importance(size);
  for (std::size_t i = 0; i < size; ++i) importance[i] = i % 5 == 0 ? 4.0F : 1.0F;
  QuantizedForm form = kInt4WithMinimums;
  form.group_size = static_cast<std::int64_t>(size);
  BlockWeight weight = allocate_block_weight(form, 12, static_cast<std::int64_t>(size));
  quantize_rows(form, rows, 0, weight, importance);
  std::vector<float> values(rows.size());
  dequantize_rows(weight, 0, 12, values);
  double found = 0, best = 0, plain = 0;
  for (std::size_t r = 0; r < 12; ++r) {
    const auto row = std::span(rows).subspan(r * size, size);
    const double low = *std::min_element(row.begin(), row.end()), high = *std::max_element(row.begin(), row.end());
    double least = 1e30;
    for (int a = 0; a <= 60; ++a) {
      for (int b = 0; b <= 60; ++b) {
        const double scale = (high - low) / 15 * (0.6 + 0.45 * a / 60), minimum = low + (high - low) * (b - 5) / 120;
        double error = 0;
        for (std::size_t i = 0; i < size; ++i) {
          const double q = std::clamp(std::nearbyint((row[i] - minimum) / scale), 0.0, 15.0);
          error += static_cast<double>(importance[i]) * std::pow(q * scale + minimum - row[i], 2);
        }
        least = std::min(least, error);
        if (a == 53 && b == 5) plain += error;  // nearly the full range
      }
    }
    best += least;
    for (std::size_t i = 0; i < size; ++i) {
      const double error = static_cast<double>(values[r * size + i]) - row[i];
      found += static_cast<double>(importance[i]) * error * error;
    }
  }
  EXPECT_LT(found, 1.3 * best);
  EXPECT_LT(found, 0.7 * plain);
}

TEST(Quantize, ZeroStaysZeroAndOneSidedGroupsUseTheWholeRange) {
  std::vector<float> rows(2 * 128);
  for (std::size_t i = 0; i < 128; ++i) rows[i] = 1 + static_cast<float>(i) / 128;  // all positive
  for (std::size_t i = 0; i < 128; ++i)
    rows[128 + i] = i % 3 == 0 ? 0.0F : -0.5F - static_cast<float>(i);  // with zeros
  const Result result = quantize(kInt4PerGroup, rows, 128);
  for (std::size_t i = 0; i < 128; i += 3) EXPECT_EQ(result.values[128 + i], 0);
  EXPECT_EQ(std::to_integer<int>(result.weight.zero_points.bytes()[0]), 0xF0);  // 0 and 15
  EXPECT_LT(result.error.relative(), 0.06);
}

TEST(Quantize, Float8TakesTheNearestCode) {
  auto row = random_weights(300, 1);
  for (std::size_t i = 0; i < 100; ++i) row[i] *= 1e-3F * static_cast<float>(i);  // into the subnormal codes
  const Result result = quantize(kFloat8PerRow, row, 300);
  BlockWeight all;
  all.values = Tensor(DType::kFloat8E4M3Fn, {1, 256});
  for (int i = 0; i < 256; ++i) all.values.mutable_bytes()[static_cast<std::size_t>(i)] = static_cast<std::byte>(i);
  all.scales = result.weight.scales;
  std::vector<float> codes(256);
  dequantize_rows(all, 0, 1, codes);
  for (std::size_t i = 0; i < row.size(); ++i) {
    double best = 1e30;
    for (const float code : codes) {
      if (std::isfinite(code)) best = std::min(best, std::fabs(static_cast<double>(code) - row[i]));
    }
    EXPECT_NEAR(std::fabs(static_cast<double>(result.values[i]) - row[i]), best, 1e-7 * std::fabs(row[i]) + 1e-12) << i;
  }
}

TEST(Quantize, OddSizesZerosAndExtremes) {
  for (const QuantizedForm wanted :
       {kInt8PerRow, kInt8PerGroup, kInt4PerGroup, kInt4SymmetricPerGroup, kInt4WithMinimums, kFloat8PerRow}) {
    for (const std::int64_t in_dim : {1, 7, 17, 32, 48, 576, 640}) {
      const QuantizedForm form = fit_form(wanted, in_dim);
      const auto rows = random_weights(static_cast<std::size_t>(3 * in_dim));
      const Result result = quantize(form, rows, in_dim);
      EXPECT_LT(result.error.relative(), form.values == DType::kInt8 ? 0.02 : 0.2)
          << to_string(form.values) << " in_dim " << in_dim << " group " << form.group_size;
      // Each row alone gives what it gives among others.
      for (std::int64_t r = 0; r < 3; ++r) {
        const std::vector<float> row(rows.begin() + r * in_dim, rows.begin() + (r + 1) * in_dim);
        const Result alone = quantize(form, row, in_dim);
        EXPECT_EQ(
            std::memcmp(alone.values.data(), result.values.data() + r * in_dim, static_cast<std::size_t>(in_dim) * 4),
            0);
      }
    }
    const Result zeros = quantize(wanted, std::vector<float>(256), 128);
    EXPECT_THAT(zeros.values, testing::Each(0.0F));
    EXPECT_EQ(zeros.error.relative(), 0);
    // Scales at both ends of what a float16 holds.
    for (const float size : {1e-9F, 1e4F}) {
      const Result extreme = quantize(wanted, random_weights(256, size), 128);
      for (const float value : extreme.values) ASSERT_TRUE(std::isfinite(value));
    }
    for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
      auto rows = random_weights(256);
      rows[200] = bad;
      EXPECT_THROW(quantize(wanted, rows, 128), Error);
    }
  }
  EXPECT_THROW(allocate_block_weight(kInt8PerGroup, 1, 100), Error);
  EXPECT_THROW(allocate_block_weight({DType::kFloat32}, 1, 100), Error);
  EXPECT_THROW(allocate_block_weight({DType::kInt8, 0, DType::kFloat32, 1, true}, 1, 100), Error);
  BlockWeight weight = allocate_block_weight(kInt8PerRow, 2, 4);
  EXPECT_THROW(quantize_rows(kInt8PerRow, std::vector<float>(8), 1, weight), Error);
  EXPECT_THROW(quantize_rows(kInt8PerRow, std::vector<float>(3), 0, weight), Error);
  EXPECT_THROW(quantize_rows(kInt4PerGroup, std::vector<float>(4), 0, weight), Error);
}

TEST(Quantize, FormsFitTheRow) {
  EXPECT_EQ(fit_form(kInt4PerGroup, 4096).group_size, 128);
  EXPECT_EQ(fit_form(kInt4PerGroup, 576).group_size, 64);
  EXPECT_EQ(fit_form(kInt4PerGroup, 48).group_size, 16);
  EXPECT_EQ(fit_form(kInt4PerGroup, 100).group_size, 0);
  EXPECT_EQ(fit_form(kInt4PerGroup, 64).group_size, 64);
  EXPECT_EQ(fit_form(kInt8PerRow, 100), kInt8PerRow);
}

TEST(Quantize, MatricesDoNotDependOnThreads) {
  // 9 groups a row: zero points of two rows share bytes.
  const std::int64_t out_dim = 501, in_dim = 576;
  const QuantizedForm form = fit_form(kInt4PerGroup, in_dim);
  const auto rows = random_weights(static_cast<std::size_t>(out_dim * in_dim));
  const RowReader read = [&](std::int64_t begin, std::int64_t count, std::span<float> out) {
    std::copy_n(rows.begin() + begin * in_dim, count * in_dim, out.begin());
  };
  QuantizationError one_error, four_error;
  const BlockWeight one = quantize_matrix(read, out_dim, in_dim, form, 1, one_error);
  const BlockWeight four = quantize_matrix(read, out_dim, in_dim, form, 4, four_error);
  const auto same = [](const Tensor& a, const Tensor& b) {
    return a.size_bytes() == b.size_bytes() && std::memcmp(a.bytes().data(), b.bytes().data(), a.size_bytes()) == 0;
  };
  EXPECT_TRUE(same(one.values, four.values));
  EXPECT_TRUE(same(one.scales, four.scales));
  EXPECT_TRUE(same(one.zero_points, four.zero_points));
  EXPECT_EQ(one_error.squared_error, four_error.squared_error);
  EXPECT_NEAR(one_error.relative(), 0.08, 0.03);

  CancelToken cancel;
  cancel.cancel();
  const Progress progress{nullptr, &cancel};
  EXPECT_THROW(quantize_matrix(read, out_dim, in_dim, form, 4, one_error, progress), Error);
}

TEST(ParallelFor, CallsEachIndexOnceAndStopsAtAnException) {
  for (const int num_threads : {0, 1, 3, 100}) {
    std::vector<std::atomic<int>> calls(57);
    parallel_for(57, num_threads, [&](std::int64_t i) { ++calls[static_cast<std::size_t>(i)]; });
    for (const auto& count : calls) EXPECT_EQ(count, 1);
  }
  parallel_for(0, 4, [](std::int64_t) { FAIL(); });
  std::atomic<int> num_calls = 0;
  EXPECT_THROW(parallel_for(1'000'000, 4,
                            [&](std::int64_t i) {
                              ++num_calls;
                              if (i == 10) throw Error(ErrorKind::kInternal, "stop");
                            }),
               Error);
  EXPECT_LT(num_calls, 1'000'000);
}

}  // namespace
}  // namespace pajamas
