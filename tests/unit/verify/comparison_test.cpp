// Tests of verify/comparison.h and verify/tolerances.h with planted errors; figures are worked out by hand.
#include "verify/comparison.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "pajamas/error.h"
#include "tensor/half.h"
#include "verify/tolerances.h"

namespace pajamas {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

bool is_within(const Comparison& comparison, Precision precision = Precision::kFp32) {
  return !past_tolerance(comparison, tolerance(precision, OperatorClass::kNetwork)).has_value();
}

Tensor random_tensor(const Shape& shape, double scale = 1, unsigned seed = 7) {
  std::mt19937 generator(seed);
  std::normal_distribution<double> normal(0, scale);
  Tensor tensor(DType::kFloat32, shape);
  for (auto& value : tensor.mutable_as<float>()) value = static_cast<float>(normal(generator));
  return tensor;
}

Tensor rounded(const Tensor& tensor, DType dtype) {
  Tensor out(DType::kFloat32, tensor.shape());
  const auto in = tensor.as<float>();
  auto values = out.mutable_as<float>();
  for (std::size_t i = 0; i < in.size(); ++i) {
    values[i] = dtype == DType::kFloat16 ? float_from_float16(float16_from_float(in[i]))
                                         : float_from_bfloat16(bfloat16_from_float(in[i]));
  }
  return out;
}

TEST(Comparison, GivesTheFiguresOfAKnownError) {
  const auto expected = Tensor::of<float>({2, 2}, {3, 4, 0, 100});
  const auto actual = Tensor::of<float>({2, 2}, {3, 4, 0.5F, 101});
  const auto c = compare("y", expected, actual);
  EXPECT_DOUBLE_EQ(c.max_abs, 1);
  EXPECT_DOUBLE_EQ(c.max_rel, 0.5);  // absolute below one, and 1/100 above
  EXPECT_NEAR(c.relative_l2, std::sqrt(1.25) / std::sqrt(10025), 1e-12);
  EXPECT_NEAR(c.cosine, (9 + 16 + 10100) / (std::sqrt(10025.0) * std::sqrt(9 + 16 + 0.25 + 10201)), 1e-12);
  EXPECT_THAT(c.worst_index, ElementsAre(1, 0));
  EXPECT_DOUBLE_EQ(c.worst_expected, 0);
  EXPECT_DOUBLE_EQ(c.worst_actual, 0.5);
  EXPECT_DOUBLE_EQ(c.p50_abs, 0);
  EXPECT_DOUBLE_EQ(c.argmax_agreement, 1);
  EXPECT_FALSE(is_within(c));
  EXPECT_THAT(describe(c), HasSubstr("expected 0, got 0.5"));
}

TEST(Comparison, PassesEqualTensorsOfAnySize) {
  for (const Shape& shape :
       {Shape{}, Shape{1}, Shape{0}, Shape{3, 0, 2}, Shape{7}, Shape{1, 3, 5, 7}, Shape{1, 5, 33}}) {
    const auto tensor = random_tensor(shape);
    const auto c = compare("y", tensor, tensor);
    EXPECT_TRUE(is_within(c)) << shape.to_string();
    EXPECT_EQ(c.max_abs, 0) << shape.to_string();
    EXPECT_NEAR(c.cosine, 1, 1e-12) << shape.to_string();
    EXPECT_TRUE(c.worst_index.empty()) << shape.to_string();
  }
}

TEST(Comparison, FindsOneWrongElementAmongMany) {
  const auto expected = random_tensor({1, 100'003});
  auto actual = expected;
  actual.mutable_as<float>()[54'321] += 0.01F;
  const auto c = compare("y", expected, actual);
  EXPECT_THAT(c.worst_index, ElementsAre(0, 54'321));
  EXPECT_LT(c.relative_l2, 1e-4);  // which alone would have let it pass
  EXPECT_FALSE(is_within(c));
}

TEST(Comparison, CountsNanAndInfinityOnOneSideOnly) {
  const auto expected = Tensor::of<float>({5}, {kNan, kInfinity, -kInfinity, 1, 2});
  EXPECT_TRUE(is_within(compare("y", expected, expected)));
  const auto actual = Tensor::of<float>({5}, {kNan, -kInfinity, -kInfinity, kNan, 2});
  const auto c = compare("y", expected, actual);
  EXPECT_EQ(c.num_mismatched, 2);
  EXPECT_THAT(c.worst_index, ElementsAre(1));
  for (const auto precision : {Precision::kFp32, Precision::kFp16, Precision::kBf16}) {
    EXPECT_FALSE(is_within(c, precision));
  }
  EXPECT_EQ(to_json(c).at("worst").at("actual"), "-inf");
}

TEST(Comparison, RefusesOtherShapesAndKinds) {
  const auto a = Tensor::of<float>({2, 3}, {1, 2, 3, 4, 5, 6});
  const auto c = compare("y", a, a.reshaped({3, 2}));
  EXPECT_THAT(c.mismatch, HasSubstr("expected shape [2, 3], got [3, 2]"));
  EXPECT_FALSE(is_within(c));
  EXPECT_FALSE(compare("y", a, Tensor::of<std::int32_t>({2, 3}, {1, 2, 3, 4, 5, 6})).mismatch.empty());
  EXPECT_THROW(compare("y", a, Tensor()), Error);
}

TEST(Comparison, ComparesIntegersBooleansAndStringsExactly) {
  const auto a = Tensor::of<std::int64_t>({3}, {1, INT64_MAX, -5});
  EXPECT_TRUE(is_within(compare("y", a, a)));
  const auto off_by_one = Tensor::of<std::int64_t>({3}, {1, INT64_MAX - 1, -5});
  const auto c = compare("y", a, off_by_one);
  EXPECT_EQ(c.num_mismatched, 1);
  EXPECT_FALSE(is_within(c));
  EXPECT_TRUE(is_within(compare("y", Tensor::of<std::int64_t>({2}, {7, -7}), Tensor::of<std::int32_t>({2}, {7, -7}))));
  EXPECT_FALSE(is_within(compare("y", Tensor::of<bool>({2}, {true, false}), Tensor::of<bool>({2}, {true, true}))));
  EXPECT_FALSE(is_within(compare("y", Tensor({2}, {"a", "b"}), Tensor({2}, {"a", "c"}))));
  EXPECT_TRUE(is_within(compare("y", Tensor({2}, {"a", "b"}), Tensor({2}, {"a", "b"}))));
}

TEST(Comparison, JudgesRoundedTensorsByTheirPrecision) {
  const auto expected = random_tensor({64, 257}, 3);
  const auto half = compare("y", expected, rounded(expected, DType::kFloat16));
  const auto brain = compare("y", expected, rounded(expected, DType::kBfloat16));
  EXPECT_FALSE(is_within(half, Precision::kFp32));
  EXPECT_TRUE(is_within(half, Precision::kFp16));
  EXPECT_FALSE(is_within(brain, Precision::kFp32));
  EXPECT_TRUE(is_within(brain, Precision::kBf16));
  // One rounding is all that a copy may cost.
  EXPECT_FALSE(past_tolerance(half, tolerance(Precision::kFp16, OperatorClass::kCopy)).has_value());
  EXPECT_TRUE(past_tolerance(brain, tolerance(Precision::kFp16, OperatorClass::kCopy)).has_value());
  // A model that went wrong is past every precision.
  const auto other = compare("y", expected, random_tensor({64, 257}, 3, 8));
  EXPECT_FALSE(is_within(other, Precision::kBf16));
  EXPECT_THROW(tolerance(Precision::kAuto, OperatorClass::kNetwork), Error);
}

TEST(Comparison, SeesSmallChannelsBesideLargeOnes) {
  // A detector's output: 4 channels of pixels, 6 of probabilities, which are all wrong here.
  const Shape shape{1, 10, 500};
  Tensor expected(DType::kFloat32, shape);
  auto values = expected.mutable_as<float>();
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = i < 4 * 500 ? 320.0F + static_cast<float>(i % 200) : 0.5F;
  Tensor actual = expected;
  auto wrong = actual.mutable_as<float>();
  for (std::size_t i = 4 * 500; i < wrong.size(); ++i) wrong[i] = 0.3F;
  const auto c = compare("y", expected, actual);
  ASSERT_EQ(c.channel_groups.size(), 2U);
  EXPECT_EQ(c.channel_groups[1].first_channel, 4);
  EXPECT_NEAR(c.channel_groups[1].rms_error, 0.2, 1e-6);
  EXPECT_LT(c.relative_l2, 1e-3);
  EXPECT_THAT(*past_tolerance(c, tolerance(Precision::kBf16, OperatorClass::kNetwork)), HasSubstr("channel 4"));
}

TEST(Comparison, MeasuresPixelsOnTheScaleOfTheirChannel) {
  // A box at the edge of a 640 pixel picture: its corner near 0 has the rounding error of hundreds.
  const Shape shape{1, 2, 400};
  Tensor expected(DType::kFloat32, shape);
  auto values = expected.mutable_as<float>();
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = i < 400 ? static_cast<float>(i) : 0.5F;
  Tensor actual = expected;
  actual.mutable_as<float>()[0] += 2e-3F;
  EXPECT_TRUE(is_within(compare("y", expected, actual)));
  // The same error in a channel of probabilities is one.
  actual = expected;
  actual.mutable_as<float>()[400] += 2e-3F;
  EXPECT_FALSE(is_within(compare("y", expected, actual)));
}

TEST(CompareRows, MatchesBoxesInAnyOrder) {
  const auto boxes = Tensor::of<float>({3, 4}, {0, 0, 10, 10, 20, 20, 30, 30, 5, 5, 9, 9});
  const auto labels = Tensor::of<std::int64_t>({3}, {1, 2, 3});
  const auto swapped = Tensor::of<float>({3, 4}, {20, 20, 30.01F, 30, 0, 0, 10, 10, 5, 5, 9, 9});
  const auto swapped_labels = Tensor::of<std::int64_t>({3}, {2, 1, 3});
  const auto results = compare_rows({{"boxes", boxes, swapped}, {"labels", labels, swapped_labels}}, 0, 1e-3);
  ASSERT_EQ(results.size(), 2U);
  EXPECT_EQ(results[0].num_rows_unmatched, 0);
  EXPECT_NEAR(results[0].max_abs, 0.01, 1e-5);
  EXPECT_TRUE(is_within(results[0]));
  // The same boxes with labels left in their order: joint matching sees that they belong to other boxes.
  const auto wrong = compare_rows({{"boxes", boxes, swapped}, {"labels", labels, labels}}, 0, 1e-3);
  EXPECT_EQ(wrong[0].num_rows_unmatched, 4);
  EXPECT_FALSE(is_within(wrong[0], Precision::kBf16));
}

TEST(CompareRows, CountsRowsOnOneSideOnly) {
  const auto a = Tensor::of<float>({2, 1}, {1, 2});
  const auto b = Tensor::of<float>({3, 1}, {1, 2, 50});
  EXPECT_EQ(compare_rows({{"y", a, b}}, 0, 1e-3)[0].num_rows_unmatched, 1);
  const Tensor none(DType::kFloat32, {0, 1});
  EXPECT_TRUE(is_within(compare_rows({{"y", none, none}}, 0, 1e-3)[0]));
  EXPECT_FALSE(is_within(compare_rows({{"y", none, a}}, 0, 1e-3)[0]));
  EXPECT_FALSE(is_within(compare_rows({{"y", a, none}}, 0, 1e-3)[0]));
}

TEST(CompareRows, MatchesWithinEachBatchAndRefusesMisfits) {
  const auto a = Tensor::of<float>({2, 2, 1}, {1, 2, 3, 4});
  const auto across = Tensor::of<float>({2, 2, 1}, {3, 4, 1, 2});
  const auto within = Tensor::of<float>({2, 2, 1}, {2, 1, 4, 3});
  EXPECT_EQ(compare_rows({{"y", a, within}}, 1, 1e-3)[0].num_rows_unmatched, 0);
  EXPECT_EQ(compare_rows({{"y", a, across}}, 1, 1e-3)[0].num_rows_unmatched, 8);
  EXPECT_FALSE(compare_rows({{"y", a, Tensor(DType::kFloat32, {2, 2, 2})}}, 1, 1e-3)[0].mismatch.empty());
  EXPECT_FALSE(compare_rows({{"y", Tensor::scalar(1.0F), Tensor::scalar(1.0F)}}, 0, 1e-3)[0].mismatch.empty());
  const Tensor many(DType::kFloat32, {kMaxRowsToMatch + 1, 1});
  EXPECT_THAT(compare_rows({{"y", many, many}}, 0, 1e-3)[0].mismatch, HasSubstr("too many"));
  EXPECT_TRUE(compare_rows({}, 0, 1e-3).empty());
}

}  // namespace
}  // namespace pajamas
