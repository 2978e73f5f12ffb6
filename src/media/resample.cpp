// See resample.h. One separable filter with tables of taps does everything but the case that has to be fast, sampled
// bilinear (every YOLO), which does the rows first because that pass vectorises.
#include "media/resample.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/vector_clones.h"
#include "kernels/picture_math.h"
#include "pajamas/error.h"

namespace pajamas {

namespace {

/// Pillow's fixed point for 8-bit pictures: 32 bits less 8 for the pixel and 2 for sums of negative lobes.
constexpr int kWeightBits = 22;

/// For each output pixel the first source pixel and the weights of as many as `num_taps`, in units of 2^-22.
struct Taps {
  std::size_t num_taps = 0;
  std::vector<int> first;
  std::vector<int> count;
  std::vector<std::int32_t> weights;  ///< [output, num_taps]
  int source_begin = 0;               ///< Source pixels that are read: [source_begin, source_end).
  int source_end = 0;
};

double triangle(double x) {
  x = std::abs(x);
  return x < 1.0 ? 1.0 - x : 0.0;
}

/// Keys' cubic convolution kernel ("Cubic convolution interpolation for digital image processing", 1981).
double cubic(double x, double a) {
  x = std::abs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
  if (x < 2.0) return ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a;
  return 0.0;
}

std::int32_t fixed_point(double weight) {
  return static_cast<std::int32_t>(weight * (1 << kWeightBits) + (weight < 0 ? -0.5 : 0.5));
}

/// Weights of one output pixel: source position `first` on, `weights` unscaled. Normalised, converted and stored.
void store_taps(Taps& taps, std::size_t index, int first, const std::vector<double>& weights) {
  double sum = 0;
  for (const double weight : weights) sum += weight;
  taps.first[index] = first;
  taps.count[index] = static_cast<int>(weights.size());
  for (std::size_t k = 0; k < weights.size(); ++k) {
    taps.weights[index * taps.num_taps + k] = fixed_point(sum != 0 ? weights[k] / sum : weights[k]);
  }
}

Taps make_taps(int source_px, int scaled_px, int begin_px, int count_px, Interpolation interpolation,
               bool is_antialiased) {
  const double scale = static_cast<double>(source_px) / scaled_px;
  const double widening = is_antialiased ? std::max(scale, 1.0) : 1.0;
  const double cubic_a = is_antialiased ? -0.5 : -0.75;
  const double support = (interpolation == Interpolation::kBicubic ? 2.0 : 1.0) * widening;
  Taps taps;
  taps.num_taps = interpolation == Interpolation::kNearest ? 1 : static_cast<std::size_t>(std::ceil(support)) * 2 + 1;
  taps.num_taps = std::min(taps.num_taps, static_cast<std::size_t>(source_px));
  const auto count = static_cast<std::size_t>(count_px);
  taps.first.resize(count);
  taps.count.resize(count);
  taps.weights.resize(count * taps.num_taps);
  std::vector<double> weights;
  // Pillow adds the step up for nearest, which decides where a centre falls on the border of two pixels.
  double summed_center = 0.5 * scale;
  if (interpolation == Interpolation::kNearest) {
    for (int i = 0; i < begin_px; ++i) summed_center += scale;
  }
  for (std::size_t i = 0; i < count; ++i) {
    const double center = (begin_px + static_cast<double>(i) + 0.5) * scale;
    weights.clear();
    if (interpolation == Interpolation::kNearest) {
      weights.push_back(1.0);
      store_taps(taps, i, std::clamp(static_cast<int>(summed_center), 0, source_px - 1), weights);
      summed_center += scale;
      continue;
    }
    const auto filter = [&](int position) {
      const double x = (position - center + 0.5) / widening;
      return interpolation == Interpolation::kBicubic ? cubic(x, cubic_a) : triangle(x);
    };
    if (is_antialiased) {  // what hangs over the edge is left out
      const int first = std::max(static_cast<int>(std::floor(center - support + 0.5)), 0);
      const int last = std::min(static_cast<int>(std::floor(center + support + 0.5)), source_px);
      for (int position = first; position < last; ++position) weights.push_back(filter(position));
      store_taps(taps, i, first, weights);
    } else {  // what hangs over the edge falls on the edge pixel
      const int reach = interpolation == Interpolation::kBicubic ? 2 : 1;
      const int under = static_cast<int>(std::floor(center - 0.5));
      const int first = std::clamp(under - reach + 1, 0, source_px - 1);
      const int last = std::clamp(under + reach, 0, source_px - 1);
      weights.assign(static_cast<std::size_t>(last - first) + 1, 0.0);
      for (int position = under - reach + 1; position <= under + reach; ++position) {
        weights[static_cast<std::size_t>(std::clamp(position, 0, source_px - 1) - first)] += filter(position);
      }
      store_taps(taps, i, first, weights);
    }
  }
  taps.source_begin = *std::min_element(taps.first.begin(), taps.first.end());
  for (std::size_t i = 0; i < count; ++i) taps.source_end = std::max(taps.source_end, taps.first[i] + taps.count[i]);
  return taps;
}

std::uint8_t rounded(std::int32_t sum) {
  return static_cast<std::uint8_t>(std::clamp((sum + (1 << (kWeightBits - 1))) >> kWeightBits, 0, 255));
}

void filter_row(const std::uint8_t* in, const Taps& taps, std::uint8_t* out) {
  const std::size_t count = taps.first.size();
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint8_t* pixel = in + std::ptrdiff_t{3} * taps.first[i];
    const std::int32_t* weight = taps.weights.data() + i * taps.num_taps;
    std::int32_t red = 0;
    std::int32_t green = 0;
    std::int32_t blue = 0;
    for (int k = 0; k < taps.count[i]; ++k, pixel += 3) {
      red += pixel[0] * weight[k];
      green += pixel[1] * weight[k];
      blue += pixel[2] * weight[k];
    }
    out[3 * i] = rounded(red);
    out[3 * i + 1] = rounded(green);
    out[3 * i + 2] = rounded(blue);
  }
}

PAJAMAS_VECTOR_CLONES void add_weighted(const std::uint8_t* in, std::int32_t weight, std::int32_t* sums,
                                        std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) sums[i] += in[i] * weight;
}

