// Operators that pick, place, count or order elements by index: Gather and Scatter families, TopK, NonZero, OneHot,
// Range, Trilu and their kin.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "graph/interpreter/support.h"

namespace pajamas::interpreter {
namespace {

/// Indices as flat int64 of any rank, each wrapped from [-extent, extent) to [0, extent).
std::vector<std::int64_t> indices_of(const Call& call, const Tensor& tensor, std::int64_t extent) {
  auto values = read_integers(call, tensor.reshaped({tensor.num_elements()}));
  for (std::int64_t& value : values) {
    if (value < -extent || value >= extent) {
      call.fail("index " + std::to_string(value) + " is outside an axis of " + std::to_string(extent));
    }
    if (value < 0) value += extent;
  }
  return values;
}

struct AxisSplit {
  std::int64_t outer = 1;
  std::int64_t extent = 1;
  std::int64_t inner = 1;
};

AxisSplit split_at(const Shape& shape, std::size_t axis) {
  AxisSplit split;
  for (std::size_t i = 0; i < shape.rank(); ++i) {
    (i < axis ? split.outer : i == axis ? split.extent : split.inner) *= shape[i];
  }
  return split;
}

std::vector<Tensor> gather(const Call& call) {
  const Tensor& data = call.input(0);
  const Tensor& indices = call.input(1);
  const std::size_t axis = call.axis(call.node.int_attribute("axis", 0), data.shape().rank());
  const AxisSplit split = split_at(data.shape(), axis);
  const auto index = indices_of(call, indices, split.extent);
  Shape shape;
  for (std::size_t i = 0; i < axis; ++i) shape.push_back(data.shape()[i]);
  for (const std::int64_t extent : indices.shape()) shape.push_back(extent);
  for (std::size_t i = axis + 1; i < data.shape().rank(); ++i) shape.push_back(data.shape()[i]);
  const auto count = static_cast<std::int64_t>(index.size());
  if (data.dtype() == DType::kString) {
    call.require_room_for_strings(shape);
    std::vector<std::int64_t> flat;
    for (std::int64_t outer = 0; outer < split.outer; ++outer) {
      for (const std::int64_t i : index) {
        for (std::int64_t k = 0; k < split.inner; ++k) flat.push_back((outer * split.extent + i) * split.inner + k);
      }
    }
    return {gather_flat(call, data, shape, flat)};
  }
  if (bits_of(data.dtype()) % 8 != 0) call.unsupported("a gather of packed elements");
  Tensor out = call.make(data.dtype(), shape);
  const std::size_t bytes = static_cast<std::size_t>(split.inner) * bits_of(data.dtype()) / 8;
  std::byte* to = out.mutable_bytes().data();
  const std::byte* from = data.bytes().data();
  if (bytes == 0) return {out};
  for (std::int64_t outer = 0; outer < split.outer; ++outer) {
    for (std::int64_t i = 0; i < count; ++i, to += bytes) {
      std::memcpy(to, from + static_cast<std::size_t>(outer * split.extent + index[i]) * bytes, bytes);
    }
  }
  return {out};
}

/// Flat offset in a tensor of `data` shape for every element of a tensor of `shape`, with `index` along `axis`.
std::vector<std::int64_t> along_axis(const Shape& shape, const Shape& data, std::size_t axis,
                                     const std::vector<std::int64_t>& index) {
  const auto strides = strides_of(data);
  std::vector<std::int64_t> flat(index.size());
  std::vector<std::int64_t> position(shape.rank(), 0);
  for (std::size_t i = 0; i < flat.size(); ++i) {
    std::int64_t offset = 0;
    for (std::size_t k = 0; k < shape.rank(); ++k) offset += (k == axis ? index[i] : position[k]) * strides[k];
    flat[i] = offset;
    for (std::size_t k = shape.rank(); k-- > 0;) {
      if (++position[k] < shape[k]) break;
      position[k] = 0;
    }
  }
  return flat;
}

void require_inside(const Call& call, const Shape& shape, const Shape& data, std::size_t axis) {
  call.require(shape.rank() == data.rank(), "indices must have the rank of the data");
  for (std::size_t i = 0; i < shape.rank(); ++i) {
    call.require(i == axis || shape[i] <= data[i], "indices reach past the data");
  }
}

std::vector<Tensor> gather_elements(const Call& call) {
  const Tensor& data = call.input(0);
  const Tensor& indices = call.input(1);
  const std::size_t axis = call.axis(call.node.int_attribute("axis", 0), data.shape().rank());
  require_inside(call, indices.shape(), data.shape(), axis);
  const auto index = indices_of(call, indices, data.shape()[axis]);
  return {gather_flat(call, data, indices.shape(), along_axis(indices.shape(), data.shape(), axis, index))};
}

/// Offsets of the slices that the last axis of `indices` names, after `batch_dims` leading axes in common.
std::vector<std::int64_t> nd_offsets(const Call& call, const Shape& data, const Tensor& indices,
                                     std::size_t batch_dims) {
  const Shape& shape = indices.shape();
  call.require(shape.rank() >= 1, "indices must have at least one axis");
  const auto depth = static_cast<std::size_t>(shape[shape.rank() - 1]);
  call.require(batch_dims + depth <= data.rank() && batch_dims < shape.rank(), "indices name more axes than there are");
  const auto values = read_integers(call, indices.reshaped({indices.num_elements()}));
  const auto strides = strides_of(data);
  const std::vector<std::int64_t> lead(shape.begin(), shape.end() - 1);
  const std::int64_t num_tuples = Shape(lead).num_elements();
  const std::int64_t per_batch =
      Shape({lead.begin() + static_cast<std::ptrdiff_t>(batch_dims), lead.end()}).num_elements();
  std::int64_t batch_stride = 1;
  for (std::size_t i = batch_dims; i < data.rank(); ++i) batch_stride *= data[i];
  for (std::size_t i = 0; i < batch_dims; ++i) call.require(shape[i] == data[i], "the batch axes differ");
  // Tuples of no numbers take no memory, so any number of them may be given.
  if (static_cast<std::uint64_t>(num_tuples) > call.max_output_bytes / sizeof(std::int64_t)) {
    call.unsupported("so many indices");
  }
  std::vector<std::int64_t> offsets(static_cast<std::size_t>(num_tuples), 0);
  for (std::size_t i = 0; i < offsets.size(); ++i) {
    std::int64_t offset = static_cast<std::int64_t>(i) / per_batch * batch_stride;
    for (std::size_t k = 0; k < depth; ++k) {
      std::int64_t value = values[i * depth + k];
      const std::int64_t extent = data[batch_dims + k];
      if (value < -extent || value >= extent) call.fail("index " + std::to_string(value) + " is outside the data");
      if (value < 0) value += extent;
      offset += value * strides[batch_dims + k];
    }
    offsets[i] = offset;
  }
  return offsets;
}

std::vector<Tensor> gather_nd(const Call& call) {
  const Tensor& data = call.input(0);
  const Tensor& indices = call.input(1);
  const auto batch_dims = static_cast<std::size_t>(std::max<std::int64_t>(0, call.node.int_attribute("batch_dims", 0)));
  const auto offsets = nd_offsets(call, data.shape(), indices, batch_dims);
  const std::size_t depth = static_cast<std::size_t>(indices.shape()[indices.shape().rank() - 1]);
  Shape shape;
  for (std::size_t i = 0; i + 1 < indices.shape().rank(); ++i) shape.push_back(indices.shape()[i]);
  std::int64_t inner = 1;
  for (std::size_t i = batch_dims + depth; i < data.shape().rank(); ++i) {
    shape.push_back(data.shape()[i]);
    inner *= data.shape()[i];
  }
  if (static_cast<std::uint64_t>(inner) * offsets.size() > call.max_output_bytes) call.unsupported("so large a gather");
  std::vector<std::int64_t> flat;
  flat.reserve(offsets.size() * static_cast<std::size_t>(inner));
  for (const std::int64_t offset : offsets) {
    for (std::int64_t k = 0; k < inner; ++k) flat.push_back(offset + k);
  }
  return {gather_flat(call, data, shape, flat)};
}

/// `out[to[i]] = reduce(out[to[i]], updates[i])` in order.
Tensor scatter(const Call& call, const Tensor& data, const Tensor& updates, const std::vector<std::int64_t>& to) {
  const std::string reduction = call.node.string_attribute("reduction", "none");
  call.require(updates.dtype() == data.dtype(), "the updates must have the type of the data");
  call.require(updates.num_elements() == static_cast<std::int64_t>(to.size()), "one update an index is wanted");
  if (data.dtype() == DType::kString) {
    if (reduction != "none") call.unsupported("a reduction of strings");
    auto values = data.strings();
    for (std::size_t i = 0; i < to.size(); ++i) values[static_cast<std::size_t>(to[i])] = updates.strings()[i];
    return Tensor(data.shape(), std::move(values));
  }
  if (data.size_bytes() > call.max_output_bytes) call.unsupported("so large a scatter");
  Tensor out = Tensor::copy_of(data.view());
  if (reduction == "none") {
    visit_size(call, data.dtype(), [&](auto tag) {
      using Element = decltype(tag);
      const auto* from = reinterpret_cast<const Element*>(updates.bytes().data());
      auto* values = reinterpret_cast<Element*>(out.mutable_bytes().data());
      for (std::size_t i = 0; i < to.size(); ++i) values[to[i]] = from[i];
    });
    return out;
  }
  const bool is_known = reduction == "add" || reduction == "mul" || reduction == "min" || reduction == "max";
  call.require(is_known, "an unknown reduction");
  const bool is_half = data.dtype() == DType::kFloat16 || data.dtype() == DType::kBfloat16;
  Tensor wide = is_half ? widened(data) : out;
  const Tensor wide_updates = widened(updates);
  require_numeric(call, wide.dtype(), [&](auto tag) {
    using T = decltype(tag);
    const auto from = wide_updates.as<T>();
    const auto values = wide.mutable_as<T>();
    for (std::size_t i = 0; i < to.size(); ++i) {
      T& value = values[to[i]];
      if (reduction == "add") {
        value = static_cast<T>(value + from[i]);
      } else if (reduction == "mul") {
        value = static_cast<T>(value * from[i]);
      } else if (reduction == "min") {
        value = std::min(value, from[i]);
      } else {
        value = std::max(value, from[i]);
      }
    }
  });
  return is_half ? narrowed(wide, data.dtype()) : wide;
}

std::vector<Tensor> scatter_elements(const Call& call) {
  const Tensor& data = call.input(0);
  const Tensor& indices = call.input(1);
  const std::size_t axis = call.axis(call.node.int_attribute("axis", 0), data.shape().rank());
  require_inside(call, indices.shape(), data.shape(), axis);
  call.require(indices.shape() == call.input(2).shape(), "the updates must have the shape of the indices");
  const auto index = indices_of(call, indices, data.shape()[axis]);
  return {scatter(call, data, call.input(2), along_axis(indices.shape(), data.shape(), axis, index))};
}

std::vector<Tensor> scatter_nd(const Call& call) {
  const Tensor& data = call.input(0);
  const Tensor& indices = call.input(1);
  const auto offsets = nd_offsets(call, data.shape(), indices, 0);
  const std::size_t depth = static_cast<std::size_t>(indices.shape()[indices.shape().rank() - 1]);
  std::int64_t inner = 1;
  for (std::size_t i = depth; i < data.shape().rank(); ++i) inner *= data.shape()[i];
  call.require(call.input(2).num_elements() == static_cast<std::int64_t>(offsets.size()) * inner,
               "the updates do not fit the indices");
  std::vector<std::int64_t> flat;
  for (const std::int64_t offset : offsets) {
    for (std::int64_t k = 0; k < inner; ++k) flat.push_back(offset + k);
  }
  return {scatter(call, data, call.input(2), flat)};
}

std::vector<Tensor> range(const Call& call) {
  const Tensor& start = call.input(0);
  Tensor out;
  require_numeric(call, start.dtype(), [&](auto tag) {
    using T = decltype(tag);
    for (std::size_t i = 0; i < 3; ++i) call.require(call.input(i).num_elements() == 1, "a single value is wanted");
    const T first = call.input(0).as<T>()[0];
    const T limit = call.input(1).as<T>()[0];
    const T delta = call.input(2).as<T>()[0];
    call.require(delta != T{0}, "a step of 0");
    std::int64_t count = 0;
    if constexpr (std::is_floating_point_v<T>) {
      const double steps = std::ceil((static_cast<double>(limit) - static_cast<double>(first)) / delta);
      call.require(std::isfinite(steps) && steps < 9e18, "an endless range");
      count = std::max<std::int64_t>(0, static_cast<std::int64_t>(steps));
    } else {
      const bool is_up = delta > T{0};
      if (is_up ? first < limit : limit < first) {
        // Unsigned differences hold the distance of any two 64-bit values. (+: an int8 is a number here.)
        const auto low = static_cast<std::uint64_t>(+(is_up ? first : limit));
        const auto high = static_cast<std::uint64_t>(+(is_up ? limit : first));
        const std::uint64_t step = is_up ? static_cast<std::uint64_t>(delta) : 0 - static_cast<std::uint64_t>(delta);
        const std::uint64_t steps = (high - low - 1) / step + 1;
        call.require(steps < (std::uint64_t{1} << 62), "an endless range");
        count = static_cast<std::int64_t>(steps);
      }
    }
    out = call.make(start.dtype(), {count});
    const auto to = out.mutable_as<T>();
    for (std::size_t i = 0; i < to.size(); ++i) to[i] = static_cast<T>(first + static_cast<T>(i) * delta);
  });
  return {out};
}

std::vector<Tensor> non_zero(const Call& call) {
  const Tensor& in = call.input(0);
  std::vector<std::int64_t> found;
  const auto scan = [&](auto tag) {
    using T = decltype(tag);
    const auto* values = reinterpret_cast<const T*>(in.bytes().data());
    const std::int64_t count = in.num_elements();
    for (std::int64_t i = 0; i < count; ++i) {
      if (values[i] != T{0}) found.push_back(i);
    }
  };
  if (in.dtype() == DType::kBool) {
    scan(std::uint8_t{});
  } else {
    require_numeric(call, in.dtype(), scan);
  }
  const std::size_t rank = in.shape().rank();
  const auto count = static_cast<std::int64_t>(found.size());
  Tensor out = call.make(DType::kInt64, {static_cast<std::int64_t>(rank), count});
  const auto to = out.mutable_as<std::int64_t>();
  const auto strides = strides_of(in.shape());
  for (std::int64_t i = 0; i < count; ++i) {
    for (std::size_t axis = 0; axis < rank; ++axis) {
      to[axis * found.size() + i] = found[i] / strides[axis] % in.shape()[axis];
    }
  }
  return {out};
}

std::vector<Tensor> one_hot(const Call& call) {
  const Tensor& indices = call.input(0);
  const Tensor& values = call.input(2);
  const auto depth = static_cast<std::int64_t>(read_number(call, call.input(1)));
  call.require(depth >= 0 && values.num_elements() == 2, "a depth and two values [off, on] are wanted");
  const std::size_t axis = call.axis(call.node.int_attribute("axis", -1), indices.shape().rank() + 1);
  Tensor wide = call.make(DType::kFloat64, {indices.num_elements()});
  const auto wanted = wide.mutable_as<double>();
  require_numeric(call, indices.dtype(), [&](auto tag) {
    const auto from = indices.as<decltype(tag)>();
    std::transform(from.begin(), from.end(), wanted.begin(), [](auto x) { return static_cast<double>(x); });
  });
  Shape shape;
  for (std::size_t i = 0; i < axis; ++i) shape.push_back(indices.shape()[i]);
  shape.push_back(depth);
  for (std::size_t i = axis; i < indices.shape().rank(); ++i) shape.push_back(indices.shape()[i]);
  const AxisSplit split = split_at(shape, axis);
  call.make(DType::kInt64, shape);  // refuses what is too large
  std::vector<std::int64_t> flat(static_cast<std::size_t>(shape.num_elements()), 0);
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const double index = wanted[i] < 0 ? wanted[i] + static_cast<double>(depth) : wanted[i];
    if (!(index >= 0 && index < static_cast<double>(depth))) continue;  // out of range: a row without an "on"
    const auto outer = static_cast<std::int64_t>(i) / split.inner;
    const auto inner = static_cast<std::int64_t>(i) % split.inner;
    flat[(outer * depth + static_cast<std::int64_t>(index)) * split.inner + inner] = 1;
  }
  return {gather_flat(call, values, shape, flat)};
}

std::vector<Tensor> eye_like(const Call& call) {
  const Tensor& in = call.input(0);
  call.require(in.shape().rank() == 2, "a matrix is wanted");
  auto dtype = static_cast<DType>(call.node.int_attribute("dtype", 0));
  if (dtype == DType::kUndefined) dtype = in.dtype();
  const std::int64_t k = call.node.int_attribute("k", 0);
  Tensor out = call.make(DType::kFloat64, in.shape());
  const auto to = out.mutable_as<double>();
  std::fill(to.begin(), to.end(), 0.0);
  for (std::int64_t row = 0; row < in.shape()[0]; ++row) {
    const bool is_inside = k > -in.shape()[0] && k < in.shape()[1] && row + k >= 0 && row + k < in.shape()[1];
    if (is_inside) to[row * in.shape()[1] + row + k] = 1;
  }
  Node cast;
  cast.op_type = "Cast";
  cast.outputs = {"out"};
  cast.set_attribute("to", static_cast<std::int64_t>(dtype));
  const Tensor* inputs[] = {&out};
  return kernels().find("Cast")->second.kernel(Call{cast, inputs, call.opset, call.max_output_bytes});
}

std::vector<Tensor> trilu(const Call& call) {
  const Tensor& in = call.input(0);
  const std::size_t rank = in.shape().rank();
  call.require(rank >= 2, "a tensor of rank 2 or more is wanted");
  const bool is_upper = call.node.int_attribute("upper", 1) != 0;
  const std::int64_t rows = in.shape()[rank - 2];
  const std::int64_t columns = in.shape()[rank - 1];
  std::int64_t k = 0;
  if (const Tensor* tensor = call.optional_input(1)) {
    const auto values = read_integers(call, tensor->reshaped({tensor->num_elements()}));
    call.require(values.size() == 1, "k must be one value");
    k = std::clamp(values[0], -rows - columns, rows + columns);
  }
  if (in.size_bytes() > call.max_output_bytes) call.unsupported("so large a matrix");
  Tensor out = Tensor::copy_of(in.view());
  const std::int64_t num_rows = rows * columns == 0 ? 0 : in.num_elements() / columns;
  visit_size(call, in.dtype(), [&](auto tag) {
    using Element = decltype(tag);
    auto* values = reinterpret_cast<Element*>(out.mutable_bytes().data());
    for (std::int64_t row = 0; row < num_rows; ++row) {
      for (std::int64_t column = 0; column < columns; ++column) {
        const std::int64_t distance = column - row % rows;
        if (is_upper ? distance < k : distance > k) values[row * columns + column] = Element{};
      }
    }
  });
  return {out};
}

std::vector<Tensor> top_k(const Call& call) {
  const Tensor& in = call.input(0);
  const std::size_t axis = call.axis(call.node.int_attribute("axis", -1), in.shape().rank());
  std::int64_t k = call.node.int_attribute("k", 0);
  if (call.opset >= 10) {
    const auto given = read_integers(call, call.input(1));
    call.require(given.size() == 1, "k must be one value");
    k = given[0];
  }
  const AxisSplit split = split_at(in.shape(), axis);
  call.require(k >= 0 && k <= split.extent, "k is past the axis");
  const bool is_largest = call.node.int_attribute("largest", 1) != 0;
  Shape shape = in.shape();
  shape[axis] = k;
  Tensor indices = call.make(DType::kInt64, shape);
  std::vector<std::int64_t> flat(static_cast<std::size_t>(shape.num_elements()));
  const auto positions = indices.mutable_as<std::int64_t>();
  require_numeric(call, in.dtype(), [&](auto tag) {
    using T = decltype(tag);
    const auto values = in.as<T>();
    std::vector<std::int64_t> order(static_cast<std::size_t>(split.extent));
    for (std::int64_t outer = 0; outer < split.outer; ++outer) {
      for (std::int64_t inner = 0; inner < split.inner; ++inner) {
        const std::int64_t base = outer * split.extent * split.inner + inner;
        std::iota(order.begin(), order.end(), 0);
        // Ties: the lower index first, as ONNX says. NaN counts as the largest value.
        std::partial_sort(order.begin(), order.begin() + k, order.end(), [&](std::int64_t a, std::int64_t b) {
          const T x = values[base + a * split.inner];
          const T y = values[base + b * split.inner];
          if constexpr (std::is_floating_point_v<T>) {
            if (std::isnan(x) || std::isnan(y)) {
              if (std::isnan(x) && std::isnan(y)) return a < b;
              return std::isnan(x) == is_largest;
            }
          }
          if (x != y) return is_largest ? x > y : x < y;
          return a < b;
        });
        for (std::int64_t i = 0; i < k; ++i) {
          const std::int64_t at = (outer * k + i) * split.inner + inner;
          positions[at] = order[i];
          flat[at] = base + order[i] * split.inner;
        }
      }
    }
  });
  return {gather_flat(call, in, shape, flat), indices};
}

template <bool is_max>
std::vector<Tensor> arg_extreme(const Call& call) {
  const Tensor& in = call.input(0);
  const std::size_t axis = call.axis(call.node.int_attribute("axis", 0), in.shape().rank());
  const bool is_last = call.node.int_attribute("select_last_index", 0) != 0;
  const AxisSplit split = split_at(in.shape(), axis);
  call.require(split.extent > 0, "an empty axis has no extreme");
  Shape shape;
  for (std::size_t i = 0; i < in.shape().rank(); ++i) {
    if (i != axis) {
      shape.push_back(in.shape()[i]);
    } else if (call.node.int_attribute("keepdims", 1) != 0) {
      shape.push_back(1);
    }
  }
  Tensor out = call.make(DType::kInt64, shape);
  const auto to = out.mutable_as<std::int64_t>();
  require_numeric(call, in.dtype(), [&](auto tag) {
    const auto values = in.as<decltype(tag)>();
    for (std::int64_t outer = 0; outer < split.outer; ++outer) {
      for (std::int64_t inner = 0; inner < split.inner; ++inner) {
        const std::int64_t base = outer * split.extent * split.inner + inner;
        std::int64_t best = 0;
        for (std::int64_t i = 1; i < split.extent; ++i) {
          const auto x = values[base + i * split.inner];
          const auto y = values[base + best * split.inner];
          if ((is_max ? x > y : x < y) || (is_last && x == y)) best = i;
        }
        to[outer * split.inner + inner] = best;
      }
    }
  });
  return {out};
}

std::vector<Tensor> cumulative_sum(const Call& call) {
  const Tensor& in = call.input(0);
  const auto axis = call.axis(static_cast<std::int64_t>(read_number(call, call.input(1))), in.shape().rank());
  const bool is_exclusive = call.node.int_attribute("exclusive", 0) != 0;
  const bool is_reverse = call.node.int_attribute("reverse", 0) != 0;
  const AxisSplit split = split_at(in.shape(), axis);
  Tensor out = call.make(in.dtype(), in.shape());
  require_numeric(call, in.dtype(), [&](auto tag) {
    using T = decltype(tag);
    using Sum = std::conditional_t<std::is_floating_point_v<T>, double, std::uint64_t>;
    const auto from = in.as<T>();
    const auto to = out.mutable_as<T>();
    for (std::int64_t outer = 0; outer < split.outer; ++outer) {
      for (std::int64_t inner = 0; inner < split.inner; ++inner) {
        Sum sum{};
        for (std::int64_t i = 0; i < split.extent; ++i) {
          const std::int64_t along = is_reverse ? split.extent - 1 - i : i;
          const std::int64_t at = (outer * split.extent + along) * split.inner + inner;
          const T value = from[at];
          if (is_exclusive) to[at] = static_cast<T>(sum);
          sum += static_cast<Sum>(value);
          if (!is_exclusive) to[at] = static_cast<T>(sum);
        }
      }
    }
  });
  return {out};
}

}  // namespace

void add_indexing(KernelTable& table) {
  table["Gather"] = {gather, false};
  table["GatherElements"] = {gather_elements, false};
  table["GatherND"] = {gather_nd, false};
  table["Scatter"] = {scatter_elements, false};
  table["ScatterElements"] = {scatter_elements, false};
  table["ScatterND"] = {scatter_nd, false};
  table["Range"] = {range, true};
  table["NonZero"] = {non_zero, true};
  table["OneHot"] = {one_hot, false};
  table["EyeLike"] = {eye_like, false};
  table["Trilu"] = {trilu, false};
  table["TopK"] = {top_k, true};
  table["ArgMax"] = {arg_extreme<true>, true};
  table["ArgMin"] = {arg_extreme<false>, true};
  table["CumSum"] = {cumulative_sum, true};
}

}  // namespace pajamas::interpreter
