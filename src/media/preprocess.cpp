// See preprocess.h. A pixel has 256 levels, so normalisation and conversion are one table look-up: exact for every
// dtype, and no slower than arithmetic.
#include "media/preprocess.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "pajamas/error.h"
#include "tensor/half.h"

namespace pajamas {

namespace {

constexpr std::size_t kNumLevels = 256;

std::size_t element_bytes(DType dtype) { return static_cast<std::size_t>(bits_of(dtype)) / 8; }

void store(DType dtype, double value, std::byte* out) {
  const auto put = [out](auto converted) { *reinterpret_cast<decltype(converted)*>(out) = converted; };
  switch (dtype) {
    case DType::kFloat32: put(static_cast<float>(value)); break;
    case DType::kFloat16: put(float16_from_float(static_cast<float>(value))); break;
    case DType::kBfloat16: put(bfloat16_from_float(static_cast<float>(value))); break;
    default: put(static_cast<std::uint8_t>(std::lrint(std::clamp(value, 0.0, 255.0)))); break;
  }
}

/// Where the visible part of the scaled picture lies in the canvas.
struct Visible {
  Window window;  ///< Of the scaled picture.
  int left_px = 0, top_px = 0;
};

Visible visible_part(const Placement& placement) {
  const int left = std::max(placement.offset_x_px, 0);
  const int top = std::max(placement.offset_y_px, 0);
  const int right = std::min(placement.offset_x_px + placement.scaled_width_px, placement.canvas_width_px);
  const int bottom = std::min(placement.offset_y_px + placement.scaled_height_px, placement.canvas_height_px);
  return {{left - placement.offset_x_px, top - placement.offset_y_px, right - left, bottom - top}, left, top};
}

/// One row of one channel: the levels are 3 samples apart, the values `step` elements.
template <typename T>
void write_levels(const std::uint8_t* levels, const T* values, T* out, std::size_t step, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) out[step * i] = values[levels[3 * i]];
}

template <typename T>
void write_planes(const Image& part, const Visible& visible, const Placement& placement, const T* values, bool is_bgr,
                  std::uint8_t pad, T* out) {
  const auto width = static_cast<std::size_t>(placement.canvas_width_px);
  const auto height = static_cast<std::size_t>(placement.canvas_height_px);
  const auto left = static_cast<std::size_t>(visible.left_px);
  const auto top = static_cast<std::size_t>(visible.top_px);
  const auto part_width = static_cast<std::size_t>(part.width_px);
  const auto part_height = static_cast<std::size_t>(part.height_px);
  for (std::size_t channel = 0; channel < 3; ++channel) {
    const T* table = values + channel * kNumLevels;
    const std::size_t source_channel = is_bgr ? 2 - channel : channel;
    T* plane = out + channel * width * height;
    std::fill(plane, plane + top * width + left, table[pad]);
    for (std::size_t y = 0; y < part_height; ++y) {
      T* row = plane + (top + y) * width + left;
      write_levels(part.pixels.data() + 3 * part_width * y + source_channel, table, row, 1, part_width);
      // The padding right of this row and left of the next is one run.
      T* const row_end = row + part_width;
      T* const next = y + 1 < part_height ? row + width : plane + width * height;
      std::fill(row_end, next, table[pad]);
    }
  }
}

template <typename T>
void write_pixels(const Image& part, const Visible& visible, const Placement& placement, const T* values, bool is_bgr,
                  std::uint8_t pad, T* out) {
  const auto width = static_cast<std::size_t>(placement.canvas_width_px);
  const auto height = static_cast<std::size_t>(placement.canvas_height_px);
  const auto part_width = static_cast<std::size_t>(part.width_px);
  const auto part_height = static_cast<std::size_t>(part.height_px);
  if (part_width != width || part_height != height) {
    for (std::size_t i = 0; i < 3 * width * height; ++i) out[i] = values[(i % 3) * kNumLevels + pad];
  }
  for (std::size_t channel = 0; channel < 3; ++channel) {
    const std::size_t source_channel = is_bgr ? 2 - channel : channel;
    for (std::size_t y = 0; y < part_height; ++y) {
      T* row = out +
               3 * ((static_cast<std::size_t>(visible.top_px) + y) * width + static_cast<std::size_t>(visible.left_px));
      write_levels(part.pixels.data() + 3 * part_width * y + source_channel, values + channel * kNumLevels,
                   row + channel, 3, part_width);
    }
  }
}

}  // namespace

