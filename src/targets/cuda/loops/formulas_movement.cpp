// Operators that only rename indices or pick elements by index, as formulas: views, Concat, Pad, Slice, the Gather
// family, Range, OneHot, Resize and their kin. Indices that are read at run time and lie outside are clamped: reading
// elsewhere would be a fault, and an error cannot be raised from the middle of a graph on the GPU.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "targets/cuda/loops/region.h"

namespace pajamas::cuda::loops {
namespace {

ExprId identity(Region& region, const Node& node, std::size_t output, const Index& index, ExprId guard) {
  if (node.op_type == "Dropout" && region.has_input(node, 2)) {
    region.require(node, region.number(node, 2) == 0, "Dropout in training");
  }
  if (output == 0) return region.at(node.inputs[0], index, guard);
  return region.pool.boolean(true);  // Dropout's mask
}

ExprId reshape(Region& region, const Node& node, std::size_t output, const Index& index, ExprId guard) {
  const Shape from = region.shape_of(node.inputs[0]);
  const Shape to = region.shape_of(node.outputs[output]);
  return region.at(node.inputs[0], region.index_of_flat(region.flat_of_index(index, to), from), guard);
}

ExprId transpose(Region& region, const Node& node, std::size_t, const Index& index, ExprId guard) {
  auto order = node.ints_attribute("perm");
  if (order.empty()) {
    order.resize(index.size());
    std::iota(order.rbegin(), order.rend(), 0);
  }
  region.require(node, order.size() == index.size(), "attribute 'perm' does not fit the rank");
  Index from(index.size());
  for (std::size_t i = 0; i < order.size(); ++i) from[region.axis(node, order[i], index.size())] = index[i];
  return region.at(node.inputs[0], from, guard);
}

ExprId expand(Region& region, const Node& node, std::size_t, const Index& index, ExprId guard) {
  return region.operand(node, 0, index, guard);
}

ExprId tile(Region& region, const Node& node, std::size_t, const Index& index, ExprId guard) {
  const Shape shape = region.shape_of(node.inputs[0]);
  Index from = index;
  for (std::size_t i = 0; i < from.size(); ++i) {
    from[i] = shape[i] > 0 ? region.pool.modulo(index[i], shape[i]) : index[i];
  }
  return region.at(node.inputs[0], from, guard);
}

ExprId slice(Region& region, const Node& node, std::size_t, const Index& index, ExprId guard) {
  const Shape shape = region.shape_of(node.inputs[0]);
  std::vector<std::int64_t> starts;
  std::vector<std::int64_t> axes;
  std::vector<std::int64_t> steps;
  if (region.opset() < 10) {
    starts = node.ints_attribute("starts");
    axes = node.ints_attribute("axes");
  } else {
    starts = region.integers(node, 1);
    if (region.has_input(node, 3)) axes = region.integers(node, 3);
    if (region.has_input(node, 4)) steps = region.integers(node, 4);
  }
  if (axes.empty()) {
    axes.resize(starts.size());
    std::iota(axes.begin(), axes.end(), 0);
  }
  steps.resize(starts.size(), 1);
  Index from = index;
  for (std::size_t i = 0; i < starts.size(); ++i) {
    const std::size_t axis = region.axis(node, axes[i], shape.rank());
    const std::int64_t extent = shape[axis];
    const std::int64_t wrapped = starts[i] < 0 ? starts[i] + extent : starts[i];
    const std::int64_t start =
        steps[i] > 0 ? std::clamp<std::int64_t>(wrapped, 0, extent) : std::clamp<std::int64_t>(wrapped, -1, extent - 1);
    // A step past the extent picks one element, and its product must not overflow.
    const std::int64_t step = std::clamp(steps[i], -extent - 1, extent + 1);
    from[axis] = region.pool.add(region.pool.scale(index[axis], step), start);
  }
  return region.at(node.inputs[0], from, guard);
}

ExprId split(Region& region, const Node& node, std::size_t output, const Index& index, ExprId guard) {
  const std::size_t axis = region.axis(node, node.int_attribute("axis", 0), index.size());
  std::int64_t start = 0;
  for (std::size_t i = 0; i < output; ++i) start += region.shape_of(node.outputs[i])[axis];
  Index from = index;
  from[axis] = region.pool.add(index[axis], start);
  return region.at(node.inputs[0], from, guard);
}

ExprId concat(Region& region, const Node& node, std::size_t, const Index& index, ExprId guard) {
  ExprPool& pool = region.pool;
  const std::size_t axis = region.axis(node, node.int_attribute("axis", 0), index.size());
  std::vector<std::int64_t> ends;
  std::vector<std::size_t> parts;
  std::int64_t end = 0;
  for (std::size_t i = 0; i < node.inputs.size(); ++i) {
    const std::int64_t extent = region.shape_of(node.inputs[i])[axis];
    end += extent;
    if (extent == 0) continue;
    parts.push_back(i);
    ends.push_back(end);
  }
  ExprId result = kNone;
  for (std::size_t k = parts.size(); k-- > 0;) {
    const std::int64_t start = k == 0 ? 0 : ends[k - 1];
    const ExprId after = k == 0 ? kNone : pool.non_negative(pool.add(index[axis], -start));
    const ExprId before =
        k + 1 == parts.size() ? kNone : pool.non_negative(pool.add(pool.scale(index[axis], -1), ends[k] - 1));
    if (pool.is_false(after == kNone ? pool.boolean(true) : after) ||
        pool.is_false(before == kNone ? pool.boolean(true) : before)) {
      continue;
    }
    Index from = index;
    from[axis] = pool.assume(pool.add(index[axis], -start), 0, ends[k] - start - 1);
    const ExprId own = pool.both(pool.both(guard, after), before);
    const ExprId part = region.at(node.inputs[parts[k]], from, own);
    result = result == kNone ? part : pool.select(before == kNone ? pool.boolean(true) : before, part, result, true);
  }
  region.require(node, result != kNone, "a concatenation of nothing");
  return result;
}

ExprId pad(Region& region, const Node& node, std::size_t, const Index& index, ExprId guard) {
  ExprPool& pool = region.pool;
  const Shape shape = region.shape_of(node.inputs[0]);
  const bool is_old = region.opset() < 11;
  const auto pads = is_old ? node.ints_attribute("pads") : region.integers(node, 1);
  std::vector<std::int64_t> axes(shape.rank());
  std::iota(axes.begin(), axes.end(), 0);
  if (!is_old && region.has_input(node, 3)) axes = region.integers(node, 3);
  region.require(node, pads.size() == 2 * axes.size(), "two pads an axis are wanted");
  const std::string mode = node.string_attribute("mode", "constant");
  Index from = index;
  ExprId inside = kNone;
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const std::size_t axis = region.axis(node, axes[i], shape.rank());
    const std::int64_t extent = shape[axis];
    const FormId at = pool.add(index[axis], -pads[i]);
    if (mode == "constant") {
      inside = pool.both(inside, pool.in_range(at, 0, extent));
      from[axis] = pool.assume(at, 0, std::max<std::int64_t>(extent - 1, 0));
    } else if (mode == "edge") {
      from[axis] = pool.clamp(at, 0, extent - 1);
    } else if (mode == "wrap") {
      from[axis] = pool.modulo(at, extent);
    } else {
      region.require(node, mode == "reflect", "an unknown padding mode");
      if (extent == 1) {
        from[axis] = pool.constant_form(0);
        continue;
      }
      // Folding by the period: min(p, period - p), with p = at mod period.
      const std::int64_t period = 2 * (extent - 1);
      const FormId folded = pool.modulo(at, period);
      const ExprId first = pool.index(folded);
      const ExprId second = pool.index(pool.add(pool.scale(folded, -1), period));
      from[axis] = pool.expr_form(pool.binary(Op::kMin, first, second), 0, extent - 1);
    }
  }
  const DType type = region.type_of(node.outputs[0]);
  ExprId fill = pool.number(type, 0);
  if (mode == "constant" && is_old) fill = pool.number(type, node.float_attribute("value", 0.0F));
  if (mode == "constant" && !is_old && region.has_input(node, 2)) {
    fill = region.at(node.inputs[2], Index(region.shape_of(node.inputs[2]).rank(), pool.constant_form(0)), guard);
  }
  if (pool.is_true(inside)) return region.at(node.inputs[0], from, guard);
  if (pool.is_false(inside)) return fill;
  const ExprId value = region.at(node.inputs[0], from, pool.both(guard, inside));
  return pool.select(inside, value, fill, pool.expr(value).kind != ExprKind::kLoad);
}

ExprId depth_to_space(Region& region, const Node& node, std::size_t, const Index& index, ExprId guard) {
  ExprPool& pool = region.pool;
  const Shape shape = region.shape_of(node.inputs[0]);
  const std::int64_t block = node.int_attribute("blocksize", 1);
  region.require(node, shape.rank() == 4 && block > 0, "a picture and a block size are wanted");
  const std::int64_t depth = shape[1] / (block * block);
  const FormId cell = pool.add(pool.scale(pool.modulo(index[2], block), block), pool.modulo(index[3], block));
  const FormId channel = node.string_attribute("mode", "DCR") == "DCR"
                             ? pool.add(pool.scale(cell, depth), index[1])
                             : pool.add(pool.scale(index[1], block * block), cell);
  return region.at(node.inputs[0], {index[0], channel, pool.divide(index[2], block), pool.divide(index[3], block)},
                   guard);
}

ExprId space_to_depth(Region& region, const Node& node, std::size_t, const Index& index, ExprId guard) {
  ExprPool& pool = region.pool;
  const Shape shape = region.shape_of(node.inputs[0]);
  const std::int64_t block = node.int_attribute("blocksize", 1);
  region.require(node, shape.rank() == 4 && block > 0, "a picture and a block size are wanted");
  const bool is_dcr = node.string_attribute("mode", "DCR") == "DCR";
  const FormId cell = is_dcr ? pool.divide(index[1], shape[1]) : pool.modulo(index[1], block * block);
  const FormId channel = is_dcr ? pool.modulo(index[1], shape[1]) : pool.divide(index[1], block * block);
  const FormId row = pool.add(pool.scale(index[2], block), pool.divide(cell, block));
  const FormId column = pool.add(pool.scale(index[3], block), pool.modulo(cell, block));
  return region.at(node.inputs[0], {index[0], channel, row, column}, guard);
}

/// A loaded index, negative ones counted from the end, clamped into the axis.
FormId wrapped_index(Region& region, ExprId loaded, std::int64_t extent) {
  ExprPool& pool = region.pool;
  const ExprId value = pool.cast(DType::kInt64, loaded);
  if (pool.is_constant(value)) {
    const std::int64_t known = pool.expr(value).integer;
    return pool.constant_form(std::clamp<std::int64_t>(known < 0 ? known + extent : known, 0, extent - 1));
  }
  const auto number = [&](std::int64_t x) { return pool.integer(DType::kInt64, x); };
  const ExprId is_negative = pool.binary(Op::kLess, value, number(0));
  const ExprId positive = pool.select(is_negative, pool.binary(Op::kAdd, value, number(extent)), value);
  const ExprId clamped = pool.binary(Op::kMax, number(0), pool.binary(Op::kMin, number(extent - 1), positive));
  return pool.expr_form(clamped, 0, std::max<std::int64_t>(extent - 1, 0));
}

ExprId gather(Region& region, const Node& node, std::size_t, const Index& index, ExprId guard) {
  const Shape shape = region.shape_of(node.inputs[0]);
  const std::size_t indices_rank = region.shape_of(node.inputs[1]).rank();
  const std::size_t axis = region.axis(node, node.int_attribute("axis", 0), shape.rank());
  const auto first = index.begin() + static_cast<std::ptrdiff_t>(axis);
  const auto last = first + static_cast<std::ptrdiff_t>(indices_rank);
  Index from(index.begin(), first);
  from.push_back(wrapped_index(region, region.at(node.inputs[1], Index(first, last), guard), shape[axis]));
  from.insert(from.end(), last, index.end());
  return region.at(node.inputs[0], from, guard);
}

ExprId gather_elements(Region& region, const Node& node, std::size_t, const Index& index, ExprId guard) {
  const Shape shape = region.shape_of(node.inputs[0]);
  const std::size_t axis = region.axis(node, node.int_attribute("axis", 0), shape.rank());
  Index from = index;
  from[axis] = wrapped_index(region, region.at(node.inputs[1], index, guard), shape[axis]);
  return region.at(node.inputs[0], from, guard);
}

ExprId gather_nd(Region& region, const Node& node, std::size_t, const Index& index, ExprId guard) {
  const Shape shape = region.shape_of(node.inputs[0]);
  const Shape indices = region.shape_of(node.inputs[1]);
  const auto batch = static_cast<std::size_t>(node.int_attribute("batch_dims", 0));
  const auto depth = static_cast<std::size_t>(indices[indices.rank() - 1]);
  const auto prefix = static_cast<std::ptrdiff_t>(indices.rank() - 1);
  Index from(index.begin(), index.begin() + static_cast<std::ptrdiff_t>(batch));
  for (std::size_t k = 0; k < depth; ++k) {
    Index at(index.begin(), index.begin() + prefix);
    at.push_back(region.pool.constant_form(static_cast<std::int64_t>(k)));
    from.push_back(wrapped_index(region, region.at(node.inputs[1], at, guard), shape[batch + k]));
  }
  from.insert(from.end(), index.begin() + prefix, index.end());
  return region.at(node.inputs[0], from, guard);
}

ExprId one_hot(Region& region, const Node& node, std::size_t, const Index& index, ExprId guard) {
  ExprPool& pool = region.pool;
  const std::size_t axis = region.axis(node, node.int_attribute("axis", -1), index.size());
  const Shape shape = region.shape_of(node.outputs[0]);
  Index at = index;
  at.erase(at.begin() + static_cast<std::ptrdiff_t>(axis));
  const ExprId value = region.at(node.inputs[0], at, guard);
  const DType type = pool.expr(value).type;
  const ExprId zero = pool.number(type, 0);
  const ExprId wrapped =
      pool.select(pool.binary(Op::kLess, value, zero),
                  pool.binary(Op::kAdd, value, pool.number(type, static_cast<double>(shape[axis]))), value);
  const ExprId is_on = pool.binary(Op::kEqual, wrapped, pool.cast(type, pool.index(index[axis])));
  return pool.select(is_on, region.at(node.inputs[2], {pool.constant_form(1)}, guard),
                     region.at(node.inputs[2], {pool.constant_form(0)}, guard));
}

ExprId range(Region& region, const Node& node, std::size_t, const Index& index, ExprId guard) {
  ExprPool& pool = region.pool;
  const auto value = [&](std::size_t input) {
    return region.at(node.inputs[input], Index(region.shape_of(node.inputs[input]).rank(), pool.constant_form(0)),
                     guard);
  };
  const ExprId start = value(0);
  const ExprId place = pool.cast(pool.expr(start).type, pool.index(index[0]));
  return pool.binary(Op::kAdd, start, pool.binary(Op::kMul, place, value(2)));
}

ExprId constant_of_shape(Region& region, const Node& node, std::size_t, const Index&, ExprId) {
  const Attribute* attribute = node.find_attribute("value");
  const DType type = region.type_of(node.outputs[0]);
  if (attribute == nullptr) return region.pool.number(type, 0);
  const Tensor& tensor = std::get<Tensor>(attribute->value);
  const std::string name = "value of " + node.outputs[0];
  region.add_constant(name, &tensor);
  return region.at(name, Index(tensor.shape().rank(), region.pool.constant_form(0)), kNone);
}

ExprId shape_of(Region& region, const Node& node, std::size_t, const Index& index, ExprId guard) {
  const Shape shape = region.shape_of(node.inputs[0]);
  if (node.op_type == "Size") return region.pool.integer(DType::kInt64, shape.num_elements());
  const auto rank = static_cast<std::int64_t>(shape.rank());
  const auto at = [&](std::int64_t value) {
    return std::clamp<std::int64_t>(value < 0 ? value + rank : value, 0, rank);
  };
  const std::int64_t first = at(node.int_attribute("start", 0));
  const std::int64_t last = at(node.int_attribute("end", rank));
  if (first >= last) return region.pool.integer(DType::kInt64, 0);
  const Tensor values =
      Tensor::of<std::int64_t>({last - first}, std::vector<std::int64_t>(shape.begin() + first, shape.begin() + last));
  if (last - first == 1) return region.pool.integer(DType::kInt64, shape[static_cast<std::size_t>(first)]);
  return region.pool.load(region.add_table(values), DType::kInt64, index[0], guard);
}

ExprId eye_like(Region& region, const Node& node, std::size_t, const Index& index, ExprId) {
  ExprPool& pool = region.pool;
  const Shape shape = region.shape_of(node.outputs[0]);
  const std::int64_t limit = shape[0] + shape[1] + 1;
  const std::int64_t k = std::clamp(node.int_attribute("k", 0), -limit, limit);
  const FormId distance = pool.add(pool.subtract(index[1], index[0]), -k);
  const DType type = region.type_of(node.outputs[0]);
  return pool.select(pool.in_range(distance, 0, 1), pool.number(type, 1), pool.number(type, 0));
}

ExprId trilu(Region& region, const Node& node, std::size_t, const Index& index, ExprId guard) {
  ExprPool& pool = region.pool;
  const Shape shape = region.shape_of(node.inputs[0]);
  const std::size_t rank = shape.rank();
  const std::int64_t limit = shape[rank - 1] + shape[rank - 2] + 1;
  std::int64_t k = 0;
  if (region.has_input(node, 1)) k = std::clamp(region.integers(node, 1).at(0), -limit, limit);
  const FormId distance = pool.add(pool.subtract(index[rank - 1], index[rank - 2]), -k);
  const bool is_upper = node.int_attribute("upper", 1) != 0;
  const ExprId keeps = pool.non_negative(is_upper ? distance : pool.scale(distance, -1));
  const ExprId value = region.at(node.inputs[0], index, guard);
  return pool.select(keeps, value, pool.number(pool.expr(value).type, 0));
}

// --- Resize ---

struct Sampling {
  std::string mode, coordinates, nearest;
  double cubic_a = -0.75;
  bool excludes_outside = false;
};

double cubic_weight(double distance, double a) {
  const double x = std::fabs(distance);
  if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0;
}

/// Where an output position lies in the input (the formulas of ONNX's coordinate_transformation_mode).
double source_of(const Sampling& sampling, double x, double in, double out, double scale) {
  const std::string& mode = sampling.coordinates;
  if (mode == "asymmetric") return x / scale;
  if (mode == "align_corners") return out <= 1 || in * scale == 1 ? 0 : x * (in - 1) / (in * scale - 1);
  if (mode == "pytorch_half_pixel" && out <= 1) return 0;
  if (mode == "tf_half_pixel_for_nn") return (x + 0.5) / scale;
  const double half_pixel = (x + 0.5) / scale - 0.5;
  return mode == "half_pixel_symmetric" ? in / 2 * (1 - out / (in * scale)) + half_pixel : half_pixel;
}

ExprId resize(Region& region, const Node& node, std::size_t, const Index& index, ExprId guard) {
  ExprPool& pool = region.pool;
  const Shape in = region.shape_of(node.inputs[0]);
  const Shape out = region.shape_of(node.outputs[0]);
  const bool is_old = region.opset() < 11 || node.op_type == "Upsample";
  Sampling sampling;
  sampling.mode = node.string_attribute("mode", "nearest");
  if (sampling.mode == "bilinear") sampling.mode = "linear";
  sampling.coordinates = is_old ? "asymmetric" : node.string_attribute("coordinate_transformation_mode", "half_pixel");
  sampling.nearest = is_old ? "floor" : node.string_attribute("nearest_mode", "round_prefer_floor");
  sampling.cubic_a = node.float_attribute("cubic_coeff_a", -0.75F);
  sampling.excludes_outside = node.int_attribute("exclude_outside", 0) != 0;
  region.require(node, node.int_attribute("antialias", 0) == 0, "Resize with antialias");
  region.require(node, sampling.coordinates != "tf_crop_and_resize", "Resize of a region");
  const DType type = region.type_of(node.outputs[0]);
  region.require(node, sampling.mode == "nearest" || is_float_type(register_type(type)), "interpolation of integers");
  std::vector<double> scales(in.rank());
  for (std::size_t i = 0; i < in.rank(); ++i) scales[i] = static_cast<double>(out[i]) / static_cast<double>(in[i]);
  std::vector<std::int64_t> axes = node.ints_attribute("axes");
  if (axes.empty()) {
    axes.resize(in.rank());
    std::iota(axes.begin(), axes.end(), 0);
  }
  const std::size_t scales_input = is_old ? 1 : 2;
  if (region.has_input(node, scales_input)) {
    const auto given = region.constant(node.inputs[scales_input]);
    if (given && given->num_elements() > 0) {
      region.require(node, given->dtype() == DType::kFloat32, "scales of another type than float32");
      for (std::size_t i = 0; i < axes.size(); ++i) {
        scales[region.axis(node, axes[i], in.rank())] = static_cast<double>(given->as<float>()[i]);
      }
    } else if (!given) {
      region.unsupported(node, "scales that are not known when the engine is built");
    }
  }
  region.require(node, node.string_attribute("keep_aspect_ratio_policy", "stretch") == "stretch",
                 "a kept aspect ratio");
  // Taps of each axis: input index forms and weights; an axis that stays has one.
  struct Tap {
    FormId at;
    ExprId weight;
  };
  std::vector<std::vector<Tap>> taps(in.rank());
  for (std::size_t i = 0; i < in.rank(); ++i) {
    if (in[i] == out[i] && scales[i] == 1) {
      taps[i] = {{index[i], kNone}};
      continue;
    }
    region.require(node, out[i] <= 4096, "Resize to more than 4096 along an axis");
    const std::size_t width = sampling.mode == "nearest" ? 1 : sampling.mode == "linear" ? 2 : 4;
    for (std::size_t tap = 0; tap < width; ++tap) {
      std::vector<std::int64_t> places;
      std::vector<float> weights;
      for (std::int64_t x = 0; x < out[i]; ++x) {
        const double source = source_of(sampling, static_cast<double>(x), static_cast<double>(in[i]),
                                        static_cast<double>(out[i]), scales[i]);
        double place = 0;
        double weight = 1;
        if (width == 1) {
          place = sampling.nearest == "round_prefer_floor"  ? std::ceil(source - 0.5)
                  : sampling.nearest == "round_prefer_ceil" ? std::floor(source + 0.5)
                  : sampling.nearest == "floor"             ? std::floor(source)
                                                            : std::ceil(source);
        } else {
          const double first = std::floor(source) - (width == 4 ? 1 : 0);
          const auto weight_at = [&](double p) {
            if (sampling.excludes_outside && (p < 0 || p >= static_cast<double>(in[i]))) return 0.0;
            return width == 4 ? cubic_weight(p - source, sampling.cubic_a) : std::max(0.0, 1 - std::fabs(p - source));
          };
          place = first + static_cast<double>(tap);
          weight = weight_at(place);
          if (sampling.excludes_outside) {
            double sum = 0;
            for (std::size_t k = 0; k < width; ++k) sum += weight_at(first + static_cast<double>(k));
            if (sum != 0) weight /= sum;
          }
        }
        places.push_back(std::clamp<std::int64_t>(static_cast<std::int64_t>(place), 0, in[i] - 1));
        weights.push_back(static_cast<float>(weight));
      }
      Tap made{-1, kNone};
      const std::int64_t factor = in[i] > 0 && out[i] % in[i] == 0 ? out[i] / in[i] : 0;
      bool is_division = factor > 0;
      for (std::int64_t x = 0; x < out[i] && is_division; ++x) {
        is_division = places[static_cast<std::size_t>(x)] == x / factor;
      }
      if (is_division) {
        made.at = pool.divide(index[i], factor);
      } else {
        const std::int32_t slot = region.add_table(Tensor::of<std::int64_t>({out[i]}, places));
        made.at = pool.expr_form(pool.load(slot, DType::kInt64, index[i], guard), 0, in[i] - 1);
      }
      if (width > 1) {
        const std::int32_t slot = region.add_table(Tensor::of<float>({out[i]}, weights));
        made.weight = pool.load(slot, DType::kFloat32, index[i], guard);
      }
      taps[i].push_back(made);
    }
  }
  std::size_t count = 1;
  for (const auto& list : taps) count *= list.size();
  region.require(node, count <= 64, "Resize of so many axes at once");
  ExprId sum = kNone;
  for (std::size_t k = 0; k < count; ++k) {
    Index from(in.rank());
    ExprId weight = kNone;
    std::size_t rest = k;
    for (std::size_t i = in.rank(); i-- > 0;) {
      const Tap& tap = taps[i][rest % taps[i].size()];
      rest /= taps[i].size();
      from[i] = tap.at;
      if (tap.weight != kNone) weight = weight == kNone ? tap.weight : pool.binary(Op::kMul, weight, tap.weight);
    }
    ExprId value = region.at(node.inputs[0], from, guard);
    if (weight != kNone) value = pool.binary(Op::kMul, value, pool.cast(pool.expr(value).type, weight));
    sum = sum == kNone ? value : pool.binary(Op::kAdd, sum, value);
  }
  return sum;
}

}  // namespace