PAJAMAS_VECTOR_CLONES void round_sums(const std::int32_t* sums, std::uint8_t* out, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    const std::int32_t value = (sums[i] + (1 << (kWeightBits - 1))) >> kWeightBits;
    out[i] = static_cast<std::uint8_t>(value < 0 ? 0 : (value > 255 ? 255 : value));
  }
}

Image resample_by_taps(const Image& image, const Taps& across, const Taps& down, const Window& window) {
  const std::size_t in_stride = std::size_t{3} * static_cast<std::size_t>(image.width_px);
  const std::size_t stride = std::size_t{3} * static_cast<std::size_t>(window.width_px);
  const auto num_rows = static_cast<std::size_t>(down.source_end - down.source_begin);
  std::vector<std::uint8_t> filtered(num_rows * stride);
  for (std::size_t row = 0; row < num_rows; ++row) {
    filter_row(image.pixels.data() + (static_cast<std::size_t>(down.source_begin) + row) * in_stride, across,
               filtered.data() + row * stride);
  }
  Image out{window.width_px, window.height_px, std::vector<std::uint8_t>(stride * down.first.size())};
  std::vector<std::int32_t> sums(stride);
  for (std::size_t y = 0; y < down.first.size(); ++y) {
    std::fill(sums.begin(), sums.end(), 0);
    const auto first = static_cast<std::size_t>(down.first[y] - down.source_begin);
    for (std::size_t k = 0; k < static_cast<std::size_t>(down.count[y]); ++k) {
      add_weighted(filtered.data() + (first + k) * stride, down.weights[y * down.num_taps + k], sums.data(), stride);
    }
    round_sums(sums.data(), out.pixels.data() + y * stride, stride);
  }
  return out;
}

