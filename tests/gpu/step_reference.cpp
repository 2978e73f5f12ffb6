// See step_reference.h.
#include "gpu/step_reference.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

namespace pajamas::test {
namespace {

using cuda::Activation;
using cuda::ActivationKind;
using cuda::Program;
using cuda::ValueId;
using Index = std::vector<std::int64_t>;

/// Reads values of one program by index.
class Reader {
 public:
  Reader(const Program& program, const std::vector<std::vector<float>>& buffers)
      : program_(program), buffers_(buffers) {}
  const Shape& extents(ValueId id) const { return program_.value(id).desc.extents; }
  DType dtype(ValueId id) const { return program_.value(id).desc.dtype; }
  /// `index` may have more axes than the value: the last count, as broadcasting has it. Axes of extent 1 repeat.
  double at(ValueId id, const Index& index) const {
    const cuda::Value& value = program_.value(id);
    std::int64_t offset = value.offset_elements;
    const std::size_t rank = value.desc.strides.size();
    for (std::size_t axis = 0; axis < rank; ++axis) {
      const std::int64_t i = index[index.size() - rank + axis];
      if (value.desc.extents[axis] > 1) offset += i * value.desc.strides[axis];
    }
    return buffers_[static_cast<std::size_t>(value.buffer)][static_cast<std::size_t>(offset)];
  }

 private:
  const Program& program_;
  const std::vector<std::vector<float>>& buffers_;
};

double activated(const Activation& activation, double t) {
  const double alpha = activation.alpha;
  const double beta = activation.beta;
  switch (activation.kind) {
    case ActivationKind::kNone: return t;
    case ActivationKind::kRelu: return std::max(t, 0.0);
    case ActivationKind::kSilu: return t / (1 + std::exp(-t));
    case ActivationKind::kSigmoid: return 1 / (1 + std::exp(-t));
    case ActivationKind::kTanh: return std::tanh(t);
    case ActivationKind::kGeluErf: return t / 2 * (1 + std::erf(t / std::sqrt(2.0)));
    case ActivationKind::kGeluTanh: return t / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (t + 0.044715 * t * t * t)));
    case ActivationKind::kClip: return std::min(std::max(t, alpha), beta);
    case ActivationKind::kLeakyRelu: return t < 0 ? alpha * t : t;
    case ActivationKind::kHardSigmoid: return std::min(std::max(alpha * t + beta, 0.0), 1.0);
    case ActivationKind::kHardSwish: return t * std::min(std::max(t / 6 + 0.5, 0.0), 1.0);
    case ActivationKind::kElu: return t < 0 ? alpha * std::expm1(t) : t;
    case ActivationKind::kSoftplus: return std::log1p(std::exp(-std::abs(t))) + std::max(t, 0.0);
    case ActivationKind::kMish: return t * std::tanh(std::log1p(std::exp(-std::abs(t))) + std::max(t, 0.0));
  }
  return std::numeric_limits<double>::quiet_NaN();
}

double finished(const Reader& reader, const cuda::Epilogue& epilogue, double t, const Index& index,
                std::int64_t channel) {
  if (epilogue.column_scale) t *= reader.at(*epilogue.column_scale, {channel});
  if (epilogue.bias) t += reader.at(*epilogue.bias, {channel});
  const double residual = epilogue.residual ? reader.at(*epilogue.residual, index) : 0;
  const double value = epilogue.is_residual_before_activation ? activated(epilogue.activation, t + residual)
                                                              : activated(epilogue.activation, t) + residual;
  return value / static_cast<double>(epilogue.y_scale);
}

/// As 8-bit integers hold it.
double levelled(const Reader& reader, const cuda::MatMulStep& product, double value) {
  if (reader.dtype(product.y) != DType::kInt8) return value;
  return std::clamp(std::nearbyint(value) + product.epilogue.y_zero_point, -128.0, 127.0);
}

double conv_at(const Reader& reader, const cuda::ConvStep& conv, const Index& y) {
  const Shape& x = reader.extents(conv.x);
  const Shape& weights = reader.extents(conv.weights);
  const std::size_t num_spatial = conv.strides.size();
  const std::int64_t num_out = reader.extents(conv.y)[1] / conv.groups;
  const std::int64_t num_in = x[1] / conv.groups;
  const std::int64_t group = y[1] / num_out;
  double sum = 0;
  Index tap(num_spatial, 0);
  while (true) {
    Index from{y[0], 0};
    bool is_inside = true;
    for (std::size_t i = 0; i < num_spatial; ++i) {
      std::int64_t place = 0;
      if (conv.is_transposed) {
        const std::int64_t reach = y[i + 2] + conv.pads_begin[i] - tap[i] * conv.dilations[i];
        is_inside = is_inside && reach >= 0 && reach % conv.strides[i] == 0;
        place = reach / conv.strides[i];
      } else {
        place = y[i + 2] * conv.strides[i] - conv.pads_begin[i] + tap[i] * conv.dilations[i];
      }
      is_inside = is_inside && place >= 0 && place < x[i + 2];
      from.push_back(place);
    }
    if (is_inside) {
      for (std::int64_t c = 0; c < num_in; ++c) {
        from[1] = group * num_in + c;
        Index weight = conv.is_transposed ? Index{from[1], y[1] - group * num_out} : Index{y[1], c};
        weight.insert(weight.end(), tap.begin(), tap.end());
        sum += reader.at(conv.x, from) * reader.at(conv.weights, weight);
      }
    }
    std::size_t axis = num_spatial;
    while (axis > 0 && ++tap[axis - 1] == weights[axis + 1]) tap[--axis] = 0;
    if (axis == 0) break;
  }
  return finished(reader, conv.epilogue, sum, y, y[1]);
}

