// Measuring time: warm-up, repetition, and several contenders in turns within one run, so that a ratio between them is
// not a ratio between two moods of the machine.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/cancel.h"
#include "bench/statistics.h"
#include "engine/target.h"

namespace pajamas {

struct MeasureOptions {
  double seconds = 5;            ///< Measured time of each contender, warm-up not counted. Above 0.
  int num_iterations = 0;        ///< Above 0: exactly so many measured iterations of each contender, whatever the time.
  double warm_up_seconds = 0.5;  ///< At least, and at least two iterations, for each contender.
  /// Contenders take turns in blocks of this time. Not single iterations: the thread pools of inference libraries go on
  /// spinning for a while after a run and would slow the next contender's first one, which is why the first iteration
  /// of every block is not counted either.
  double block_seconds = 0.3;
  double pause_seconds = 0.02;  ///< Between blocks of different contenders, for spinning threads to go to sleep.
  Progress progress{};
};

/// Something to be measured.
struct Contender {
  std::string name;
  std::function<void()> run;  ///< One iteration.
  /// Split of the last iteration, where it is known; may be empty.
  std::function<RunTiming()> last_timing{};
  double items_per_iteration = 1;  ///< For throughput: the batch.
};

struct Measurement {
  std::string name;
  Statistics total_ms;
  Statistics device_ms;  ///< n is 0 where there is no split.
  Statistics host_ms;
  double items_per_second = 0;       ///< items_per_iteration / p50 of the total.
  std::vector<double> block_p50_ms;  ///< Median of each block, in order: for ratios of neighbours.
};

/// Ratio of the throughput of one contender to that of another.
struct Ratio {
  double of_medians = 0;  ///< median time of the baseline / median time of the contender; above 1 is faster.
  double low = 0;         ///< Least and largest of the ratios of neighbouring blocks: how steady it is.
  double high = 0;
};

/// Measures all contenders in turns (A B, B A, A B, ...). Throws what they throw, Error{kUsage} for options out of
/// range, Error{kCancelled}.
std::vector<Measurement> measure(const std::vector<Contender>& contenders, const MeasureOptions& options = {});

/// `contender` against `baseline`, both from one call of measure().
Ratio speed_ratio(const Measurement& contender, const Measurement& baseline);

/// A session as a contender: sets nothing, calls run(). Inputs must have been set and must live on.
Contender contender_of(std::string name, Session& session, double items_per_iteration = 1);

/// {"name", "total_ms", "device_ms", "host_ms", "items_per_second"}.
nlohmann::json to_json(const Measurement& measurement);
nlohmann::json to_json(const Ratio& ratio);

}  // namespace pajamas