/// Sampled bicubic: between the passes values may leave 0..255, so they are kept as float.
Image resample_sampled(const Image& image, const Taps& across, const Taps& down, const Window& window) {
  constexpr float kUnit = 1.0F / (1 << kWeightBits);
  const std::size_t in_stride = std::size_t{3} * static_cast<std::size_t>(image.width_px);
  const std::size_t stride = std::size_t{3} * static_cast<std::size_t>(window.width_px);
  const auto num_rows = static_cast<std::size_t>(down.source_end - down.source_begin);
  std::vector<float> filtered(num_rows * stride, 0.0F);
  for (std::size_t row = 0; row < num_rows; ++row) {
    const std::uint8_t* in = image.pixels.data() + (static_cast<std::size_t>(down.source_begin) + row) * in_stride;
    float* out = filtered.data() + row * stride;
    for (std::size_t i = 0; i < across.first.size(); ++i, out += 3) {
      const std::uint8_t* pixel = in + std::ptrdiff_t{3} * across.first[i];
      for (int k = 0; k < across.count[i]; ++k, pixel += 3) {
        const float weight =
            static_cast<float>(across.weights[i * across.num_taps + static_cast<std::size_t>(k)]) * kUnit;
        for (int c = 0; c < 3; ++c) out[c] += static_cast<float>(pixel[c]) * weight;
      }
    }
  }
  Image result{window.width_px, window.height_px, std::vector<std::uint8_t>(stride * down.first.size())};
  std::vector<float> sums(stride);
  for (std::size_t y = 0; y < down.first.size(); ++y) {
    std::fill(sums.begin(), sums.end(), 0.0F);
    for (std::size_t k = 0; k < static_cast<std::size_t>(down.count[y]); ++k) {
      const float weight = static_cast<float>(down.weights[y * down.num_taps + k]) * kUnit;
      const float* row = filtered.data() + (static_cast<std::size_t>(down.first[y] - down.source_begin) + k) * stride;
      for (std::size_t i = 0; i < stride; ++i) sums[i] += row[i] * weight;
    }
    for (std::size_t i = 0; i < stride; ++i) {
      // Never negative here, so truncation rounds; and unlike a call of lround() it is vectorised.
      // NOLINTNEXTLINE(bugprone-incorrect-roundings)
      result.pixels[y * stride + i] = static_cast<std::uint8_t>(std::clamp(sums[i], 0.0F, 255.0F) + 0.5F);
    }
  }
  return result;
}

using kernels::kLinearBits;
using kernels::LinearTap;

std::vector<LinearTap> make_linear_taps(int source_px, int scaled_px, int begin_px, int count_px) {
  const double scale = static_cast<double>(source_px) / scaled_px;
  std::vector<LinearTap> taps(static_cast<std::size_t>(count_px));
  for (std::size_t i = 0; i < taps.size(); ++i) {
    taps[i] = kernels::linear_tap(begin_px + static_cast<int>(i), scale, source_px);
  }
  return taps;
}

/// out = the two rows mixed, as 8.7 fixed point: 15 bits, so that the next pass multiplies within 32.
PAJAMAS_VECTOR_CLONES void mix_rows(const std::uint8_t* upper, const std::uint8_t* lower, std::uint32_t lower_weight,
                                    std::uint16_t* out, std::size_t count) {
  const std::uint32_t upper_weight = (1U << kLinearBits) - lower_weight;
  for (std::size_t i = 0; i < count; ++i) {
    out[i] = static_cast<std::uint16_t>((upper[i] * upper_weight + lower[i] * lower_weight + 8U) >> 4);
  }
}