double matmul_at(const Reader& reader, const cuda::MatMulStep& product, const Index& y) {
  Index a = y;
  Index b = y;
  double sum = 0;
  for (std::int64_t k = 0; k < reader.extents(product.a)[y.size() - 1]; ++k) {
    a[y.size() - 1] = k;
    b[y.size() - 2] = k;
    sum += reader.at(product.a, a) * reader.at(product.b, b);
  }
  if (product.epilogue.column_sums) {
    sum -= product.epilogue.a_zero_point * reader.at(*product.epilogue.column_sums, {y.back()});
  }
  return levelled(reader, product,
                  finished(reader, product.epilogue, sum * static_cast<double>(product.scale), y, y.back()));
}

/// The weights of one row of queries, kept while elements of that row are asked for.
class AttentionRow {
 public:
  double at(const Reader& reader, const cuda::AttentionStep& attention, const Index& y) {
    const std::int64_t kv_len = reader.extents(attention.k)[2];
    const std::int64_t kv_head = y[1] / (reader.extents(attention.q)[1] / reader.extents(attention.k)[1]);
    const Index row{y[0], y[1], y[2]};
    if (row != row_) {
      row_ = row;
      find_weights(reader, attention, kv_len, kv_head);
    }
    double sum = 0;
    for (std::int64_t j = 0; j < kv_len; ++j) {
      sum += weights_[static_cast<std::size_t>(j)] * reader.at(attention.v, {y[0], kv_head, j, y[3]});
    }
    return sum;
  }

 private:
  void find_weights(const Reader& reader, const cuda::AttentionStep& attention, std::int64_t kv_len,
                    std::int64_t kv_head) {
    weights_.clear();
    double largest = -std::numeric_limits<double>::infinity();
    for (std::int64_t j = 0; j < kv_len; ++j) {
      double score = 0;
      for (std::int64_t d = 0; d < reader.extents(attention.q)[3]; ++d) {
        score +=
            reader.at(attention.q, {row_[0], row_[1], row_[2], d}) * reader.at(attention.k, {row_[0], kv_head, j, d});
      }
      score *= static_cast<double>(attention.scale);
      if (attention.mask) score += reader.at(*attention.mask, {row_[0], row_[1], row_[2], j});
      if (attention.is_causal && j > row_[2]) score = -std::numeric_limits<double>::infinity();
      weights_.push_back(score);
      largest = std::max(largest, score);
    }
    double total = 0;
    for (double& weight : weights_) {
      weight = std::exp(weight - largest);
      total += weight;
    }
    for (double& weight : weights_) weight /= total;
  }

  Index row_;
  std::vector<double> weights_;
};

}  // namespace

std::vector<std::int64_t> offsets_of(const cuda::Value& value) {
  const std::size_t rank = value.desc.strides.size();
  std::vector<std::int64_t> offsets;
  Index index(rank, 0);
  while (true) {
    std::int64_t offset = value.offset_elements;
    for (std::size_t axis = 0; axis < rank; ++axis) offset += index[axis] * value.desc.strides[axis];
    offsets.push_back(offset);
    std::size_t axis = rank;
    while (axis > 0 && ++index[axis - 1] == value.desc.extents[axis - 1]) index[--axis] = 0;
    if (axis == 0) return offsets;
  }
}

std::vector<ExpectedElement> expected_elements(const cuda::Program& program,
                                               const std::vector<std::vector<float>>& buffers,
                                               std::int64_t max_elements) {
  const Reader reader(program, buffers);
  const cuda::StepWork& work = program.steps.front().work;
  const auto* conv = std::get_if<cuda::ConvStep>(&work);
  const auto* product = std::get_if<cuda::MatMulStep>(&work);
  const auto* attention = std::get_if<cuda::AttentionStep>(&work);
  const ValueId y = conv != nullptr ? conv->y : product != nullptr ? product->y : attention->y;
  const cuda::Value& value = program.value(y);
  const std::int64_t num_elements = value.desc.extents.num_elements();
  std::vector<std::int64_t> chosen;
  if (num_elements <= max_elements) {
    for (std::int64_t i = 0; i < num_elements; ++i) chosen.push_back(i);
  } else {
    std::mt19937_64 random(5);
    std::uniform_int_distribution<std::int64_t> any(0, num_elements - 1);
    chosen = {0, num_elements - 1};
    while (static_cast<std::int64_t>(chosen.size()) < max_elements) chosen.push_back(any(random));
  }
  std::vector<ExpectedElement> expected;
  AttentionRow row;
  for (const std::int64_t flat : chosen) {
    Index index(value.desc.strides.size(), 0);
    std::int64_t rest = flat;
    std::int64_t offset = value.offset_elements;
    for (std::size_t axis = index.size(); axis-- > 0;) {
      index[axis] = rest % value.desc.extents[axis];
      rest /= value.desc.extents[axis];
      offset += index[axis] * value.desc.strides[axis];
    }
    const double result = conv != nullptr      ? conv_at(reader, *conv, index)
                          : product != nullptr ? matmul_at(reader, *product, index)
                                               : row.at(reader, *attention, index);
    expected.push_back({offset, result});
  }
  return expected;
}

}  // namespace pajamas::test
