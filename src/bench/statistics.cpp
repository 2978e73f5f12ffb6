// Sorting, percentiles and moments.
#include "bench/statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "pajamas/error.h"

namespace pajamas {

double percentile_of_sorted(std::span<const double> sorted, double percent) {
  if (sorted.empty()) return 0;
  const double position = std::clamp(percent, 0.0, 100.0) / 100 * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(position);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  const double share = position - static_cast<double>(below);
  return sorted[below] + share * (sorted[above] - sorted[below]);
}

Statistics statistics_of(std::span<const double> samples) {
  Statistics s;
  if (samples.empty()) return s;
  std::vector<double> sorted(samples.begin(), samples.end());
  if (!std::all_of(sorted.begin(), sorted.end(), [](double x) { return std::isfinite(x); })) {
    throw Error(ErrorKind::kInternal, "a measurement is not finite");
  }
  std::sort(sorted.begin(), sorted.end());
  s.num_samples = sorted.size();
  s.min = sorted.front();
  s.p50 = percentile_of_sorted(sorted, 50);
  s.p90 = percentile_of_sorted(sorted, 90);
  s.p99 = percentile_of_sorted(sorted, 99);
  s.max = sorted.back();
  const auto count = static_cast<double>(sorted.size());
  s.mean = std::accumulate(sorted.begin(), sorted.end(), 0.0) / count;
  if (sorted.size() > 1) {
    double squares = 0;
    for (const double x : sorted) squares += (x - s.mean) * (x - s.mean);
    s.stdev = std::sqrt(squares / (count - 1));
  }
  return s;
}

nlohmann::json to_json(const Statistics& s) {
  return {{"n", s.num_samples}, {"min", s.min}, {"p50", s.p50},   {"p90", s.p90},
          {"p99", s.p99},       {"max", s.max}, {"mean", s.mean}, {"stdev", s.stdev}};
}

}  // namespace pajamas
