// Softmax family and normalisations. Statistics are computed in double.
#include <algorithm>
#include <cmath>
#include <limits>

#include "graph/interpreter/support.h"

namespace pajamas::interpreter {
namespace {

/// Calls `visit(first element, stride, count)` for every line along one axis, or, before opset 13, for every row of the
/// matrix that `axis` cuts the tensor into.
template <typename Visit>
void for_each_line(const Call& call, const Shape& shape, const Visit& visit) {
  const bool is_flat = call.opset < 13;
  const std::size_t axis = call.axis(call.node.int_attribute("axis", is_flat ? 1 : -1), shape.rank());
  std::int64_t outer = 1;
  std::int64_t count = 1;
  std::int64_t inner = 1;
  for (std::size_t i = 0; i < shape.rank(); ++i) {
    (i < axis ? outer : i == axis || is_flat ? count : inner) *= shape[i];
  }
  for (std::int64_t i = 0; i < outer; ++i) {
    for (std::int64_t k = 0; k < inner; ++k) visit(i * count * inner + k, inner, count);
  }
}

enum class SoftmaxKind { kPlain, kLog, kHard };

template <SoftmaxKind kind>
std::vector<Tensor> softmax(const Call& call) {
  const Tensor& in = call.input(0);
  if (in.shape().rank() == 0) {
    Tensor one = call.make(in.dtype(), {});
    require_float(call, in.dtype(), [&](auto tag) {
      using T = decltype(tag);
      one.mutable_as<T>()[0] = kind == SoftmaxKind::kLog ? T{0} : T{1};
    });
    return {one};
  }
  Tensor out = call.make(in.dtype(), in.shape());
  require_float(call, in.dtype(), [&](auto tag) {
    using T = decltype(tag);
    const auto from = in.as<T>();
    const auto to = out.mutable_as<T>();
    for_each_line(call, in.shape(), [&](std::int64_t first, std::int64_t stride, std::int64_t count) {
      double peak = -std::numeric_limits<double>::infinity();
      std::int64_t peak_at = 0;
      for (std::int64_t i = 0; i < count; ++i) {
        const auto value = static_cast<double>(from[first + i * stride]);
        if (value > peak) {
          peak = value;
          peak_at = i;
        }
      }
      if (kind == SoftmaxKind::kHard) {
        for (std::int64_t i = 0; i < count; ++i) to[first + i * stride] = i == peak_at ? T{1} : T{0};
        return;
      }
      double sum = 0;
      for (std::int64_t i = 0; i < count; ++i) sum += std::exp(static_cast<double>(from[first + i * stride]) - peak);
      for (std::int64_t i = 0; i < count; ++i) {
        const double shifted = static_cast<double>(from[first + i * stride]) - peak;
        to[first + i * stride] =
            static_cast<T>(kind == SoftmaxKind::kLog ? shifted - std::log(sum) : std::exp(shifted) / sum);
      }
    });
  });
  return {out};
}

std::vector<Tensor> batch_normalization(const Call& call) {
  const Tensor& in = call.input(0);
  if (call.node.int_attribute("training_mode", 0) != 0) call.unsupported("BatchNormalization in training");
  call.require(in.shape().rank() >= 2, "a tensor with channels is wanted");
  const std::int64_t channels = in.shape()[1];
  std::int64_t inner = 1;
  for (std::size_t i = 2; i < in.shape().rank(); ++i) inner *= in.shape()[i];
  for (std::size_t i = 1; i < 5; ++i) {
    call.require(call.input(i).num_elements() == channels, "one parameter a channel is wanted");
  }
  const double epsilon = call.node.float_attribute("epsilon", 1e-5F);
  Tensor out = call.make(in.dtype(), in.shape());
  const auto parameter = [&](std::size_t index, std::int64_t channel) {
    const Tensor& tensor = call.input(index);
    return tensor.dtype() == DType::kFloat64 ? tensor.as<double>()[channel]
                                             : static_cast<double>(tensor.as<float>()[channel]);
  };
  require_float(call, in.dtype(), [&](auto tag) {
    using T = decltype(tag);
    const auto from = in.as<T>();
    const auto to = out.mutable_as<T>();
    for (std::size_t i = 0; i < to.size(); ++i) {
      const std::int64_t channel = static_cast<std::int64_t>(i) / inner % channels;
      const double factor = parameter(1, channel) / std::sqrt(parameter(4, channel) + epsilon);
      to[i] = static_cast<T>((static_cast<double>(from[i]) - parameter(3, channel)) * factor + parameter(2, channel));
    }
  });
  return {out};
}

/// Normalises runs of `count` elements to mean 0 (when `is_centered`) and variance 1. `affine(i)` gives factor and
/// offset of flat element i.
template <typename T, typename Affine>
void normalize_runs(std::span<const T> from, std::span<T> to, std::int64_t count, double epsilon, bool is_centered,
                    const Affine& affine, std::vector<double>* means = nullptr,
                    std::vector<double>* inverses = nullptr) {
  const auto total = static_cast<std::int64_t>(from.size());
  for (std::int64_t start = 0; count > 0 && start < total; start += count) {
    double mean = 0;
    if (is_centered) {
      for (std::int64_t i = 0; i < count; ++i) mean += static_cast<double>(from[start + i]);
      mean /= static_cast<double>(count);
    }
    double variance = 0;
    for (std::int64_t i = 0; i < count; ++i) {
      const double distance = static_cast<double>(from[start + i]) - mean;
      variance += distance * distance;
    }
    const double inverse = 1 / std::sqrt(variance / static_cast<double>(count) + epsilon);
    if (means != nullptr) means->push_back(mean);
    if (inverses != nullptr) inverses->push_back(inverse);
    for (std::int64_t i = 0; i < count; ++i) {
      const auto [factor, offset] = affine(start + i);
      to[start + i] = static_cast<T>((static_cast<double>(from[start + i]) - mean) * inverse * factor + offset);
    }
  }
}

template <bool is_centered>
std::vector<Tensor> layer_normalization(const Call& call) {
  const Tensor& in = call.input(0);
  const std::size_t axis = call.axis(call.node.int_attribute("axis", -1), in.shape().rank());
  Shape normalized;
  Shape reduced = in.shape();
  for (std::size_t i = axis; i < in.shape().rank(); ++i) {
    normalized.push_back(in.shape()[i]);
    reduced[i] = 1;
  }
  const Tensor& scale = call.input(1);
  const Tensor* bias = is_centered ? call.optional_input(2) : nullptr;
  const double epsilon = call.node.float_attribute("epsilon", 1e-5F);
  for (const Tensor* parameter : {&scale, bias}) {
    call.require(parameter == nullptr || (parameter->dtype() == in.dtype() &&
                                          broadcast(call, parameter->shape(), in.shape()) == in.shape()),
                 "scale or bias do not fit the input");
  }
  Tensor out = call.make(in.dtype(), in.shape());
  std::vector<double> means;
  std::vector<double> inverses;
  require_float(call, in.dtype(), [&](auto tag) {
    using T = decltype(tag);
    const auto spread = [&](const Tensor* parameter) {
      return parameter == nullptr
                 ? Tensor()
                 : strided_copy(call, *parameter, in.shape(), broadcast_strides(parameter->shape(), in.shape()), 0);
    };
    const Tensor factors = spread(&scale);
    const Tensor offsets = spread(bias);
    normalize_runs<T>(
        in.as<T>(), out.mutable_as<T>(), normalized.num_elements(), epsilon, is_centered,
        [&](std::int64_t i) {
          return std::pair(static_cast<double>(factors.as<T>()[i]),
                           bias != nullptr ? static_cast<double>(offsets.as<T>()[i]) : 0.0);
        },
        &means, &inverses);
  });
  std::vector<Tensor> outputs{out};
  const auto statistic = [&](const std::vector<double>& values) {
    return Tensor::of<float>(reduced, std::vector<float>(values.begin(), values.end()));
  };
  if (is_centered && call.node.outputs.size() > 1) {
    outputs.push_back(statistic(means));
    outputs.push_back(statistic(inverses));
  }
  return outputs;
}

/// InstanceNormalization and GroupNormalization: runs over a group of channels.
std::vector<Tensor> group_normalization(const Call& call) {
  const Tensor& in = call.input(0);
  call.require(in.shape().rank() >= 2, "a tensor with channels is wanted");
  const std::int64_t channels = in.shape()[1];
  const bool is_instance = call.node.op_type == "InstanceNormalization";
  const std::int64_t groups = is_instance ? channels : call.node.int_attribute("num_groups", 0);
  call.require(groups >= 1 && channels % groups == 0, "the groups do not divide the channels");
  std::int64_t inner = 1;
  for (std::size_t i = 2; i < in.shape().rank(); ++i) inner *= in.shape()[i];
  const Tensor& scale = call.input(1);
  const Tensor& bias = call.input(2);
  // Before opset 21 GroupNormalization had one parameter a group.
  const bool is_per_group = !is_instance && call.opset < 21;
  const std::int64_t wanted = is_per_group ? groups : channels;
  call.require(scale.num_elements() == wanted && bias.num_elements() == wanted && scale.dtype() == in.dtype() &&
                   bias.dtype() == in.dtype(),
               "scale or bias do not fit the input");
  const double epsilon = call.node.float_attribute("epsilon", 1e-5F);
  Tensor out = call.make(in.dtype(), in.shape());
  require_float(call, in.dtype(), [&](auto tag) {
    using T = decltype(tag);
    normalize_runs<T>(in.as<T>(), out.mutable_as<T>(), channels / groups * inner, epsilon, true, [&](std::int64_t i) {
      std::int64_t at = i / inner % channels;
      if (is_per_group) at /= channels / groups;
      return std::pair(static_cast<double>(scale.as<T>()[at]), static_cast<double>(bias.as<T>()[at]));
    });
  });
  return {out};
}

std::vector<Tensor> lp_normalization(const Call& call) {
  const Tensor& in = call.input(0);
  const std::size_t axis = call.axis(call.node.int_attribute("axis", -1), in.shape().rank());
  const std::int64_t p = call.node.int_attribute("p", 2);
  call.require(p == 1 || p == 2, "attribute 'p' must be 1 or 2");
  std::int64_t inner = 1;
  for (std::size_t i = axis + 1; i < in.shape().rank(); ++i) inner *= in.shape()[i];
  const std::int64_t count = in.shape()[axis];
  Tensor out = call.make(in.dtype(), in.shape());
  require_float(call, in.dtype(), [&](auto tag) {
    using T = decltype(tag);
    const auto from = in.as<T>();
    const auto to = out.mutable_as<T>();
    const std::int64_t lines = count == 0 ? 0 : in.num_elements() / count;
    for (std::int64_t line = 0; line < lines; ++line) {
      const std::int64_t first = line / inner * inner * count + line % inner;
      double sum = 0;
      for (std::int64_t i = 0; i < count; ++i) {
        const auto value = static_cast<double>(from[first + i * inner]);
        sum += p == 2 ? value * value : std::fabs(value);
      }
      const double norm = p == 2 ? std::sqrt(sum) : sum;
      for (std::int64_t i = 0; i < count; ++i) {
        const auto value = static_cast<double>(from[first + i * inner]);
        to[first + i * inner] = static_cast<T>(norm == 0 ? 0 : value / norm);
      }
    }
  });
  return {out};
}

/// Pairs of channels turned by angles given as cosines and sines: (a, b) to (a cos - b sin, a sin + b cos). The pairs
/// are channels i and i + half, or neighbours when interleaved; channels past the rotary part stay.
std::vector<Tensor> rotary_embedding(const Call& call) {
  const Tensor& in = call.input(0);
  const Tensor& cosines = call.input(1);
  const Tensor& sines = call.input(2);
  const Tensor* positions = call.optional_input(3);
  const std::size_t rank = in.shape().rank();
  call.require(rank == 3 || rank == 4, "X must be [batch, seq_len, channels] or [batch, num_heads, seq_len, head_dim]");
  const bool is_flat = rank == 3;
  const std::int64_t num_heads = is_flat ? call.node.int_attribute("num_heads", 0) : in.shape()[1];
  const std::int64_t batch = in.shape()[0], seq_len = in.shape()[is_flat ? 1 : 2];
  call.require(num_heads >= 1 || (!is_flat && num_heads == 0), "the attribute num_heads is needed");
  call.require(!is_flat || in.shape()[2] % num_heads == 0, "num_heads does not divide the channels");
  const std::int64_t head_dim = is_flat ? in.shape()[2] / num_heads : in.shape()[3];
  const std::int64_t given_dim = call.node.int_attribute("rotary_embedding_dim", 0);
  const std::int64_t rotary_dim = given_dim == 0 ? head_dim : given_dim;
  call.require(rotary_dim >= 0 && rotary_dim <= head_dim && rotary_dim % 2 == 0, "the rotary part does not fit a head");
  const std::int64_t half = rotary_dim / 2;
  const bool is_interleaved = call.node.int_attribute("interleaved", 0) != 0;
  call.require(cosines.shape() == sines.shape() && cosines.dtype() == in.dtype() && sines.dtype() == in.dtype(),
               "cos_cache and sin_cache do not fit X");
  if (positions == nullptr) {
    call.require(cosines.shape() == Shape({batch, seq_len, half}),
                 "cos_cache must be [batch, seq_len, rotary_dim / 2]");
  } else {
    call.require(cosines.shape().rank() == 2 && cosines.shape()[1] == half,
                 "cos_cache must be [max_position, rotary_dim / 2]");
    call.require(positions->dtype() == DType::kInt64 && positions->shape() == Shape({batch, seq_len}),
                 "position_ids must be [batch, seq_len]");
  }
  Tensor out = call.make(in.dtype(), in.shape());
  require_float(call, in.dtype(), [&](auto tag) {
    using T = decltype(tag);
    const auto from = in.as<T>();
    const auto to = out.mutable_as<T>();
    std::copy(from.begin(), from.end(), to.begin());
    for (std::int64_t token = 0; token < batch * seq_len; ++token) {
      std::int64_t angle_row = token;
      if (positions != nullptr) {
        angle_row = positions->as<std::int64_t>()[static_cast<std::size_t>(token)];
        call.require(angle_row >= 0 && angle_row < cosines.shape()[0], "a position is out of range");
      }
      const std::int64_t item = token / seq_len, place = token % seq_len;
      for (std::int64_t head = 0; head < num_heads; ++head) {
        const std::int64_t row =
            is_flat ? token * num_heads + head : (item * num_heads + head) * seq_len + place;  // of head_dim channels
        for (std::int64_t i = 0; i < half; ++i) {
          const std::int64_t first = row * head_dim + (is_interleaved ? 2 * i : i);
          const std::int64_t second = is_interleaved ? first + 1 : first + half;
          const T cosine = cosines.as<T>()[static_cast<std::size_t>(angle_row * half + i)];
          const T sine = sines.as<T>()[static_cast<std::size_t>(angle_row * half + i)];
          const T a = from[static_cast<std::size_t>(first)], b = from[static_cast<std::size_t>(second)];
          to[static_cast<std::size_t>(first)] = a * cosine - b * sine;
          to[static_cast<std::size_t>(second)] = a * sine + b * cosine;
        }
      }
    }
  });
  return {out};
}

std::vector<Tensor> local_response_normalization(const Call& call) {
  const Tensor& in = call.input(0);
  call.require(in.shape().rank() >= 2, "a tensor with channels is wanted");
  const std::int64_t size = call.node.int_attribute("size", 1);
  const double alpha = call.node.float_attribute("alpha", 1e-4F);
  const double beta = call.node.float_attribute("beta", 0.75F);
  const double bias = call.node.float_attribute("bias", 1.0F);
  const std::int64_t channels = in.shape()[1];
  std::int64_t inner = 1;
  for (std::size_t i = 2; i < in.shape().rank(); ++i) inner *= in.shape()[i];
  call.require(size >= 1, "attribute 'size' is below 1");
  Tensor out = call.make(in.dtype(), in.shape());
  require_float(call, in.dtype(), [&](auto tag) {
    using T = decltype(tag);
    const auto from = in.as<T>();
    const auto to = out.mutable_as<T>();
    for (std::size_t i = 0; i < to.size(); ++i) {
      const auto index = static_cast<std::int64_t>(i);
      const std::int64_t channel = index / inner % channels;
      double sum = 0;
      const std::int64_t low = std::max<std::int64_t>(0, channel - (size - 1) / 2);
      const std::int64_t high = std::min(channels - 1, channel + size / 2);
      for (std::int64_t other = low; other <= high; ++other) {
        const auto value = static_cast<double>(from[index + (other - channel) * inner]);
        sum += value * value;
      }
      to[i] =
          static_cast<T>(static_cast<double>(from[i]) / std::pow(bias + alpha / static_cast<double>(size) * sum, beta));
    }
  });
  return {out};
}

}  // namespace

void add_normalization(KernelTable& table) {
  table["Softmax"] = {softmax<SoftmaxKind::kPlain>, true};
  table["LogSoftmax"] = {softmax<SoftmaxKind::kLog>, true};
  table["Hardmax"] = {softmax<SoftmaxKind::kHard>, true};
  table["BatchNormalization"] = {batch_normalization, true};
  table["LayerNormalization"] = {layer_normalization<true>, true};
  table["RMSNormalization"] = {layer_normalization<false>, true};
  table["InstanceNormalization"] = {group_normalization, true};
  table["GroupNormalization"] = {group_normalization, true};
  table["RotaryEmbedding"] = {rotary_embedding, true};
  table["LpNormalization"] = {lp_normalization, true};
  table["LRN"] = {local_response_normalization, true};
}

}  // namespace pajamas::interpreter
