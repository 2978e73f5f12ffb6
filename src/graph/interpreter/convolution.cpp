// Conv, ConvTranspose and the sliding window they share with pooling. Sums are kept in double.
#include <algorithm>
#include <numeric>

#include "graph/interpreter/window.h"

namespace pajamas::interpreter {

namespace {

std::int64_t multiply(const std::vector<std::int64_t>& extents) {
  return std::accumulate(extents.begin(), extents.end(), std::int64_t{1}, std::multiplies<>());
}

/// Above every model, and small enough that products of two do not overflow.
constexpr std::int64_t kMaxExtent = std::int64_t{1} << 31;

/// A window of `kernel` with the node's strides and dilations, without extents. `pads`: the node's, those before all
/// axes first.
Window read_window(const Call& call, std::vector<std::int64_t> kernel, std::vector<std::int64_t>& pads) {
  const std::size_t rank = kernel.size();
  Window window;
  window.kernel = std::move(kernel);
  window.strides = call.node.ints_attribute("strides");
  window.dilations = call.node.ints_attribute("dilations");
  if (window.strides.empty()) window.strides.assign(rank, 1);
  if (window.dilations.empty()) window.dilations.assign(rank, 1);
  pads = call.node.ints_attribute("pads");
  if (pads.empty()) pads.assign(2 * rank, 0);
  call.require(window.strides.size() == rank && window.dilations.size() == rank && pads.size() == 2 * rank,
               "strides, dilations or pads do not fit the kernel");
  const auto are_within = [](const std::vector<std::int64_t>& values, std::int64_t lowest) {
    return std::all_of(values.begin(), values.end(),
                       [&](std::int64_t value) { return value >= lowest && value < kMaxExtent; });
  };
  call.require(are_within(window.kernel, 1) && are_within(window.strides, 1) && are_within(window.dilations, 1) &&
                   are_within(pads, 1 - kMaxExtent),
               "a kernel, stride, dilation or pad out of range");
  return window;
}

}  // namespace

std::int64_t Window::kernel_size() const { return multiply(kernel); }
std::int64_t Window::input_size() const { return multiply(input); }
std::int64_t Window::output_size() const { return multiply(output); }

Window make_window(const Call& call, const Shape& shape, std::vector<std::int64_t> kernel, bool is_ceil) {
  const std::size_t rank = kernel.size();
  call.require(rank >= 1 && rank <= 8 && shape.rank() == rank + 2, "the kernel does not fit the rank of the input");
  std::vector<std::int64_t> pads;
  Window window = read_window(call, std::move(kernel), pads);
  const std::string mode = call.node.string_attribute("auto_pad", "NOTSET");
  for (std::size_t i = 0; i < rank; ++i) {
    const std::int64_t extent = shape[i + 2];
    const std::int64_t stride = window.strides[i];
    const std::int64_t reach = (window.kernel[i] - 1) * window.dilations[i] + 1;
    std::int64_t before = pads[i];
    std::int64_t after = pads[i + rank];
    if (mode == "VALID") before = after = 0;
    if (mode == "SAME_UPPER" || mode == "SAME_LOWER") {
      const std::int64_t count = (extent + stride - 1) / stride;
      const std::int64_t total = std::max<std::int64_t>(0, (count - 1) * stride + reach - extent);
      before = mode == "SAME_UPPER" ? total / 2 : total - total / 2;
      after = total - before;
    }
    const std::int64_t room = extent + before + after - reach;
    call.require(room >= 0, "the window is larger than the padded input");
    std::int64_t count = (is_ceil ? room + stride - 1 : room) / stride + 1;
    // With ceil_mode a window that would start in the padding behind the input is left out.
    if (is_ceil && (count - 1) * stride >= extent + before) --count;
    window.pads_before.push_back(before);
    window.pads_after.push_back(after);
    window.input.push_back(extent);
    window.output.push_back(count);
  }
  return window;
}

namespace {

std::vector<std::int64_t> spatial(const Shape& shape) { return {shape.begin() + 2, shape.end()}; }

/// Adds `weight * in` along one output row of a convolution over two spatial axes: the bulk of the work, kept in a form
/// the compiler vectorises.
template <typename T>
void add_row(double* out, const T* in, double weight, std::int64_t first, std::int64_t last, std::int64_t stride,
             std::int64_t shift) {
  if (stride == 1) {
    const T* from = in + shift;
    for (std::int64_t x = first; x < last; ++x) out[x] += weight * static_cast<double>(from[x]);
  } else {
    for (std::int64_t x = first; x < last; ++x) out[x] += weight * static_cast<double>(in[x * stride + shift]);
  }
}

template <typename T>
void convolve_plane(const Window& window, const T* in, const T* weight, double* out) {
  // The last axis runs innermost; the axes before it are walked as one list of (output, kernel) positions.
  const std::size_t last = window.rank() - 1;
  const std::int64_t width = window.output[last];
  const std::int64_t rows = window.output_size() / std::max<std::int64_t>(1, width);
  const std::int64_t kernel_width = window.kernel[last];
  const std::int64_t kernel_rows = window.kernel_size() / kernel_width;
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t kernel_row = 0; kernel_row < kernel_rows; ++kernel_row) {
      std::int64_t out_rest = row;
      std::int64_t kernel_rest = kernel_row;
      std::int64_t in_row = 0;
      std::int64_t step = 1;
      bool is_inside = true;
      for (std::size_t axis = last; axis-- > 0;) {
        const std::int64_t where = out_rest % window.output[axis] * window.strides[axis] +
                                   kernel_rest % window.kernel[axis] * window.dilations[axis] -
                                   window.pads_before[axis];
        out_rest /= window.output[axis];
        kernel_rest /= window.kernel[axis];
        is_inside = is_inside && where >= 0 && where < window.input[axis];
        in_row += where * step;
        step *= window.input[axis];
      }
      if (!is_inside) continue;
      for (std::int64_t k = 0; k < kernel_width; ++k) {
        const std::int64_t shift = k * window.dilations[last] - window.pads_before[last];
        const std::int64_t stride = window.strides[last];
        // The output positions whose input lies inside: 0 <= x * stride + shift < input.
        const std::int64_t first = shift >= 0 ? 0 : (-shift + stride - 1) / stride;
        const std::int64_t room = window.input[last] - shift;
        const std::int64_t end = room <= 0 ? 0 : std::min(width, (room - 1) / stride + 1);
        const auto factor = static_cast<double>(weight[kernel_row * kernel_width + k]);
        add_row(out + row * width, in + in_row * window.input[last], factor, first, end, stride, shift);
      }
    }
  }
}

