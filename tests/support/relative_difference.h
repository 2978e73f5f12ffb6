// How far numbers lie from those expected, as one figure. Not an elementwise comparison: verify/ has those.
#pragma once

#include <cmath>
#include <cstddef>
#include <span>

namespace pajamas::test {

/// ‖a - b‖ / ‖b‖ in double precision; both of one size.
inline double relative_difference(std::span<const float> a, std::span<const float> b) {
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference += (static_cast<double>(a[i]) - b[i]) * (static_cast<double>(a[i]) - b[i]);
    size += static_cast<double>(b[i]) * b[i];
  }
  return std::sqrt(difference / size);
}

}  // namespace pajamas::test
