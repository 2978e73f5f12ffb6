// Choice of ranges, rounding and packing of weights. See quantize.h.
#include "tensor/quantize.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/parallel.h"
#include "base/vector_clones.h"
#include "pajamas/error.h"
#include "tensor/half.h"

namespace pajamas {
namespace {

#define PAJAMAS_INLINE inline __attribute__((always_inline))

/// Adding and subtracting it rounds a float below 2^22 to the nearest integer, ties to even, as one vector instruction
/// each; std::nearbyint has none in the baseline instruction set.
constexpr float kRounder = 12582912.0F;  // 1.5 * 2^23
/// Sums are kept in this many lanes, so that the compiler may add vectors: it does not reorder float sums on its own.
constexpr std::size_t kLanes = 16;
constexpr float kMaxUint4 = 15;
/// Scales stay at or above the smallest float16 and at or below the largest.
constexpr float kSmallestHalf = 0x1p-24F;

PAJAMAS_INLINE float smaller(float a, float b) { return a < b ? a : b; }
PAJAMAS_INLINE float larger(float a, float b) { return a > b ? a : b; }
PAJAMAS_INLINE float rounded(float value) { return (value + kRounder) - kRounder; }

PAJAMAS_INLINE float sum_of(const float* lanes) {
  float sum = 0;
  for (std::size_t l = 0; l < kLanes; ++l) sum += lanes[l];
  return sum;
}

struct Range {
  float low = 0, high = 0;  ///< Both include zero.
  float squared_sum = 0;
  bool is_finite = true;
};

PAJAMAS_INLINE Range range_of(const float* x, std::size_t count) {
  float low[kLanes] = {}, high[kLanes] = {}, squares[kLanes] = {}, zeros[kLanes] = {};
  std::size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (std::size_t l = 0; l < kLanes; ++l) {
      const float value = x[i + l];
      low[l] = smaller(value, low[l]);
      high[l] = larger(value, high[l]);
      squares[l] += value * value;
      zeros[l] += value * 0.0F;  // NaN for infinities and NaN
    }
  }
  for (std::size_t l = 0; i < count; ++i, ++l) {
    low[l] = smaller(x[i], low[l]);
    high[l] = larger(x[i], high[l]);
    squares[l] += x[i] * x[i];
    zeros[l] += x[i] * 0.0F;
  }
  Range range;
  for (std::size_t l = 0; l < kLanes; ++l) {
    range.low = smaller(low[l], range.low);
    range.high = larger(high[l], range.high);
  }
  range.squared_sum = sum_of(squares);
  range.is_finite = sum_of(zeros) == 0;
  return range;
}

/// The grid of integers [low, high] + zero_point that values of a group are rounded to. zero_point is 0 where the form
/// has none.
struct Grid {
  float scale = 1, inverse = 1, low = 0, high = 0;  ///< low and high without the zero point.
};

/// The integer (without zero point) nearest to x / scale.
PAJAMAS_INLINE float on_grid(float x, const Grid& grid) {
  return smaller(larger(rounded(x * grid.inverse), grid.low), grid.high);
}

template <bool kIsWeighted>
PAJAMAS_INLINE float squared_error_of(const float* x, const float* importance, std::size_t count, const Grid& grid) {
  float errors[kLanes] = {};
  std::size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (std::size_t l = 0; l < kLanes; ++l) {
      const float error = on_grid(x[i + l], grid) * grid.scale - x[i + l];
      errors[l] += kIsWeighted ? error * error * importance[i + l] : error * error;
    }
  }
  for (std::size_t l = 0; i < count; ++i, ++l) {
    const float error = on_grid(x[i], grid) * grid.scale - x[i];
    errors[l] += kIsWeighted ? error * error * importance[i] : error * error;
  }
  return sum_of(errors);
}

/// Writes integers with `offset` added and gives the largest error.
PAJAMAS_INLINE float quantize_group(const float* x, std::size_t count, const Grid& grid, float offset,
                                    std::uint8_t* out) {
  float largest[kLanes] = {};
  std::size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (std::size_t l = 0; l < kLanes; ++l) {
      const float value = on_grid(x[i + l], grid);
      const float error = value * grid.scale - x[i + l];
      largest[l] = larger(larger(error, -error), largest[l]);
      out[i + l] = static_cast<std::uint8_t>(static_cast<int>(value + offset));
    }
  }
  for (; i < count; ++i) {
    const float value = on_grid(x[i], grid);
    largest[0] = larger(std::fabs(value * grid.scale - x[i]), largest[0]);
    out[i] = static_cast<std::uint8_t>(static_cast<int>(value + offset));
  }
  return *std::max_element(largest, largest + kLanes);
}

