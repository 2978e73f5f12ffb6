// MaxPool, AveragePool, LpPool and their global forms.
#include <algorithm>
#include <cmath>
#include <limits>

#include "graph/interpreter/window.h"

namespace pajamas::interpreter {
namespace {

struct Pool {
  Window window;
  Shape shape;
};

Pool pool_of(const Call& call) {
  const Shape& in = call.input(0).shape();
  Pool pool;
  pool.window =
      make_window(call, in, call.node.ints_attribute("kernel_shape"), call.node.int_attribute("ceil_mode", 0) != 0);
  pool.shape = Shape{in[0], in[1]};
  for (const std::int64_t extent : pool.window.output) pool.shape.push_back(extent);
  return pool;
}

std::vector<Tensor> max_pool(const Call& call) {
  const Tensor& in = call.input(0);
  const Pool pool = pool_of(call);
  const Window& window = pool.window;
  if (call.node.int_attribute("storage_order", 0) != 0 && call.has_output(1)) {
    call.unsupported("column-major indices of MaxPool");
  }
  Tensor out = call.make(in.dtype(), pool.shape);
  Tensor indices = call.has_output(1) ? call.make(DType::kInt64, pool.shape) : Tensor();
  const std::int64_t planes = pool.shape[0] * pool.shape[1];
  require_numeric(call, in.dtype(), [&](auto tag) {
    using T = decltype(tag);
    const auto from = in.as<T>();
    const auto to = out.mutable_as<T>();
    const auto positions = call.has_output(1) ? indices.mutable_as<std::int64_t>() : std::span<std::int64_t>{};
    for (std::int64_t plane = 0; plane < planes; ++plane) {
      for (std::int64_t i = 0; i < window.output_size(); ++i) {
        T best = std::numeric_limits<T>::lowest();
        if constexpr (std::is_floating_point_v<T>) best = -std::numeric_limits<T>::infinity();
        std::int64_t best_at = -1;
        visit_window(window, i, [&](std::int64_t, std::int64_t at) {
          if (at < 0) return;
          const T value = from[plane * window.input_size() + at];
          if (best_at < 0 || value > best) {
            best = value;
            best_at = at;
          }
        });
        to[plane * window.output_size() + i] = best;
        if (!positions.empty()) positions[plane * window.output_size() + i] = plane * window.input_size() + best_at;
      }
    }
  });
  std::vector<Tensor> outputs{out};
  if (call.has_output(1)) outputs.push_back(indices);
  return outputs;
}

std::vector<Tensor> average_pool(const Call& call) {
  const Tensor& in = call.input(0);
  const Pool pool = pool_of(call);
  const Window& window = pool.window;
  const bool counts_pads = call.node.int_attribute("count_include_pad", 0) != 0;
  Tensor out = call.make(in.dtype(), pool.shape);
  require_float(call, in.dtype(), [&](auto tag) {
    using T = decltype(tag);
    const auto from = in.as<T>();
    const auto to = out.mutable_as<T>();
    for (std::int64_t plane = 0; plane < pool.shape[0] * pool.shape[1]; ++plane) {
      for (std::int64_t i = 0; i < window.output_size(); ++i) {
        double sum = 0;
        std::int64_t count = 0;
        visit_window(window, i, [&](std::int64_t, std::int64_t at) {
          if (at < 0) return;
          sum += static_cast<double>(from[plane * window.input_size() + at]);
          ++count;
        });
        if (counts_pads) {
          // Cells of the declared padding count; those that ceil_mode adds beyond it do not.
          count = 1;
          std::int64_t rest = i;
          for (std::size_t axis = window.rank(); axis-- > 0;) {
            const std::int64_t start = rest % window.output[axis] * window.strides[axis] - window.pads_before[axis];
            rest /= window.output[axis];
            std::int64_t along = 0;
            for (std::int64_t k = 0; k < window.kernel[axis]; ++k) {
              along += start + k * window.dilations[axis] < window.input[axis] + window.pads_after[axis] ? 1 : 0;
            }
            count *= along;
          }
        }
        to[plane * window.output_size() + i] = static_cast<T>(sum / static_cast<double>(count));
      }
    }
  });
  return {out};
}

std::vector<Tensor> lp_pool(const Call& call) {
  const Tensor& in = call.input(0);
  const Pool pool = pool_of(call);
  const Window& window = pool.window;
  const auto p = static_cast<double>(call.node.int_attribute("p", 2));
  Tensor out = call.make(in.dtype(), pool.shape);
  require_float(call, in.dtype(), [&](auto tag) {
    using T = decltype(tag);
    const auto from = in.as<T>();
    const auto to = out.mutable_as<T>();
    for (std::int64_t plane = 0; plane < pool.shape[0] * pool.shape[1]; ++plane) {
      for (std::int64_t i = 0; i < window.output_size(); ++i) {
        double sum = 0;
        visit_window(window, i, [&](std::int64_t, std::int64_t at) {
          if (at >= 0) sum += std::pow(std::fabs(static_cast<double>(from[plane * window.input_size() + at])), p);
        });
        to[plane * window.output_size() + i] = static_cast<T>(std::pow(sum, 1 / p));
      }
    }
  });
  return {out};
}

enum class GlobalPool { kAverage, kMax, kLp };

template <GlobalPool kind>
std::vector<Tensor> global_pool(const Call& call) {
  const Tensor& in = call.input(0);
  call.require(in.shape().rank() >= 2, "a tensor with batch and channels is wanted");
  Shape shape(std::vector<std::int64_t>(in.shape().rank(), 1));
  shape[0] = in.shape()[0];
  shape[1] = in.shape()[1];
  const auto p = static_cast<double>(call.node.int_attribute("p", 2));
  Tensor out = call.make(in.dtype(), shape);
  const std::int64_t planes = shape[0] * shape[1];
  const std::int64_t size = planes == 0 ? 0 : in.num_elements() / planes;
  require_float(call, in.dtype(), [&](auto tag) {
    using T = decltype(tag);
    const auto from = in.as<T>();
    const auto to = out.mutable_as<T>();
    for (std::int64_t plane = 0; plane < planes; ++plane) {
      double total = kind == GlobalPool::kMax ? -std::numeric_limits<double>::infinity() : 0;
      for (std::int64_t i = 0; i < size; ++i) {
        const auto value = static_cast<double>(from[plane * size + i]);
        if (kind == GlobalPool::kMax) {
          total = std::max(total, value);
        } else {
          total += kind == GlobalPool::kLp ? std::pow(std::fabs(value), p) : value;
        }
      }
      if (kind == GlobalPool::kAverage) total /= static_cast<double>(size);
      if (kind == GlobalPool::kLp) total = std::pow(total, 1 / p);
      to[plane] = static_cast<T>(total);
    }
  });
  return {out};
}

}  // namespace

void add_pooling(KernelTable& table) {
  table["MaxPool"] = {max_pool, true};
  table["AveragePool"] = {average_pool, true};
  table["LpPool"] = {lp_pool, true};
  table["GlobalAveragePool"] = {global_pool<GlobalPool::kAverage>, true};
  table["GlobalMaxPool"] = {global_pool<GlobalPool::kMax>, true};
  table["GlobalLpPool"] = {global_pool<GlobalPool::kLp>, true};
}

}  // namespace pajamas::interpreter