double level_value(const PreprocessOptions& options, std::size_t channel, std::size_t level) {
  return (static_cast<double>(level) / 255.0 - options.mean[channel]) / options.std[channel];
}

void require_whole(const Image& image) {
  const auto num_samples = static_cast<std::size_t>(std::max(image.width_px, 0)) *
                           static_cast<std::size_t>(std::max(image.height_px, 0)) * 3;
  if (image.is_empty() || image.pixels.size() != num_samples) {
    throw Error(ErrorKind::kBadInput,
                image.is_empty() ? "the picture is empty" : "the picture's pixels do not fit its width and height");
  }
}

Preprocessor::Preprocessor(const PreprocessOptions& options) : options_(options) {
  if (options.dtype != DType::kFloat32 && options.dtype != DType::kFloat16 && options.dtype != DType::kBfloat16 &&
      options.dtype != DType::kUint8) {
    throw Error(ErrorKind::kUnsupported,
                std::string("pictures cannot be given to a model input of type ") + to_string(options.dtype), {},
                "export the model with a float32, float16 or uint8 input");
  }
  const std::size_t size = element_bytes(options.dtype);
  values_.resize(3 * kNumLevels * size);
  for (std::size_t channel = 0; channel < 3; ++channel) {
    const double mean = options.mean[channel];
    const double std = options.std[channel];
    if (!std::isfinite(mean) || !std::isfinite(std) || std == 0) {
      throw Error(ErrorKind::kBadInput, "the mean and std of the model's input must be finite, and std not zero");
    }
    for (std::size_t level = 0; level < kNumLevels; ++level) {
      store(options.dtype, level_value(options, channel, level),
            values_.data() + (channel * kNumLevels + level) * size);
    }
  }
}

std::size_t Preprocessor::size_bytes(const Placement& placement) const {
  return std::size_t{3} * static_cast<std::size_t>(placement.canvas_width_px) *
         static_cast<std::size_t>(placement.canvas_height_px) * element_bytes(options_.dtype);
}

void Preprocessor::write(const Image& image, const Placement& placement, std::span<std::byte> out) const {
  require_whole(image);
  if (image.width_px != placement.source_width_px || image.height_px != placement.source_height_px ||
      out.size() != size_bytes(placement)) {
    throw Error(ErrorKind::kInternal, "preprocess: picture, placement and output do not belong together");
  }
  const Visible visible = visible_part(placement);
  Image resampled;
  const bool is_whole = placement.scaled_width_px == image.width_px && placement.scaled_height_px == image.height_px &&
                        visible.window.width_px == image.width_px && visible.window.height_px == image.height_px;
  if (!is_whole) {
    resampled = resample(image, placement.scaled_width_px, placement.scaled_height_px, visible.window,
                         options_.interpolation, options_.is_antialiased);
  }
  const Image& part = is_whole ? image : resampled;
  const auto write_as = [&]<typename T>(T) {
    const auto* values = reinterpret_cast<const T*>(values_.data());
    auto* elements = reinterpret_cast<T*>(out.data());
    if (options_.is_nhwc) {
      write_pixels<T>(part, visible, placement, values, options_.is_bgr, options_.pad_value, elements);
    } else {
      write_planes<T>(part, visible, placement, values, options_.is_bgr, options_.pad_value, elements);
    }
  };
  switch (element_bytes(options_.dtype)) {
    case 4: write_as(float{}); break;
    case 2: write_as(std::uint16_t{}); break;
    default: write_as(std::uint8_t{}); break;
  }
}

}  // namespace pajamas
