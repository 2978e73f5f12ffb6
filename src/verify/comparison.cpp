// Elementwise comparison of tensors; sets of rows are in row_comparison.cpp.
#include "verify/comparison.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <map>
#include <span>

#include "pajamas/error.h"
#include "tensor/half.h"

namespace pajamas {
namespace {

enum class Kind { kFloat, kExact, kString, kOther };

Kind kind_of(DType dtype) {
  if (dtype == DType::kString) return Kind::kString;
  if (is_floating_point(dtype)) return Kind::kFloat;
  switch (dtype) {
    case DType::kUndefined:
    case DType::kComplex64:
    case DType::kComplex128: return Kind::kOther;
    default: return Kind::kExact;
  }
}

std::vector<std::int64_t> unravel(std::int64_t flat, const Shape& shape) {
  std::vector<std::int64_t> index(shape.rank());
  for (std::size_t axis = shape.rank(); axis-- > 0;) {
    index[axis] = flat % shape[axis];
    flat /= shape[axis];
  }
  return index;
}

/// The elements as float32 without a copy where they are; `storage` keeps a converted copy alive.
std::span<const float> floats_of(const Tensor& tensor, Tensor& storage) {
  if (tensor.dtype() == DType::kFloat32) return tensor.as<float>();
  storage = to_float32(tensor.view());
  return storage.as<float>();
}

template <typename T>
std::vector<std::int64_t> widened(const Tensor& tensor) {
  const auto values = tensor.as<T>();
  return {values.begin(), values.end()};
}

/// Elements as int64; uint64 keeps its bits, so equality stays right among equal types.
std::vector<std::int64_t> integers_of(const Tensor& tensor) {
  switch (tensor.dtype()) {
    case DType::kInt64: return widened<std::int64_t>(tensor);
    case DType::kUint64: return widened<std::uint64_t>(tensor);
    case DType::kInt32: return widened<std::int32_t>(tensor);
    case DType::kUint32: return widened<std::uint32_t>(tensor);
    case DType::kInt16: return widened<std::int16_t>(tensor);
    case DType::kUint16: return widened<std::uint16_t>(tensor);
    case DType::kInt8: return widened<std::int8_t>(tensor);
    case DType::kUint8: return widened<std::uint8_t>(tensor);
    default: {  // bool and the packed types, whose values float32 holds exactly
      const Tensor values = to_float32(tensor.view());
      std::vector<std::int64_t> out;
      for (const float value : values.as<float>()) out.push_back(static_cast<std::int64_t>(value));
      return out;
    }
  }
}

void compare_exact(const Tensor& expected, const Tensor& actual, Comparison& result) {
  const auto a = integers_of(expected);
  const auto b = integers_of(actual);
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    result.expected_max_abs = std::max(result.expected_max_abs, std::abs(static_cast<double>(a[i])));
    if (a[i] == b[i]) continue;
    ++result.num_mismatched;
    const double error = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    if (error <= worst) continue;
    worst = error;
    result.worst_index = unravel(static_cast<std::int64_t>(i), expected.shape());
    result.worst_expected = static_cast<double>(a[i]);
    result.worst_actual = static_cast<double>(b[i]);
  }
  result.max_abs = worst;
}

void compare_strings(const Tensor& expected, const Tensor& actual, Comparison& result) {
  for (std::size_t i = 0; i < expected.strings().size(); ++i) {
    if (expected.strings()[i] == actual.strings()[i]) continue;
    if (result.num_mismatched++ == 0) {
      result.worst_index = unravel(static_cast<std::int64_t>(i), expected.shape());
    }
  }
}

/// How a tensor of rank 3 falls into channels: the shorter of its last two axes, when that is short enough to mean
/// different quantities and not places.
struct Channels {
  std::size_t num_channels = 0;  ///< 0: none.
  std::size_t num_places = 0;
  bool is_last = false;

  explicit Channels(const Shape& shape) {
    constexpr std::int64_t kMaxChannels = 512;
    if (shape.rank() != 3) return;
    is_last = shape[2] < shape[1];
    const std::int64_t count = is_last ? shape[2] : shape[1];
    if (count < 2 || count > kMaxChannels) return;
    num_channels = static_cast<std::size_t>(count);
    num_places = static_cast<std::size_t>(is_last ? shape[1] : shape[2]);
  }
  std::size_t channel_of(std::size_t flat) const {
    return is_last ? flat % num_channels : flat / num_places % num_channels;
  }
};

/// Root mean square of the finite values of each channel.
std::vector<double> channel_rms(std::span<const float> values, const Channels& channels) {
  std::vector<double> squares(channels.num_channels);
  if (channels.num_channels == 0 || values.empty()) return squares;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double x = values[i];
    if (std::isfinite(x)) squares[channels.channel_of(i)] += x * x;
  }
  const double count = static_cast<double>(values.size()) / static_cast<double>(channels.num_channels);
  for (double& square : squares) square = std::sqrt(square / count);
  return squares;
}

