// Conversions to and from E4M3FN over every float16, against the nearest of the 127 magnitudes that the format's
// definition gives.
#include "tensor/float8.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tensor/half.h"

namespace pajamas {
namespace {

double magnitude_of(int code) {
  const int exponent = code / 8;
  return exponent == 0 ? std::ldexp(code % 8, -9) : std::ldexp(8 + code % 8, exponent - 10);
}

/// By trying all magnitudes; of two equally near the even code.
int nearest_code(double size) {
  int best = 0;
  for (int code = 1; code < 127; ++code) {
    const double here = std::fabs(magnitude_of(code) - size);
    const double there = std::fabs(magnitude_of(best) - size);
    if (here < there || (here == there && code % 2 == 0)) best = code;
  }
  return best;
}

TEST(Float8, every_half_is_rounded_to_the_nearest) {
  for (unsigned bits = 0; bits < 65536; ++bits) {
    const float value = float_from_float16(static_cast<std::uint16_t>(bits));
    const unsigned actual = float8_e4m3_from_float(value);
    if (std::isnan(value)) {
      EXPECT_EQ(actual, 0x7fU) << bits;
      continue;
    }
    const double size = std::isinf(value) ? 1e9 : std::fabs(static_cast<double>(value));
    const unsigned expected = static_cast<unsigned>(nearest_code(size)) | (std::signbit(value) ? 0x80U : 0U);
    ASSERT_EQ(actual, expected) << value;
  }
}

TEST(Float8, every_code_is_read_as_defined) {
  for (unsigned code = 0; code < 256; ++code) {
    const float value = float_from_float8_e4m3(static_cast<std::uint8_t>(code));
    if ((code & 0x7fU) == 0x7fU) {
      EXPECT_TRUE(std::isnan(value));
      continue;
    }
    EXPECT_EQ(std::fabs(static_cast<double>(value)), magnitude_of(static_cast<int>(code & 0x7fU)));
    EXPECT_EQ(std::signbit(value), (code & 0x80U) != 0);
    EXPECT_EQ(float8_e4m3_from_float(value), code);
  }
  EXPECT_EQ(float_from_float8_e4m3(0x7e), kMaxFloat8E4M3);
}

TEST(Float8, numbers_between_halves_decide_ties) {
  // A hair above and below the middle of 1 and 1.125, which float16 cannot tell apart from it.
  EXPECT_EQ(float8_e4m3_from_float(1.0625F), 0x38);
  EXPECT_EQ(float8_e4m3_from_float(std::nextafter(1.0625F, 2.0F)), 0x39);
  EXPECT_EQ(float8_e4m3_from_float(1.1875F), 0x3a);
  EXPECT_EQ(float8_e4m3_from_float(std::nextafter(1.1875F, 0.0F)), 0x39);
  EXPECT_EQ(float8_e4m3_from_float(0x1p-10F), 0x00);
  EXPECT_EQ(float8_e4m3_from_float(std::nextafter(0x1p-10F, 1.0F)), 0x01);
  EXPECT_EQ(float8_e4m3_from_float(464.0F), 0x7e);
  EXPECT_EQ(float8_e4m3_from_float(std::numeric_limits<float>::max()), 0x7e);
  EXPECT_EQ(float8_e4m3_from_float(-std::numeric_limits<float>::infinity()), 0xfe);
  EXPECT_EQ(float8_e4m3_from_float(std::numeric_limits<float>::denorm_min()), 0x00);
}

}  // namespace
}  // namespace pajamas