float stored_scale(float scale, bool is_half) {
  if (!is_half) return scale > 0 && std::isnormal(scale) ? scale : 1;
  if (!(scale > 0)) return 1;
  return float_from_float16(float16_from_float(std::clamp(scale, kSmallestHalf, kMaxFloat16)));
}

struct GroupResult {
  Grid grid;
  float zero_point = 0;
  float squared_error = 0, max_error = 0;
};

/// Limits of the integers of a form: symmetric ones lie around zero, unsigned ones are shifted by their zero point.
struct IntegerLimits {
  float low, high;  ///< Of the stored integers.
  float divisor;    ///< The largest magnitude of the full range, in steps.
  bool has_zero_point;
};

/// What a row is quantised with, beside its values.
struct RowForm {
  std::size_t in_dim, group_size;
  int num_ranges;
  bool has_half_scales;
  const float* importance;  ///< [in_dim], or null.
};

/// Quantises one row, group by group. `integers` gets in_dim stored integers (two's complement in a byte).
PAJAMAS_INLINE bool quantize_integer_row(const float* row, const RowForm& form, const IntegerLimits& limits,
                                         std::uint8_t* integers, float* scales, float* zero_points, double* errors) {
  const std::size_t group_size = form.group_size;
  const int num_ranges = form.num_ranges;
  for (std::size_t begin = 0, g = 0; begin < form.in_dim; begin += group_size, ++g) {
    const float* x = row + begin;
    const Range range = range_of(x, group_size);
    if (!range.is_finite) return false;
    const float magnitude = larger(range.high, -range.low);
    GroupResult best;
    best.squared_error = -1;
    for (int k = 0; k < num_ranges; ++k) {
      const float part = num_ranges == 1
                             ? 1.0F
                             : 1.0F - (1.0F - kMinRange) * static_cast<float>(k) / static_cast<float>(num_ranges - 1);
      GroupResult tried;
      const float width = limits.has_zero_point ? range.high - range.low : magnitude;
      tried.grid.scale = stored_scale(width * part / limits.divisor, form.has_half_scales);
      tried.grid.inverse = 1.0F / tried.grid.scale;
      if (limits.has_zero_point) {
        tried.zero_point = std::clamp(rounded(-range.low * part * tried.grid.inverse), limits.low, limits.high);
      }
      tried.grid.low = limits.low - tried.zero_point;
      tried.grid.high = limits.high - tried.zero_point;
      tried.squared_error = form.importance == nullptr
                                ? squared_error_of<false>(x, nullptr, group_size, tried.grid)
                                : squared_error_of<true>(x, form.importance + begin, group_size, tried.grid);
      if (k == 0 || tried.squared_error < best.squared_error) best = tried;
    }
    if (form.importance != nullptr) best.squared_error = squared_error_of<false>(x, nullptr, group_size, best.grid);
    best.max_error = quantize_group(x, group_size, best.grid, best.zero_point, integers + begin);
    scales[g] = best.grid.scale;
    zero_points[g] = best.zero_point;
    errors[0] += best.squared_error;
    errors[1] += range.squared_sum;
    if (best.max_error > errors[2]) errors[2] = best.max_error;
  }
  return true;
}

/// What one grid q · scale + minimum makes of a group: its error, and the sums that least squares need.
struct GridFit {
  float error = 0;
  float q = 0, qq = 0, xq = 0;  ///< Weighted sums over the group: q, q², x · q.
};

template <bool kIsWeighted>
PAJAMAS_INLINE GridFit fit_of(const float* x, const float* importance, std::size_t count, float scale, float minimum) {
  float errors[kLanes] = {}, qs[kLanes] = {}, qqs[kLanes] = {}, xqs[kLanes] = {};
  const float inverse = 1.0F / scale;
  for (std::size_t begin = 0; begin < count; begin += kLanes) {
    const std::size_t width = count - begin < kLanes ? count - begin : kLanes;
    const auto add = [&](std::size_t l) __attribute__((always_inline)) {
      const float value = x[begin + l];
      const float weight = kIsWeighted ? importance[begin + l] : 1.0F;
      const float q = smaller(larger(rounded((value - minimum) * inverse), 0.0F), kMaxUint4);
      const float error = q * scale + minimum - value;
      errors[l] += weight * error * error;
      qs[l] += weight * q;
      qqs[l] += weight * q * q;
      xqs[l] += weight * value * q;
    };
    if (width == kLanes) {
      for (std::size_t l = 0; l < kLanes; ++l) add(l);
    } else {
      for (std::size_t l = 0; l < width; ++l) add(l);
    }
  }
  return {sum_of(errors), sum_of(qs), sum_of(qqs), sum_of(xqs)};
}

