// Resize and Upsample: nearest, linear and cubic in any number of axes, one axis after the other (they separate).
// GridSample too, which samples by the same kernels.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "graph/interpreter/support.h"

namespace pajamas::interpreter {
namespace {

/// What Resize's attributes say, once for all axes.
struct Sampling {
  std::string mode;
  std::string coordinates;
  std::string nearest;
  double cubic_a = -0.75;
  bool is_antialiased = false;
  bool excludes_outside = false;
  double extrapolation = 0;
};

/// One axis: extents, scale, and for tf_crop_and_resize the region.
struct AxisMap {
  std::int64_t in = 0;
  std::int64_t out = 0;
  double scale = 1;
  double roi_start = 0;
  double roi_end = 1;
};

/// Where in the input a position of the output lies, in elements.
double source_of(const Call& call, const Sampling& sampling, const AxisMap& axis, std::int64_t x) {
  const auto at = static_cast<double>(x);
  const std::string& mode = sampling.coordinates;
  const auto in = static_cast<double>(axis.in);
  // The exact extent, which may have a fraction that `out` has lost.
  const double out = in * axis.scale;
  if (mode == "half_pixel") return (at + 0.5) / axis.scale - 0.5;
  if (mode == "half_pixel_symmetric") {
    const double adjustment = static_cast<double>(axis.out) / out;
    const double center = in / 2;
    return center * (1 - adjustment) + (at + 0.5) / axis.scale - 0.5;
  }
  if (mode == "pytorch_half_pixel") return axis.out > 1 ? (at + 0.5) / axis.scale - 0.5 : 0;
  if (mode == "align_corners") return out == 1 || axis.out == 1 ? 0 : at * (in - 1) / (out - 1);
  if (mode == "asymmetric") return at / axis.scale;
  if (mode == "tf_half_pixel_for_nn") return (at + 0.5) / axis.scale;
  if (mode == "tf_crop_and_resize") {
    if (axis.out > 1) {
      return axis.roi_start * (in - 1) +
             at * (axis.roi_end - axis.roi_start) * (in - 1) / (static_cast<double>(axis.out) - 1);
    }
    return 0.5 * (axis.roi_start + axis.roi_end) * (in - 1);
  }
  call.fail("unknown coordinate_transformation_mode '" + mode + "'");
}

struct Tap {
  std::int64_t index;
  double weight;
};

double cubic_weight(double distance, double a) {
  const double x = std::fabs(distance);
  if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
  return 0;
}

std::int64_t round_nearest(const Call& call, const std::string& mode, double x) {
  if (mode == "round_prefer_floor") return static_cast<std::int64_t>(std::ceil(x - 0.5));
  if (mode == "round_prefer_ceil") return static_cast<std::int64_t>(std::floor(x + 0.5));
  if (mode == "floor") return static_cast<std::int64_t>(std::floor(x));
  if (mode == "ceil") return static_cast<std::int64_t>(std::ceil(x));
  call.fail("unknown nearest_mode '" + mode + "'");
}

/// The input elements, clamped to the edge, whose weighted sum is one output element.
std::vector<Tap> taps_of(const Call& call, const Sampling& sampling, const AxisMap& axis, double source) {
  std::vector<Tap> taps;
  const auto clamp = [&](std::int64_t index) { return std::clamp<std::int64_t>(index, 0, axis.in - 1); };
  if (sampling.mode == "nearest") {
    taps.push_back({clamp(round_nearest(call, sampling.nearest, source)), 1});
    return taps;
  }
  const bool is_cubic = sampling.mode == "cubic";
  const double stretch = sampling.is_antialiased && axis.scale < 1 ? axis.scale : 1;
  const double support = (is_cubic ? 2.0 : 1.0) / stretch;
  const auto first = static_cast<std::int64_t>(std::floor(source - support)) + 1;
  const auto last = static_cast<std::int64_t>(std::ceil(source + support)) - 1;
  double sum = 0;
  for (std::int64_t i = std::min(first, last); i <= std::max(first, last); ++i) {
    const double distance = (static_cast<double>(i) - source) * stretch;
    double weight = is_cubic ? cubic_weight(distance, sampling.cubic_a) : std::max(0.0, 1 - std::fabs(distance));
    if (sampling.excludes_outside && (i < 0 || i >= axis.in)) weight = 0;
    if (weight == 0) continue;
    sum += weight;
    taps.push_back({clamp(i), weight});
  }
  if (taps.empty()) taps.push_back({clamp(static_cast<std::int64_t>(std::nearbyint(source))), 1});
  if ((sampling.excludes_outside || stretch != 1) && sum != 0) {
    for (Tap& tap : taps) tap.weight /= sum;
  }
  return taps;
}

/// Positions that decide the same and fit an integer: what lies this far outside is outside. NaN is the caller's.
double bounded(double position) { return std::clamp(position, -1e15, 1e15); }

/// Resizes one axis of a dense double array.
std::vector<double> resize_axis(const Call& call, const Sampling& sampling, const AxisMap& axis,
                                const std::vector<double>& in, std::int64_t outer, std::int64_t inner) {
  std::vector<double> out(static_cast<std::size_t>(outer * axis.out * inner));
  for (std::int64_t x = 0; x < axis.out; ++x) {
    const double source = source_of(call, sampling, axis, x);
    const bool is_outside =
        sampling.coordinates == "tf_crop_and_resize" && (source < 0 || source > static_cast<double>(axis.in - 1));
    const auto taps = taps_of(call, sampling, axis, source);
    for (std::int64_t row = 0; row < outer; ++row) {
      for (std::int64_t k = 0; k < inner; ++k) {
        double sum = 0;
        for (const Tap& tap : taps) sum += tap.weight * in[(row * axis.in + tap.index) * inner + k];
        out[(row * axis.out + x) * inner + k] = is_outside ? sampling.extrapolation : sum;
      }
    }
  }
  return out;
}

/// Extents and scales of the result from sizes or scales.
std::vector<AxisMap> axis_maps(const Call& call) {
  const Shape& shape = call.input(0).shape();
  const std::size_t rank = shape.rank();
  std::vector<AxisMap> maps(rank);
  for (std::size_t i = 0; i < rank; ++i) maps[i].in = maps[i].out = shape[i];
  std::vector<std::size_t> axes;
  for (const std::int64_t axis : call.node.ints_attribute("axes")) axes.push_back(call.axis(axis, rank));
  if (axes.empty()) {
    axes.resize(rank);
    std::iota(axes.begin(), axes.end(), 0);
  }
  const bool is_old = call.opset < 11;
  const Tensor* scales = call.optional_input(is_old ? 1 : 2);
  const Tensor* sizes = is_old ? nullptr : call.optional_input(3);
  if (scales != nullptr && scales->num_elements() == 0) scales = nullptr;
  if (call.opset < 9 && scales == nullptr) call.unsupported("Upsample of opset 7");
  call.require(scales != nullptr || sizes != nullptr, "scales or sizes are wanted");
  if (sizes != nullptr) {
    const auto wanted = read_integers(call, *sizes);
    call.require(wanted.size() == axes.size(), "one size an axis is wanted");
    const std::string policy = call.node.string_attribute("keep_aspect_ratio_policy", "stretch");
    double common = 0;
    for (std::size_t i = 0; i < axes.size() && policy != "stretch"; ++i) {
      const double scale = static_cast<double>(wanted[i]) / static_cast<double>(shape[axes[i]]);
      common = i == 0 ? scale : policy == "not_larger" ? std::min(common, scale) : std::max(common, scale);
    }
    for (std::size_t i = 0; i < axes.size(); ++i) {
      AxisMap& map = maps[axes[i]];
      call.require(wanted[i] >= 0, "a negative size");
      map.out = policy == "stretch" ? wanted[i]
                                    : static_cast<std::int64_t>(std::floor(common * static_cast<double>(map.in) + 0.5));
      map.scale = policy == "stretch" ? static_cast<double>(wanted[i]) / static_cast<double>(map.in) : common;
    }
  } else {
    const Tensor wide = widened(*scales);
    const auto values = wide.as<float>();
    call.require(values.size() == axes.size(), "one scale an axis is wanted");
    for (std::size_t i = 0; i < axes.size(); ++i) {
      AxisMap& map = maps[axes[i]];
      map.scale = static_cast<double>(values[i]);
      const double extent = std::floor(static_cast<double>(map.in) * map.scale);
      call.require(map.scale > 0 && extent < 1e15, "a scale out of range");
      map.out = static_cast<std::int64_t>(extent);
    }
  }
  const Tensor* roi = is_old ? nullptr : call.optional_input(1);
  if (call.node.string_attribute("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize") {
    call.require(roi != nullptr && roi->num_elements() == static_cast<std::int64_t>(2 * axes.size()),
                 "a region of two values an axis is wanted");
    const Tensor wide = widened(*roi);
    for (std::size_t i = 0; i < axes.size(); ++i) {
      const auto value = [&](std::size_t at) {
        return wide.dtype() == DType::kFloat64 ? wide.as<double>()[at] : static_cast<double>(wide.as<float>()[at]);
      };
      maps[axes[i]].roi_start = value(i);
      maps[axes[i]].roi_end = value(i + axes.size());
      // Written so that NaN fails too: a bound becomes an index.
      call.require(std::fabs(value(i)) < 1e6 && std::fabs(value(i + axes.size())) < 1e6, "a region out of range");
    }
  }
  return maps;
}

std::vector<Tensor> resize(const Call& call) {
  const Tensor& in = call.input(0);
  Sampling sampling;
  sampling.mode = call.node.string_attribute("mode", "nearest");
  if (sampling.mode == "bilinear") sampling.mode = "linear";
  call.require(sampling.mode == "nearest" || sampling.mode == "linear" || sampling.mode == "cubic", "an unknown mode");
  // Before opset 11 Resize and Upsample knew one way only.
  const bool is_old = call.opset < 11 || call.node.op_type == "Upsample";
  sampling.coordinates =
      is_old ? "asymmetric" : call.node.string_attribute("coordinate_transformation_mode", "half_pixel");
  sampling.nearest = is_old ? "floor" : call.node.string_attribute("nearest_mode", "round_prefer_floor");
  sampling.cubic_a = call.node.float_attribute("cubic_coeff_a", -0.75F);
  sampling.is_antialiased = call.node.int_attribute("antialias", 0) != 0;
  sampling.excludes_outside = call.node.int_attribute("exclude_outside", 0) != 0;
  sampling.extrapolation = call.node.float_attribute("extrapolation_value", 0.0F);
  const auto maps = axis_maps(call);
  Shape shape;
  for (const AxisMap& map : maps) shape.push_back(map.out);
  Tensor out = call.make(in.dtype(), shape);
  if (out.num_elements() == 0) return {out};
  call.require(in.num_elements() > 0, "an empty input cannot be resized");
  require_numeric(call, in.dtype(), [&](auto tag) {
    using T = decltype(tag);
    const auto from = in.as<T>();
    std::vector<double> values(from.begin(), from.end());
    for (std::size_t axis = 0; axis < maps.size(); ++axis) {
      const bool crops = sampling.coordinates == "tf_crop_and_resize";
      if (maps[axis].in == maps[axis].out && maps[axis].scale == 1 && !crops) continue;
      std::int64_t outer = 1;
      std::int64_t inner = 1;
      for (std::size_t i = 0; i < axis; ++i) outer *= maps[i].out;
      for (std::size_t i = axis + 1; i < maps.size(); ++i) inner *= maps[i].in;
      values = resize_axis(call, sampling, maps[axis], values, outer, inner);
    }
    const auto to = out.mutable_as<T>();
    for (std::size_t i = 0; i < to.size(); ++i) {
      if constexpr (std::is_integral_v<T>) {
        to[i] = to_integer<T>(std::nearbyint(values[i]));  // a cubic kernel swings beyond the values it is given
      } else {
        to[i] = static_cast<T>(values[i]);
      }
    }
  });
  return {out};
}

/// Position in [-1, 1] to elements, then inside by the padding mode.
double reflect(double x, double low, double high) {
  const double span = high - low;
  if (span <= 0) return low;
  double distance = std::fabs(x - low);
  const double folds = std::floor(distance / span);
  distance -= folds * span;
  return std::fmod(folds, 2) == 0 ? low + distance : high - distance;
}

std::vector<Tensor> grid_sample(const Call& call) {
  const Tensor& in = call.input(0);
  const Tensor& grid = call.input(1);
  std::string mode = call.node.string_attribute("mode", "linear");
  if (mode == "bilinear") mode = "linear";
  if (mode == "bicubic") mode = "cubic";
  const std::string padding = call.node.string_attribute("padding_mode", "zeros");
  const bool is_aligned = call.node.int_attribute("align_corners", 0) != 0;
  if (in.shape().rank() != 4) call.unsupported("GridSample of another rank than 4");
  call.require(grid.shape().rank() == 4 && grid.shape()[3] == 2 && grid.shape()[0] == in.shape()[0],
               "the grid does not fit the input");
  const std::int64_t height = in.shape()[2];
  const std::int64_t width = in.shape()[3];
  const Shape shape{in.shape()[0], in.shape()[1], grid.shape()[1], grid.shape()[2]};
  Tensor out = call.make(in.dtype(), shape);
  call.require(out.num_elements() == 0 || (height > 0 && width > 0), "the input has no elements");
  const auto locate = [&](double x, std::int64_t extent) {
    const auto size = static_cast<double>(extent);
    return is_aligned ? (x + 1) / 2 * (size - 1) : ((x + 1) * size - 1) / 2;
  };
  const auto inside = [&](double x, std::int64_t extent) {
    const auto size = static_cast<double>(extent);
    if (padding == "border") return std::clamp(x, 0.0, size - 1);
    if (padding == "reflection") {
      const double folded = is_aligned ? reflect(x, 0, size - 1) : reflect(x, -0.5, size - 0.5);
      return std::clamp(folded, 0.0, size - 1);
    }
    return x;
  };
  require_float(call, in.dtype(), [&](auto tag) {
    using T = decltype(tag);
    const auto from = in.as<T>();
    const auto to = out.mutable_as<T>();
    const auto position = [&](std::int64_t index) {
      return grid.dtype() == DType::kFloat64 ? grid.as<double>()[index] : static_cast<double>(grid.as<float>()[index]);
    };
    for (std::int64_t batch = 0; batch < shape[0]; ++batch) {
      for (std::int64_t cell = 0; cell < shape[2] * shape[3]; ++cell) {
        const std::int64_t at = (batch * shape[2] * shape[3] + cell) * 2;
        double x = locate(position(at), width);
        double y = locate(position(at + 1), height);
        // Cubic kernels reach over the edge, so they apply the padding to each element instead.
        if (mode != "cubic") {
          x = inside(x, width);
          y = inside(y, height);
        }
        if (std::isnan(x) || std::isnan(y)) {
          for (std::int64_t channel = 0; channel < shape[1]; ++channel) {
            to[(batch * shape[1] + channel) * shape[2] * shape[3] + cell] = std::numeric_limits<T>::quiet_NaN();
          }
          continue;
        }
        x = bounded(x);
        y = bounded(y);
        for (std::int64_t channel = 0; channel < shape[1]; ++channel) {
          const T* plane = from.data() + (batch * shape[1] + channel) * height * width;
          const auto pixel = [&](std::int64_t row, std::int64_t column) -> double {
            if (mode == "cubic" && padding != "zeros") {
              row = static_cast<std::int64_t>(inside(static_cast<double>(row), height));
              column = static_cast<std::int64_t>(inside(static_cast<double>(column), width));
            }
            const bool is_inside = row >= 0 && row < height && column >= 0 && column < width;
            return is_inside ? static_cast<double>(plane[row * width + column]) : 0.0;
          };
          double sum = 0;
          if (mode == "nearest") {
            sum = pixel(static_cast<std::int64_t>(std::nearbyint(y)), static_cast<std::int64_t>(std::nearbyint(x)));
          } else {
            const std::int64_t reach = mode == "cubic" ? 2 : 1;
            const auto left = static_cast<std::int64_t>(std::floor(x));
            const auto top = static_cast<std::int64_t>(std::floor(y));
            for (std::int64_t row = top - reach + 1; row <= top + reach; ++row) {
              for (std::int64_t column = left - reach + 1; column <= left + reach; ++column) {
                const double dy = y - static_cast<double>(row);
                const double dx = x - static_cast<double>(column);
                const double weight = mode == "cubic" ? cubic_weight(dy, -0.75) * cubic_weight(dx, -0.75)
                                                      : (1 - std::fabs(dy)) * (1 - std::fabs(dx));
                if (weight != 0) sum += weight * pixel(row, column);
              }
            }
          }
          to[(batch * shape[1] + channel) * shape[2] * shape[3] + cell] = static_cast<T>(sum);
        }
      }
    }
  });
  return {out};
}

}  // namespace

void add_resize(KernelTable& table) {
  table["Resize"] = {resize, true};
  table["Upsample"] = {resize, true};
  table["GridSample"] = {grid_sample, true};
}

}  // namespace pajamas::interpreter
