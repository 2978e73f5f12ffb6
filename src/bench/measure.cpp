// The measuring loop: warm-up of each, then blocks in turns.
#include "bench/measure.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <thread>

#include "pajamas/error.h"

namespace pajamas {
namespace {

using Clock = std::chrono::steady_clock;

double ms_between(Clock::time_point start, Clock::time_point end) {
  return std::chrono::duration<double, std::milli>(end - start).count();
}

/// Samples of one contender as they come in.
struct Samples {
  std::vector<double> total, device, host;
  std::vector<double> block_p50;
  double measured_ms = 0;

  bool is_done(const MeasureOptions& options) const {
    if (options.num_iterations > 0) return static_cast<int>(total.size()) >= options.num_iterations;
    return measured_ms >= 1000 * options.seconds;
  }
};

double run_once(const Contender& contender) {
  const auto start = Clock::now();
  contender.run();
  return ms_between(start, Clock::now());
}

void warm_up(const Contender& contender, const MeasureOptions& options) {
  constexpr int kMinIterations = 2;
  const auto start = Clock::now();
  for (int i = 0; i < kMinIterations || ms_between(start, Clock::now()) < 1000 * options.warm_up_seconds; ++i) {
    options.progress.check("Warming up");
    contender.run();
  }
}

/// One block: the first iteration does not count, and at least one more does.
void run_block(const Contender& contender, const MeasureOptions& options, Samples& samples) {
  contender.run();
  std::vector<double> block;
  double block_ms = 0;
  do {
    options.progress.check("Measuring");
    const double ms = run_once(contender);
    block.push_back(ms);
    samples.total.push_back(ms);
    if (contender.last_timing) {
      const RunTiming timing = contender.last_timing();
      samples.device.push_back(std::chrono::duration<double, std::milli>(timing.device).count());
      samples.host.push_back(std::chrono::duration<double, std::milli>(timing.host).count());
    }
    block_ms += ms;
    samples.measured_ms += ms;
  } while (block_ms < 1000 * options.block_seconds && !samples.is_done(options));
  samples.block_p50.push_back(statistics_of(block).p50);
}

}  // namespace

std::vector<Measurement> measure(const std::vector<Contender>& contenders, const MeasureOptions& options) {
  const bool is_time_fine = std::isfinite(options.seconds) && options.seconds > 0 && options.warm_up_seconds >= 0 &&
                            options.block_seconds >= 0 && options.pause_seconds >= 0;
  if (!is_time_fine || options.num_iterations < 0) {
    throw Error(ErrorKind::kUsage, "the time of a measurement must be above 0 seconds");
  }
  for (const auto& contender : contenders) {
    options.progress.step("Warming up", -1, contender.name);
    warm_up(contender, options);
  }
  std::vector<Samples> samples(contenders.size());
  bool is_done = contenders.empty();
  for (std::size_t round = 0; !is_done; ++round) {
    is_done = true;
    for (std::size_t k = 0; k < contenders.size(); ++k) {
      // Every other round goes the other way, so that drift of the clock speed falls on all alike.
      const std::size_t i = round % 2 == 0 ? k : contenders.size() - 1 - k;
      if (samples[i].is_done(options)) continue;
      if (contenders.size() > 1) std::this_thread::sleep_for(std::chrono::duration<double>(options.pause_seconds));
      run_block(contenders[i], options, samples[i]);
      is_done = is_done && samples[i].is_done(options);
    }
    if (!samples.empty()) {
      options.progress.step("Measuring", std::min(1.0, samples[0].measured_ms / (1000 * options.seconds)));
    }
  }
  std::vector<Measurement> results;
  for (std::size_t i = 0; i < contenders.size(); ++i) {
    Measurement m;
    m.name = contenders[i].name;
    m.total_ms = statistics_of(samples[i].total);
    m.device_ms = statistics_of(samples[i].device);
    m.host_ms = statistics_of(samples[i].host);
    m.items_per_second = m.total_ms.p50 > 0 ? 1000 * contenders[i].items_per_iteration / m.total_ms.p50 : 0;
    m.block_p50_ms = std::move(samples[i].block_p50);
    results.push_back(std::move(m));
  }
  return results;
}

Ratio speed_ratio(const Measurement& contender, const Measurement& baseline) {
  Ratio ratio;
  if (contender.total_ms.p50 <= 0) return ratio;
  ratio.of_medians = baseline.total_ms.p50 / contender.total_ms.p50;
  const std::size_t num_pairs = std::min(contender.block_p50_ms.size(), baseline.block_p50_ms.size());
  ratio.low = std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < num_pairs; ++i) {
    const double pair = baseline.block_p50_ms[i] / std::max(contender.block_p50_ms[i], 1e-9);
    ratio.low = std::min(ratio.low, pair);
    ratio.high = std::max(ratio.high, pair);
  }
  if (num_pairs == 0) ratio.low = ratio.high = ratio.of_medians;
  return ratio;
}

Contender contender_of(std::string name, Session& session, double items_per_iteration) {
  return {std::move(name), [&session] { session.run(); }, [&session] { return session.last_timing(); },
          items_per_iteration};
}

nlohmann::json to_json(const Measurement& m) {
  nlohmann::json json = {{"name", m.name}, {"total_ms", to_json(m.total_ms)}, {"items_per_second", m.items_per_second}};
  if (m.device_ms.num_samples > 0) {
    json["device_ms"] = to_json(m.device_ms);
    json["host_ms"] = to_json(m.host_ms);
  }
  return json;
}

nlohmann::json to_json(const Ratio& ratio) {
  return {{"of_medians", ratio.of_medians}, {"low", ratio.low}, {"high", ratio.high}};
}

}  // namespace pajamas