void compare_floats(std::span<const float> a, std::span<const float> b, const Shape& shape, bool has_percentiles,
                    Comparison& result) {
  const Channels channels(shape);
  const std::vector<double> scales = channel_rms(a, channels);
  double sum_error = 0, sum_a = 0, sum_b = 0, sum_ab = 0;
  std::size_t worst = a.size();
  std::size_t first_mismatch = a.size();
  std::vector<float> errors;
  if (has_percentiles) errors.reserve(a.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double x = a[i];
    const double y = b[i];
    if (!std::isfinite(x) || !std::isfinite(y)) {
      const bool is_same = (std::isnan(x) && std::isnan(y)) || x == y;
      if (!is_same && result.num_mismatched++ == 0) first_mismatch = i;
      continue;
    }
    const double error = std::abs(x - y);
    const double scale = scales.empty() ? 1.0 : std::max(1.0, scales[channels.channel_of(i)]);
    const double relative = error / std::max(scale, std::abs(x));
    sum_error += error * error;
    sum_a += x * x;
    sum_b += y * y;
    sum_ab += x * y;
    result.max_abs = std::max(result.max_abs, error);
    result.expected_max_abs = std::max(result.expected_max_abs, std::abs(x));
    if (relative > result.max_rel) {
      result.max_rel = relative;
      worst = i;
    }
    if (has_percentiles) errors.push_back(static_cast<float>(error));
  }
  result.relative_l2 = sum_a > 0 ? std::sqrt(sum_error / sum_a) : std::sqrt(sum_error);
  if (sum_a > 0 && sum_b > 0) {
    result.cosine = std::clamp(sum_ab / (std::sqrt(sum_a) * std::sqrt(sum_b)), -1.0, 1.0);
  } else {
    result.cosine = sum_a == sum_b ? 1 : 0;
  }
  if (first_mismatch < a.size()) worst = first_mismatch;
  if (worst < a.size()) {
    result.worst_index = unravel(static_cast<std::int64_t>(worst), shape);
    result.worst_expected = a[worst];
    result.worst_actual = b[worst];
  }
  const auto percentile = [&](double share) -> double {
    if (errors.empty()) return 0;
    const auto rank = static_cast<std::ptrdiff_t>(share * static_cast<double>(errors.size() - 1));
    std::nth_element(errors.begin(), errors.begin() + rank, errors.end());
    return errors[static_cast<std::size_t>(rank)];
  };
  result.p50_abs = percentile(0.5);
  result.p90_abs = percentile(0.9);
  result.p99_abs = percentile(0.99);
}

double argmax_agreement_of(std::span<const float> a, std::span<const float> b, const Shape& shape) {
  constexpr std::int64_t kMaxClasses = 100'000;
  if (shape.rank() != 2 || shape[1] < 2 || shape[1] > kMaxClasses || shape[0] == 0) return -1;
  const auto num_classes = static_cast<std::size_t>(shape[1]);
  std::int64_t num_equal = 0;
  for (std::size_t row = 0; row < static_cast<std::size_t>(shape[0]); ++row) {
    const auto argmax = [&](std::span<const float> values) {
      const auto part = values.subspan(row * num_classes, num_classes);
      return std::max_element(part.begin(), part.end()) - part.begin();
    };
    num_equal += argmax(a) == argmax(b) ? 1 : 0;
  }
  return static_cast<double>(num_equal) / static_cast<double>(shape[0]);
}

/// Groups channels by the decade of their magnitude in the expected tensor. One group only means that the channels are
/// alike, and then there is nothing to add.
std::vector<ChannelGroup> channel_groups_of(std::span<const float> a, std::span<const float> b, const Shape& shape) {
  const Channels channels(shape);
  if (channels.num_channels == 0 || a.empty()) return {};
  std::vector<double> expected(channels.num_channels), error(channels.num_channels);
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double x = a[i];
    const double y = b[i];
    if (!std::isfinite(x) || !std::isfinite(y)) continue;
    expected[channels.channel_of(i)] += x * x;
    error[channels.channel_of(i)] += (x - y) * (x - y);
  }
  const double num_values = static_cast<double>(shape[0]) * static_cast<double>(channels.num_places);
  std::map<int, ChannelGroup, std::greater<>> groups;
  for (std::size_t channel = 0; channel < channels.num_channels; ++channel) {
    const double rms = std::sqrt(expected[channel] / num_values);
    const int decade = rms > 0 ? std::max(-6, static_cast<int>(std::floor(std::log10(rms)))) : -6;
    auto& group = groups[decade];
    if (group.num_channels++ == 0) group.first_channel = static_cast<std::int64_t>(channel);
    group.rms_expected += expected[channel];
    group.rms_error += error[channel];
  }
  if (groups.size() < 2) return {};
  std::vector<ChannelGroup> out;
  for (auto& [decade, group] : groups) {
    const double count = num_values * static_cast<double>(group.num_channels);
    group.rms_expected = std::sqrt(group.rms_expected / count);
    group.rms_error = std::sqrt(group.rms_error / count);
    out.push_back(group);
  }
  return out;
}

/// JSON has no NaN and no infinity: those become texts.
nlohmann::json number(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  return value;
}

std::string text_of(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.6g", value);
  return text;
}

}  // namespace