/// A minimum as it is stored; float16 has room for all that its scale has room for.
float stored_minimum(float minimum, bool is_half) {
  if (!is_half) return minimum;
  return float_from_float16(float16_from_float(std::clamp(minimum, -kMaxFloat16, kMaxFloat16)));
}

struct MinimumGrid {
  float scale = 1, minimum = 0, error = -1;
};

/// Ranges that begin at either end of the values or lie in their middle, each bettered by least squares: the integers
/// that a grid gives name the best grid for them. What is stored is what is compared.
template <bool kIsWeighted>
PAJAMAS_INLINE MinimumGrid best_minimum_grid(const float* x, const float* importance, const RowForm& form) {
  constexpr int kNumRefinements = 2;
  const std::size_t count = form.group_size;
  float low = x[0], high = x[0], weights = 0, values = 0;
  for (std::size_t i = 0; i < count; ++i) {
    low = smaller(x[i], low);
    high = larger(x[i], high);
    const float weight = kIsWeighted ? importance[i] : 1.0F;
    weights += weight;
    values += weight * x[i];
  }
  MinimumGrid best;
  for (int k = 0; k < form.num_ranges; ++k) {
    const float part = form.num_ranges == 1 ? 1.0F
                                            : 1.0F - (1.0F - kMinRange) * static_cast<float>(k) /
                                                         static_cast<float>(form.num_ranges - 1);
    const float slack = (high - low) * (1.0F - part);
    for (int place = 0; place < (k == 0 ? 1 : 3); ++place) {
      float scale = (high - low) * part / kMaxUint4;
      float minimum = low + slack * 0.5F * static_cast<float>(place);
      for (int refinement = 0; refinement <= kNumRefinements; ++refinement) {
        scale = stored_scale(scale, form.has_half_scales);
        minimum = stored_minimum(minimum, form.has_half_scales);
        const GridFit fit = fit_of<kIsWeighted>(x, importance, count, scale, minimum);
        if (best.error < 0 || fit.error < best.error) best = {scale, minimum, fit.error};
        if (best.error == 0) return best;
        const float determinant = weights * fit.qq - fit.q * fit.q;
        const float slope = weights * fit.xq - fit.q * values;
        if (!(determinant > 1e-6F * weights * fit.qq) || !(slope > 0)) break;
        scale = slope / determinant;
        minimum = (values - scale * fit.q) / weights;
      }
    }
  }
  return best;
}

/// As quantize_integer_row, for uint4 with minimums, which come in the place of zero points.
PAJAMAS_INLINE bool quantize_minimum_row(const float* row, const RowForm& form, std::uint8_t* integers, float* scales,
                                         float* minimums, double* errors) {
  for (std::size_t begin = 0, g = 0; begin < form.in_dim; begin += form.group_size, ++g) {
    const float* x = row + begin;
    const Range range = range_of(x, form.group_size);
    if (!range.is_finite) return false;
    const MinimumGrid grid = form.importance == nullptr ? best_minimum_grid<false>(x, nullptr, form)
                                                        : best_minimum_grid<true>(x, form.importance + begin, form);
    const float inverse = 1.0F / grid.scale;
    double squared_error = 0;
    for (std::size_t i = 0; i < form.group_size; ++i) {
      const float q = smaller(larger(rounded((x[i] - grid.minimum) * inverse), 0.0F), kMaxUint4);
      const float error = std::fabs(q * grid.scale + grid.minimum - x[i]);
      integers[begin + i] = static_cast<std::uint8_t>(static_cast<int>(q));
      squared_error += static_cast<double>(error) * error;
      if (error > errors[2]) errors[2] = error;
    }
    scales[g] = grid.scale;
    minimums[g] = grid.minimum;
    errors[0] += squared_error;
    errors[1] += range.squared_sum;
  }
  return true;
}