std::vector<Tensor> conv(const Call& call) {
  const Tensor& in = call.input(0);
  const Tensor& weight = call.input(1);
  const std::int64_t group = call.node.int_attribute("group", 1);
  call.require(in.shape().rank() >= 3 && weight.shape().rank() == in.shape().rank() && in.dtype() == weight.dtype(),
               "input and weight do not fit");
  call.require(group >= 1 && in.shape()[1] == weight.shape()[1] * group && weight.shape()[0] % group == 0,
               "the channels of input and weight do not fit");
  const Window window = make_window(call, in.shape(), spatial(weight.shape()), false);
  const std::int64_t num_outputs = weight.shape()[0];
  const std::int64_t per_group = weight.shape()[1];
  Shape shape{in.shape()[0], num_outputs};
  for (const std::int64_t extent : window.output) shape.push_back(extent);
  Tensor out = call.make(in.dtype(), shape);
  const Tensor* bias = call.optional_input(2);
  call.require(bias == nullptr || (bias->dtype() == in.dtype() && bias->num_elements() == num_outputs),
               "one bias a channel is wanted");
  if (out.num_elements() == 0) return {out};
  const std::int64_t plane = window.output_size();
  require_float(call, in.dtype(), [&](auto tag) {
    using T = decltype(tag);
    const auto to = out.mutable_as<T>();
    std::vector<double> sums(static_cast<std::size_t>(plane));
    for (std::int64_t batch = 0; batch < in.shape()[0]; ++batch) {
      for (std::int64_t channel = 0; channel < num_outputs; ++channel) {
        std::fill(sums.begin(), sums.end(), bias != nullptr ? static_cast<double>(bias->as<T>()[channel]) : 0.0);
        const std::int64_t first = channel / (num_outputs / group) * per_group;
        for (std::int64_t k = 0; k < per_group; ++k) {
          const T* from = in.as<T>().data() + (batch * in.shape()[1] + first + k) * window.input_size();
          const T* factors = weight.as<T>().data() + (channel * per_group + k) * window.kernel_size();
          convolve_plane(window, from, factors, sums.data());
        }
        T* result = to.data() + (batch * num_outputs + channel) * plane;
        for (std::int64_t i = 0; i < plane; ++i) result[i] = static_cast<T>(sums[i]);
      }
    }
  });
  return {out};
}

