// Tests of tensor/half.h: every float16 value there and back, rounding, and the bulk forms against the single ones.
#include "tensor/half.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace pajamas {
namespace {

TEST(Half, EveryFloat16SurvivesTheWayThroughFloat) {
  for (std::uint32_t bits = 0; bits < 0x10000U; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float value = float_from_float16(half);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(float_from_float16(float16_from_float(value))));
    } else {
      EXPECT_EQ(float16_from_float(value), half);
    }
  }
}

TEST(Half, RoundsToNearestTiesToEven) {
  // Between 1 and 1 + 2^-10 lies 1 + 2^-11: a tie, which goes to the even neighbour 1.
  EXPECT_EQ(float16_from_float(1.0F + 0x1p-11F), 0x3c00);
  EXPECT_EQ(float16_from_float(1.0F + 3 * 0x1p-11F), 0x3c02);
  EXPECT_EQ(float16_from_float(std::nextafter(1.0F + 0x1p-11F, 2.0F)), 0x3c01);
  EXPECT_EQ(float16_from_float(65504.0F), 0x7bff);
  EXPECT_EQ(float16_from_float(65519.99F), 0x7bff);
  EXPECT_EQ(float16_from_float(65520.0F), 0x7c00);
  EXPECT_EQ(float16_from_float(-1e10F), 0xfc00);
  EXPECT_EQ(float16_from_float(0x1p-25F), 0x0000);  // a tie with zero
  EXPECT_EQ(float16_from_float(std::nextafter(0x1p-25F, 1.0F)), 0x0001);
  EXPECT_EQ(float16_from_float(-0.0F), 0x8000);
}

TEST(Half, BulkConversionAgreesWithTheSingleOneAtOddSizes) {
  for (const std::size_t size : {0U, 1U, 7U, 8U, 9U, 31U, 1000U}) {
    std::vector<float> in(size);
    for (std::size_t i = 0; i < size; ++i)
      in[i] = std::sin(static_cast<float>(i) * 1.7F) * std::exp2(static_cast<float>(i % 40) - 26.0F);
    std::vector<std::uint16_t> out(size);
    convert_float_to_float16(in, out);
    std::vector<float> back(size);
    convert_float16_to_float(out, back);
    for (std::size_t i = 0; i < size; ++i) {
      EXPECT_EQ(out[i], float16_from_float(in[i])) << "at " << i << " of " << size;
      EXPECT_EQ(back[i], float_from_float16(out[i])) << "at " << i << " of " << size;
    }
  }
}

TEST(Half, Bfloat16RoundsAndKeepsNan) {
  EXPECT_EQ(bfloat16_from_float(1.0F), 0x3f80);
  EXPECT_EQ(bfloat16_from_float(1.0F + 0x1p-8F), 0x3f80);
  EXPECT_EQ(bfloat16_from_float(1.0F + 3 * 0x1p-8F), 0x3f82);
  EXPECT_TRUE(std::isnan(float_from_bfloat16(bfloat16_from_float(std::numeric_limits<float>::quiet_NaN()))));
  EXPECT_EQ(float_from_bfloat16(bfloat16_from_float(std::numeric_limits<float>::infinity())),
            std::numeric_limits<float>::infinity());
}

}  // namespace
}  // namespace pajamas