/// E4M3 rounds to 3 bits of mantissa from 2^-6 up and to multiples of 2^-9 below.
PAJAMAS_INLINE float rounded_to_e4m3(float magnitude) {
  constexpr float kSubnormalRounder = 16384;  // its last bit is 2^-9
  const auto bits = std::bit_cast<std::uint32_t>(magnitude);
  const float normal = std::bit_cast<float>((bits + 0x7FFFFU + (bits >> 20 & 1U)) & 0xFFF00000U);
  const float subnormal = (magnitude + kSubnormalRounder) - kSubnormalRounder;
  return magnitude < 0x1p-6F ? subnormal : normal;
}

/// The code of a value that rounded_to_e4m3 gave, without its sign.
PAJAMAS_INLINE std::uint32_t e4m3_code(float magnitude) {
  const auto normal = (std::bit_cast<std::uint32_t>(magnitude) >> 20) - (120U << 3);
  const auto subnormal = static_cast<std::uint32_t>(static_cast<std::int32_t>(magnitude * 512.0F));
  return magnitude < 0x1p-6F ? subnormal : normal;
}

constexpr float kMaxFloat8 = 448;

PAJAMAS_INLINE bool quantize_float8_row(const float* row, std::size_t in_dim, std::size_t group_size,
                                        bool has_half_scales, std::uint8_t* codes, float* scales, double* errors) {
  for (std::size_t begin = 0, g = 0; begin < in_dim; begin += group_size, ++g) {
    const float* x = row + begin;
    const Range range = range_of(x, group_size);
    if (!range.is_finite) return false;
    const float scale = stored_scale(larger(range.high, -range.low) / kMaxFloat8, has_half_scales);
    const float inverse = 1.0F / scale;
    double squared_error = 0;
    float largest = 0;
    for (std::size_t i = 0; i < group_size; ++i) {
      const float magnitude = rounded_to_e4m3(smaller(std::fabs(x[i]) * inverse, kMaxFloat8));
      const std::uint32_t sign = std::bit_cast<std::uint32_t>(x[i]) >> 24 & 0x80U;
      codes[begin + i] = static_cast<std::uint8_t>(e4m3_code(magnitude) | sign);
      const float error = std::fabs(magnitude * scale - std::fabs(x[i]));
      squared_error += static_cast<double>(error) * error;
      largest = larger(error, largest);
    }
    scales[g] = scale;
    errors[0] += squared_error;
    errors[1] += range.squared_sum;
    if (largest > errors[2]) errors[2] = largest;
  }
  return true;
}

// One function a form, so that each gets its vector clones with the limits as constants.
PAJAMAS_VECTOR_CLONES bool quantize_row_uint4(const float* row, const RowForm& form, std::uint8_t* integers,
                                              float* scales, float* zero_points, double* errors) {
  return quantize_integer_row(row, form, {0, 15, 15, true}, integers, scales, zero_points, errors);
}
PAJAMAS_VECTOR_CLONES bool quantize_row_uint4_minimum(const float* row, const RowForm& form, std::uint8_t* integers,
                                                      float* scales, float* minimums, double* errors) {
  return quantize_minimum_row(row, form, integers, scales, minimums, errors);
}
PAJAMAS_VECTOR_CLONES bool quantize_row_int4(const float* row, const RowForm& form, std::uint8_t* integers,
                                             float* scales, float* zero_points, double* errors) {
  return quantize_integer_row(row, form, {-8, 7, 7, false}, integers, scales, zero_points, errors);
}
PAJAMAS_VECTOR_CLONES bool quantize_row_int8(const float* row, const RowForm& form, std::uint8_t* integers,
                                             float* scales, float* zero_points, double* errors) {
  return quantize_integer_row(row, form, {-127, 127, 127, false}, integers, scales, zero_points, errors);
}
PAJAMAS_VECTOR_CLONES bool quantize_row_float8(const float* row, const RowForm& form, std::uint8_t* codes,
                                               float* scales, double* errors) {
  return quantize_float8_row(row, form.in_dim, form.group_size, form.has_half_scales, codes, scales, errors);
}

PAJAMAS_VECTOR_CLONES void pack_pairs(const std::uint8_t* integers, std::size_t num_pairs, std::uint8_t* out) {
  for (std::size_t i = 0; i < num_pairs; ++i) {
    out[i] = static_cast<std::uint8_t>((integers[2 * i] & 0xF) | integers[2 * i + 1] << 4);
  }
}