std::vector<Tensor> conv_transpose(const Call& call) {
  const Tensor& in = call.input(0);
  const Tensor& weight = call.input(1);
  const std::int64_t group = call.node.int_attribute("group", 1);
  call.require(in.shape().rank() >= 3 && weight.shape().rank() == in.shape().rank() && in.dtype() == weight.dtype(),
               "input and weight do not fit");
  call.require(group >= 1 && in.shape()[1] == weight.shape()[0] && in.shape()[1] % group == 0,
               "the channels of input and weight do not fit");
  const std::size_t rank = in.shape().rank() - 2;
  call.require(rank <= 8, "too many spatial axes");
  // Seen as the window of the convolution that this one undoes: its output is our input.
  std::vector<std::int64_t> pads;
  Window window = read_window(call, spatial(weight.shape()), pads);
  auto extra = call.node.ints_attribute("output_padding");
  if (extra.empty()) extra.assign(rank, 0);
  const auto wanted = call.node.ints_attribute("output_shape");
  const std::string mode = call.node.string_attribute("auto_pad", "NOTSET");
  call.require(extra.size() == rank && (wanted.empty() || wanted.size() == rank),
               "output_padding or output_shape do not fit the kernel");
  Shape shape{in.shape()[0], weight.shape()[1] * group};
  for (std::size_t i = 0; i < rank; ++i) {
    call.require(in.shape()[i + 2] < kMaxExtent && extra[i] >= 0 && extra[i] < kMaxExtent,
                 "an extent or output_padding out of range");
    const std::int64_t full =
        window.strides[i] * (in.shape()[i + 2] - 1) + extra[i] + (window.kernel[i] - 1) * window.dilations[i] + 1;
    std::int64_t before = mode == "VALID" ? 0 : pads[i];
    std::int64_t extent = full - before - (mode == "VALID" ? 0 : pads[i + rank]);
    const bool is_same = mode == "SAME_UPPER" || mode == "SAME_LOWER";
    if (!wanted.empty() || is_same) {
      extent = wanted.empty() ? in.shape()[i + 2] * window.strides[i] : wanted[i];
      // A result larger than the full one has its zeros at the end.
      const std::int64_t total = std::max<std::int64_t>(0, full - extent);
      before = mode == "SAME_UPPER" ? total / 2 : total - total / 2;
    }
    call.require(extent >= 0, "the result has no valid extent");
    window.pads_before.push_back(before);
    window.input.push_back(extent);
    window.output.push_back(in.shape()[i + 2]);
    shape.push_back(extent);
  }
  Tensor out = call.make(in.dtype(), shape);
  const Tensor* bias = call.optional_input(2);
  call.require(bias == nullptr || (bias->dtype() == in.dtype() && bias->num_elements() == shape[1]),
               "one bias a channel is wanted");
  if (out.num_elements() == 0) return {out};
  const std::int64_t outputs_per_group = weight.shape()[1];
  const std::int64_t inputs_per_group = in.shape()[1] / group;
  require_float(call, in.dtype(), [&](auto tag) {
    using T = decltype(tag);
    const auto to = out.mutable_as<T>();
    std::vector<double> sums(static_cast<std::size_t>(window.input_size()));
    for (std::int64_t batch = 0; batch < in.shape()[0]; ++batch) {
      for (std::int64_t channel = 0; channel < shape[1]; ++channel) {
        std::fill(sums.begin(), sums.end(), bias != nullptr ? static_cast<double>(bias->as<T>()[channel]) : 0.0);
        const std::int64_t g = channel / outputs_per_group;
        for (std::int64_t k = g * inputs_per_group; k < (g + 1) * inputs_per_group; ++k) {
          const T* from = in.as<T>().data() + (batch * in.shape()[1] + k) * window.output_size();
          const T* factors =
              weight.as<T>().data() + (k * outputs_per_group + channel % outputs_per_group) * window.kernel_size();
          for (std::int64_t i = 0; i < window.output_size(); ++i) {
            visit_window(window, i, [&](std::int64_t at, std::int64_t target) {
              if (target >= 0) sums[target] += static_cast<double>(from[i]) * static_cast<double>(factors[at]);
            });
          }
        }
        T* result = to.data() + (batch * shape[1] + channel) * window.input_size();
        for (std::size_t i = 0; i < sums.size(); ++i) result[i] = static_cast<T>(sums[i]);
      }
    }
  });
  return {out};
}

}  // namespace

void add_convolution(KernelTable& table) {
  table["Conv"] = {conv, true};
  table["ConvTranspose"] = {conv_transpose, true};
}

}  // namespace pajamas::interpreter