Comparison compare(const std::string& name, const Tensor& expected, const Tensor& actual,
                   const CompareOptions& options) {
  Comparison result;
  result.name = name;
  result.dtype = actual.dtype();
  result.expected_shape = expected.shape();
  result.actual_shape = actual.shape();
  const Kind kind = kind_of(expected.dtype());
  if (kind == Kind::kOther || kind_of(actual.dtype()) == Kind::kOther) {
    throw Error(ErrorKind::kUnsupported,
                std::string("tensors of ") + to_string(kind == Kind::kOther ? expected.dtype() : actual.dtype()) +
                    " cannot be compared",
                "'" + name + "'");
  }
  if (kind != kind_of(actual.dtype())) {
    result.mismatch = std::string("expected ") + to_string(expected.dtype()) + ", got " + to_string(actual.dtype());
    return result;
  }
  if (expected.shape() != actual.shape()) {
    result.mismatch = "expected shape " + expected.shape().to_string() + ", got " + actual.shape().to_string();
    return result;
  }
  result.num_elements = expected.num_elements();
  if (result.num_elements == 0) return result;
  if (kind == Kind::kExact) {
    compare_exact(expected, actual, result);
  } else if (kind == Kind::kString) {
    compare_strings(expected, actual, result);
  } else {
    Tensor expected_storage, actual_storage;
    const auto a = floats_of(expected, expected_storage);
    const auto b = floats_of(actual, actual_storage);
    compare_floats(a, b, expected.shape(), options.has_percentiles, result);
    result.argmax_agreement = argmax_agreement_of(a, b, expected.shape());
    result.channel_groups = channel_groups_of(a, b, expected.shape());
  }
  return result;
}

nlohmann::json to_json(const Comparison& comparison) {
  nlohmann::json json = {{"name", comparison.name},
                         {"dtype", to_string(comparison.dtype)},
                         {"shape", comparison.actual_shape.extents()},
                         {"num_elements", comparison.num_elements},
                         {"num_mismatched", comparison.num_mismatched},
                         {"max_abs", number(comparison.max_abs)},
                         {"max_rel", number(comparison.max_rel)},
                         {"relative_l2", number(comparison.relative_l2)},
                         {"cosine", number(comparison.cosine)},
                         {"expected_max_abs", number(comparison.expected_max_abs)},
                         {"p50_abs", number(comparison.p50_abs)},
                         {"p90_abs", number(comparison.p90_abs)},
                         {"p99_abs", number(comparison.p99_abs)}};
  if (!comparison.mismatch.empty()) json["mismatch"] = comparison.mismatch;
  if (!comparison.worst_index.empty()) {
    json["worst"] = {{"index", comparison.worst_index},
                     {"expected", number(comparison.worst_expected)},
                     {"actual", number(comparison.worst_actual)}};
  }
  if (comparison.argmax_agreement >= 0) json["argmax_agreement"] = comparison.argmax_agreement;
  for (const auto& group : comparison.channel_groups) {
    json["channel_groups"].push_back({{"num_channels", group.num_channels},
                                      {"first_channel", group.first_channel},
                                      {"rms_expected", group.rms_expected},
                                      {"rms_error", group.rms_error}});
  }
  if (comparison.is_compared_as_set) {
    json["rows"] = {{"expected", comparison.num_rows_expected},
                    {"actual", comparison.num_rows_actual},
                    {"unmatched", comparison.num_rows_unmatched}};
  }
  if (comparison.selection_gap >= 0) {
    json["selection"] = {{"largest_gap", comparison.selection_gap}, {"margin", comparison.selection_margin}};
  }
  return json;
}

std::string describe(const Comparison& comparison) {
  if (!comparison.mismatch.empty()) return comparison.mismatch;
  if (comparison.num_elements == 0 && !comparison.is_compared_as_set) return "no elements";
  std::string text;
  if (comparison.is_compared_as_set) {
    text = std::to_string(comparison.num_rows_unmatched) + " rows without a partner (" +
           std::to_string(comparison.num_rows_expected) + " expected, " + std::to_string(comparison.num_rows_actual) +
           " computed), ";
  }
  if (comparison.selection_gap > 0)
    text = "near-ties picked the other way (" + text_of(comparison.selection_gap) + " apart), ";
  if (is_floating_point(comparison.dtype)) {
    text += "max_abs " + text_of(comparison.max_abs) + ", relative_l2 " + text_of(comparison.relative_l2) +
            ", cosine " + text_of(comparison.cosine);
    if (comparison.num_mismatched > 0) {
      text += ", " + std::to_string(comparison.num_mismatched) + " NaN or infinite on one side";
    }
  } else {
    text += std::to_string(comparison.num_mismatched) + " of " + std::to_string(comparison.num_elements) +
            " elements differ";
  }
  if (!comparison.worst_index.empty()) {
    text += ", worst at " + Shape(comparison.worst_index).to_string();
    if (comparison.dtype != DType::kString) {
      text += ": expected " + text_of(comparison.worst_expected) + ", got " + text_of(comparison.worst_actual);
    }
  }
  return text;
}

}  // namespace pajamas