/// Integers [begin, begin + count) of a packed 4-bit tensor.
void store_nibbles(std::span<const std::uint8_t> integers, std::size_t begin, std::uint8_t* out) {
  std::size_t i = 0;
  const auto one = [&](std::size_t index, std::uint8_t value) {
    std::uint8_t& byte = out[index / 2];
    byte = static_cast<std::uint8_t>(index % 2 == 0 ? (byte & 0xF0) | (value & 0xF) : (byte & 0xF) | value << 4);
  };
  if (begin % 2 != 0 && !integers.empty()) one(begin, integers[i++]);
  const std::size_t num_pairs = (integers.size() - i) / 2;
  pack_pairs(integers.data() + i, num_pairs, out + (begin + i) / 2);
  i += 2 * num_pairs;
  if (i < integers.size()) one(begin + i, integers[i]);
}

}  // namespace

QuantizedForm fit_form(QuantizedForm form, std::int64_t in_dim) {
  constexpr std::int64_t kMinGroup = 16;
  while (form.group_size > 0 && (in_dim % form.group_size != 0 || form.group_size > in_dim)) {
    form.group_size = form.group_size / 2 >= kMinGroup ? form.group_size / 2 : 0;
  }
  return form;
}

double QuantizationError::relative() const {
  return squared_weight > 0 ? std::sqrt(squared_error / squared_weight) : 0;
}

QuantizationError& QuantizationError::operator+=(const QuantizationError& other) {
  squared_error += other.squared_error;
  squared_weight += other.squared_weight;
  max_error = std::max(max_error, other.max_error);
  return *this;
}

BlockWeight allocate_block_weight(const QuantizedForm& form, std::int64_t out_dim, std::int64_t in_dim) {
  const bool is_known = form.values == DType::kInt8 || form.values == DType::kInt4 || form.values == DType::kUint4 ||
                        form.values == DType::kFloat8E4M3Fn;
  if (!is_known || (form.scales != DType::kFloat16 && form.scales != DType::kFloat32) || form.group_size < 0 ||
      (form.group_size > 0 && in_dim % form.group_size != 0) || form.num_ranges < 1 ||
      (form.has_minimums && form.values != DType::kUint4)) {
    throw Error(ErrorKind::kInternal, std::string("no form of quantisation: ") + to_string(form.values) +
                                          " in groups of " + std::to_string(form.group_size) + " for rows of " +
                                          std::to_string(in_dim));
  }
  const Shape scale_shape = form.group_size == 0 ? Shape{out_dim} : Shape{out_dim, in_dim / form.group_size};
  BlockWeight weight;
  weight.group_size = form.group_size;
  weight.values = Tensor(form.values, {out_dim, in_dim});
  weight.scales = Tensor(form.scales, scale_shape);
  if (form.has_minimums) {
    weight.minimums = Tensor(form.scales, scale_shape);
  } else if (form.values == DType::kUint4) {
    weight.zero_points = Tensor(form.values, scale_shape);
  }
  // An odd number of 4-bit elements leaves half a byte that nobody writes: equal weights shall be equal bytes.
  for (Tensor* tensor : {&weight.values, &weight.zero_points}) {
    if (tensor->size_bytes() > 0) tensor->mutable_bytes().back() = std::byte{0};
  }
  return weight;
}

