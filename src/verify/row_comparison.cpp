// Comparison of outputs whose rows are a set: matching rows jointly over several outputs.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>

#include "tensor/half.h"
#include "verify/comparison.h"

namespace pajamas {
namespace {

/// One column with its elements as float64 (exact for the integers that labels and counts are).
struct Values {
  std::vector<double> expected, actual;
  std::size_t row_size = 1;
  bool is_exact = false;
};

std::vector<double> doubles_of(const Tensor& tensor) {
  if (tensor.dtype() == DType::kInt64) {
    const auto values = tensor.as<std::int64_t>();
    return {values.begin(), values.end()};
  }
  const Tensor floats = to_float32(tensor.view());
  const auto values = floats.as<float>();
  return {values.begin(), values.end()};
}

/// How far apart two elements are: 0 when equal or both the same non-finite value.
double distance(double x, double y) {
  if (std::isfinite(x) && std::isfinite(y)) return std::abs(x - y) / std::max(1.0, std::abs(x));
  return (std::isnan(x) && std::isnan(y)) || x == y ? 0 : std::numeric_limits<double>::infinity();
}

/// Distance of two rows over all columns; stops early once it is past `limit`.
double row_distance(const std::vector<Values>& columns, std::size_t row, std::size_t other, double limit) {
  double largest = 0;
  for (const auto& column : columns) {
    for (std::size_t i = 0; i < column.row_size; ++i) {
      const double x = column.expected[row * column.row_size + i];
      const double y = column.actual[other * column.row_size + i];
      const double d = column.is_exact ? (x == y ? 0 : std::numeric_limits<double>::infinity()) : distance(x, y);
      largest = std::max(largest, d);
      if (largest > limit) return largest;
    }
  }
  return largest;
}

/// Why the columns cannot be matched; empty when they can.
std::string misfit(const std::vector<RowColumn>& columns, std::size_t axis) {
  for (const auto& column : columns) {
    const auto& e = column.expected.shape();
    const auto& a = column.actual.shape();
    if (is_floating_point(column.expected.dtype()) != is_floating_point(column.actual.dtype()) ||
        column.expected.dtype() == DType::kString || column.actual.dtype() == DType::kString) {
      return std::string("expected ") + to_string(column.expected.dtype()) + ", got " +
             to_string(column.actual.dtype());
    }
    bool fits = e.rank() > axis && e.rank() == a.rank();
    for (std::size_t i = 0; fits && i < e.rank(); ++i) {
      fits = i == axis ? e[i] == columns[0].expected.shape()[i] && a[i] == columns[0].actual.shape()[i] : e[i] == a[i];
    }
    if (fits && axis == 1) fits = e[0] == columns[0].expected.shape()[0];
    if (!fits) return "expected shape " + e.to_string() + ", got " + a.to_string();
    if (e[axis] > kMaxRowsToMatch || a[axis] > kMaxRowsToMatch) return "too many rows to match as a set";
  }
  return {};
}

}  // namespace

std::vector<Comparison> compare_rows(const std::vector<RowColumn>& columns, int row_axis, double row_tolerance) {
  const auto axis = static_cast<std::size_t>(row_axis);
  std::vector<Comparison> results;
  for (const auto& column : columns) {
    Comparison result;
    result.name = column.name;
    result.dtype = column.actual.dtype();
    result.expected_shape = column.expected.shape();
    result.actual_shape = column.actual.shape();
    results.push_back(std::move(result));
  }
  if (columns.empty()) return results;
  if (const std::string why = misfit(columns, axis); !why.empty()) {
    for (auto& result : results) result.mismatch = why;
    return results;
  }
  std::vector<Values> values;
  for (const auto& column : columns) {
    Values v{doubles_of(column.expected), doubles_of(column.actual), 1, !is_floating_point(column.expected.dtype())};
    for (std::size_t i = axis + 1; i < column.expected.shape().rank(); ++i) {
      v.row_size *= static_cast<std::size_t>(column.expected.shape()[i]);
    }
    values.push_back(std::move(v));
  }
  const auto num_batches = static_cast<std::size_t>(axis == 1 ? columns[0].expected.shape()[0] : 1);
  const auto num_expected = static_cast<std::size_t>(columns[0].expected.shape()[axis]);
  const auto num_actual = static_cast<std::size_t>(columns[0].actual.shape()[axis]);

  std::vector<std::pair<std::size_t, std::size_t>> matches;
  for (std::size_t batch = 0; batch < num_batches; ++batch) {
    std::vector<bool> is_taken(num_actual);
    for (std::size_t row = 0; row < num_expected; ++row) {
      double nearest = row_tolerance;
      std::size_t partner = num_actual;
      // The same position first: most rows keep theirs, and an equal row there ends the search.
      for (std::size_t k = 0; k < num_actual && (partner == num_actual || nearest > 0); ++k) {
        const std::size_t other = (row + k) % num_actual;
        if (is_taken[other]) continue;
        const double d = row_distance(values, batch * num_expected + row, batch * num_actual + other, nearest);
        if (d > nearest || (partner != num_actual && d >= nearest)) continue;
        nearest = d;
        partner = other;
      }
      if (partner == num_actual) continue;
      is_taken[partner] = true;
      matches.emplace_back(batch * num_expected + row, batch * num_actual + partner);
    }
  }
  const auto num_unmatched = static_cast<std::int64_t>((num_expected + num_actual) * num_batches - 2 * matches.size());
  for (std::size_t c = 0; c < columns.size(); ++c) {
    // The matched rows in one order on both sides, compared like any other tensor.
    const auto& column = values[c];
    std::vector<float> expected, actual;
    for (const auto& [row, partner] : matches) {
      for (std::size_t i = 0; i < column.row_size; ++i) {
        expected.push_back(static_cast<float>(column.expected[row * column.row_size + i]));
        actual.push_back(static_cast<float>(column.actual[partner * column.row_size + i]));
      }
    }
    const Shape shape{static_cast<std::int64_t>(matches.size()), static_cast<std::int64_t>(column.row_size)};
    Comparison matched = compare(columns[c].name, Tensor::of<float>(shape, std::span<const float>(expected)),
                                 Tensor::of<float>(shape, std::span<const float>(actual)));
    matched.dtype = results[c].dtype;
    matched.expected_shape = results[c].expected_shape;
    matched.actual_shape = results[c].actual_shape;
    matched.argmax_agreement = -1;
    matched.channel_groups.clear();
    matched.is_compared_as_set = true;
    matched.num_rows_expected = static_cast<std::int64_t>(num_expected * num_batches);
    matched.num_rows_actual = static_cast<std::int64_t>(num_actual * num_batches);
    matched.num_rows_unmatched = num_unmatched;
    results[c] = std::move(matched);
  }
  return results;
}

}  // namespace pajamas
