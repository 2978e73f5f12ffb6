// Statistics of repeated measurements. Percentiles rather than means decide: one preemption must not move a figure.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <span>
#include <vector>

namespace pajamas {

/// Of samples in any unit. All zero when there are none.
struct Statistics {
  std::size_t num_samples = 0;
  double min = 0, p50 = 0, p90 = 0, p99 = 0, max = 0;
  double mean = 0;
  double stdev = 0;  ///< Of the sample (n - 1); 0 for fewer than two.
};

/// Percentiles are interpolated between neighbours: the p-th of n sorted samples is at position p / 100 * (n - 1).
/// Samples must be finite: Error{kInternal} otherwise.
Statistics statistics_of(std::span<const double> samples);

/// The percentile of sorted samples, as above. `percent` is 0..100. 0 for no samples.
double percentile_of_sorted(std::span<const double> sorted, double percent);

/// {"n", "min", "p50", "p90", "p99", "max", "mean", "stdev"}.
nlohmann::json to_json(const Statistics& statistics);

}  // namespace pajamas