QuantizationError quantize_rows(const QuantizedForm& form, std::span<const float> rows, std::int64_t row_begin,
                                BlockWeight& weight, std::span<const float> importance) {
  const auto in_dim = static_cast<std::size_t>(weight.in_dim());
  const std::size_t num_rows = in_dim == 0 ? 0 : rows.size() / in_dim;
  if (form.values != weight.values.dtype() || form.has_minimums != weight.has_minimums() ||
      form.group_size != weight.group_size || num_rows * in_dim != rows.size() || row_begin < 0 ||
      row_begin + static_cast<std::int64_t>(num_rows) > weight.out_dim()) {
    throw Error(ErrorKind::kInternal, "quantising rows " + std::to_string(row_begin) + " to " +
                                          std::to_string(row_begin + static_cast<std::int64_t>(num_rows)) + " of " +
                                          weight.values.shape().to_string());
  }
  const auto num_groups = static_cast<std::size_t>(weight.groups_per_row());
  const std::size_t group_size = num_groups == 0 ? 0 : in_dim / num_groups;
  const bool has_half_scales = weight.scales.dtype() == DType::kFloat16;
  const bool is_four_bit = bits_of(form.values) == 4;
  std::vector<std::uint8_t> integers(in_dim), zero_integers(num_groups);
  std::vector<float> scales(num_groups), zero_points(num_groups);  // or minimums
  std::vector<std::uint16_t> halves(has_half_scales ? num_groups : 0);
  auto* const values_out = reinterpret_cast<std::uint8_t*>(weight.values.mutable_bytes().data());
  std::byte* const scales_out = weight.scales.mutable_bytes().data();
  std::uint8_t* const zero_points_out =
      weight.has_zero_points() ? reinterpret_cast<std::uint8_t*>(weight.zero_points.mutable_bytes().data()) : nullptr;

  const RowForm row_form{in_dim, group_size, form.num_ranges, has_half_scales,
                         importance.empty() ? nullptr : importance.data()};
  std::array<double, 3> errors{};
  for (std::size_t r = 0; r < num_rows; ++r) {
    const float* row = rows.data() + r * in_dim;
    bool is_finite = true;
    switch (form.values) {
      case DType::kUint4:
        is_finite = (form.has_minimums ? quantize_row_uint4_minimum : quantize_row_uint4)(
            row, row_form, integers.data(), scales.data(), zero_points.data(), errors.data());
        break;
      case DType::kInt4:
        is_finite = quantize_row_int4(row, row_form, integers.data(), scales.data(), zero_points.data(), errors.data());
        break;
      case DType::kInt8:
        is_finite = quantize_row_int8(row, row_form, integers.data(), scales.data(), zero_points.data(), errors.data());
        break;
      default: is_finite = quantize_row_float8(row, row_form, integers.data(), scales.data(), errors.data()); break;
    }
    const std::size_t row_index = static_cast<std::size_t>(row_begin) + r;
    if (!is_finite) {
      throw Error(ErrorKind::kBadInput, "row " + std::to_string(row_index) + " holds a value that is not finite");
    }
    if (is_four_bit) {
      store_nibbles(integers, row_index * in_dim, values_out);
    } else {
      std::memcpy(values_out + row_index * in_dim, integers.data(), in_dim);
    }
    const auto store_floats = [&](const std::vector<float>& values, std::byte* out) {
      if (has_half_scales) {
        for (std::size_t g = 0; g < num_groups; ++g) halves[g] = float16_from_float(values[g]);
        std::memcpy(out + row_index * num_groups * 2, halves.data(), num_groups * 2);
      } else {
        std::memcpy(out + row_index * num_groups * 4, values.data(), num_groups * 4);
      }
    };
    store_floats(scales, scales_out);
    if (form.has_minimums) store_floats(zero_points, weight.minimums.mutable_bytes().data());
    if (zero_points_out != nullptr) {
      for (std::size_t g = 0; g < num_groups; ++g) zero_integers[g] = static_cast<std::uint8_t>(zero_points[g]);
      store_nibbles(zero_integers, row_index * num_groups, zero_points_out);
    }
  }
  return {errors[0], errors[1], errors[2]};
}

BlockWeight quantize_matrix(const RowReader& read, std::int64_t out_dim, std::int64_t in_dim, const QuantizedForm& form,
                            int num_threads, QuantizationError& error, const Progress& progress,
                            std::span<const float> importance) {
  BlockWeight weight = allocate_block_weight(form, out_dim, in_dim);
  // Small enough for a core's cache, and even: see quantize_rows.
  constexpr std::int64_t kChunkElements = 1 << 16;
  const std::int64_t chunk_rows = in_dim == 0 ? out_dim : std::max<std::int64_t>(kChunkElements / in_dim / 2 * 2, 2);
  const std::int64_t num_chunks = chunk_rows == 0 ? 0 : (out_dim + chunk_rows - 1) / chunk_rows;
  std::vector<QuantizationError> errors(static_cast<std::size_t>(num_chunks));
  parallel_for(num_chunks, num_threads, [&](std::int64_t chunk) {
    progress.check("Quantising weights");
    const std::int64_t begin = chunk * chunk_rows;
    const std::int64_t count = std::min(chunk_rows, out_dim - begin);
    thread_local std::vector<float> rows;
    rows.resize(static_cast<std::size_t>(count * in_dim));
    read(begin, count, rows);
    errors[static_cast<std::size_t>(chunk)] = quantize_rows(form, rows, begin, weight, importance);
  });
  // In order, so that the sum does not depend on who came first.
  for (const QuantizationError& part : errors) error += part;
  return weight;
}

}  // namespace pajamas