Image resample_linear(const Image& image, int scaled_width_px, int scaled_height_px, const Window& window) {
  const auto across = make_linear_taps(image.width_px, scaled_width_px, window.x_px, window.width_px);
  const auto down = make_linear_taps(image.height_px, scaled_height_px, window.y_px, window.height_px);
  const std::size_t in_stride = std::size_t{3} * static_cast<std::size_t>(image.width_px);
  const std::size_t stride = std::size_t{3} * static_cast<std::size_t>(window.width_px);
  const int begin = across.front().first;
  const int end = std::min(across.back().first + 2, image.width_px);
  const std::size_t count = std::size_t{3} * static_cast<std::size_t>(end - begin);
  std::vector<std::uint16_t> mixed(count + 3);  // the last pixel may look one further, with weight 0
  Image out{window.width_px, window.height_px, std::vector<std::uint8_t>(stride * down.size())};
  for (std::size_t y = 0; y < down.size(); ++y) {
    const std::uint8_t* upper =
        image.pixels.data() + static_cast<std::size_t>(down[y].first) * in_stride + std::size_t{3} * begin;
    const std::uint8_t* lower = down[y].first + 1 < image.height_px ? upper + in_stride : upper;
    mix_rows(upper, lower, down[y].next_weight, mixed.data(), count);
    std::uint8_t* row = out.pixels.data() + y * stride;
    for (const LinearTap tap : across) {
      const std::uint16_t* pixel = mixed.data() + std::ptrdiff_t{3} * (tap.first - begin);
      const std::uint32_t next = tap.next_weight;
      const std::uint32_t here = (1U << kLinearBits) - next;
      for (int c = 0; c < 3; ++c) {
        *row++ = static_cast<std::uint8_t>((pixel[c] * here + pixel[c + 3] * next + (1U << 17)) >> 18);
      }
    }
  }
  return out;
}

Image crop(const Image& image, const Window& window) {
  const std::size_t in_stride = std::size_t{3} * static_cast<std::size_t>(image.width_px);
  const std::size_t stride = std::size_t{3} * static_cast<std::size_t>(window.width_px);
  Image out{window.width_px, window.height_px,
            std::vector<std::uint8_t>(stride * static_cast<std::size_t>(window.height_px))};
  for (std::size_t y = 0; y < static_cast<std::size_t>(window.height_px); ++y) {
    std::memcpy(out.pixels.data() + y * stride,
                image.pixels.data() + (static_cast<std::size_t>(window.y_px) + y) * in_stride +
                    std::size_t{3} * static_cast<std::size_t>(window.x_px),
                stride);
  }
  return out;
}

}  // namespace

Image resample(const Image& image, int scaled_width_px, int scaled_height_px, const Window& window,
               Interpolation interpolation, bool is_antialiased) {
  const bool is_inside = window.x_px >= 0 && window.y_px >= 0 && window.width_px > 0 && window.height_px > 0 &&
                         window.width_px <= scaled_width_px - window.x_px &&
                         window.height_px <= scaled_height_px - window.y_px;
  if (image.is_empty() || !is_inside) throw Error(ErrorKind::kInternal, "resample: the window is outside the picture");
  if (scaled_width_px == image.width_px && scaled_height_px == image.height_px) return crop(image, window);
  if (interpolation == Interpolation::kBilinear && !is_antialiased) {
    return resample_linear(image, scaled_width_px, scaled_height_px, window);
  }
  const Taps across =
      make_taps(image.width_px, scaled_width_px, window.x_px, window.width_px, interpolation, is_antialiased);
  const Taps down =
      make_taps(image.height_px, scaled_height_px, window.y_px, window.height_px, interpolation, is_antialiased);
  return interpolation == Interpolation::kBicubic && !is_antialiased ? resample_sampled(image, across, down, window)
                                                                     : resample_by_taps(image, across, down, window);
}

}  // namespace pajamas