void add_movement_formulas(OperatorTable& table) {
  for (const char* name : {"Reshape", "Flatten", "Squeeze", "Unsqueeze"}) {
    table[name] = {reshape, OperatorClass::kReshape, true};
  }
  for (const char* name : {"Identity", "Dropout"}) table[name] = {identity, OperatorClass::kPointwise, true};
  table["Transpose"] = {transpose, OperatorClass::kTranspose, true};
  for (const auto& [name, formula] :
       std::initializer_list<std::pair<const char*, Formula>>{{"Expand", expand},
                                                              {"Tile", tile},
                                                              {"Slice", slice},
                                                              {"Split", split},
                                                              {"Concat", concat},
                                                              {"Pad", pad},
                                                              {"DepthToSpace", depth_to_space},
                                                              {"SpaceToDepth", space_to_depth}}) {
    table[name] = {formula, OperatorClass::kMovement, true};
  }
}

void add_indexing_formulas(OperatorTable& table) {
  table["Gather"] = {gather, OperatorClass::kMovement, true};
  table["GatherElements"] = {gather_elements, OperatorClass::kMovement, true};
  table["GatherND"] = {gather_nd, OperatorClass::kMovement, true};
  table["OneHot"] = {one_hot, OperatorClass::kMovement, true};
  table["Range"] = {range, OperatorClass::kSource, true};
  table["ConstantOfShape"] = {constant_of_shape, OperatorClass::kSource, true};
  table["Shape"] = {shape_of, OperatorClass::kSource, true};
  table["Size"] = {shape_of, OperatorClass::kSource, true};
  table["EyeLike"] = {eye_like, OperatorClass::kSource, true};
  table["Trilu"] = {trilu, OperatorClass::kPointwise, true};
}

void add_resize_formulas(OperatorTable& table) {
  table["Resize"] = {resize, OperatorClass::kMovement, true};
  table["Upsample"] = {resize, OperatorClass::kMovement, true};
}

}  // namespace pajamas::cuda::loops
