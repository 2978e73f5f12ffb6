// Choosing kernels in the whole plan. See refine() in tuner.h.
#include <algorithm>
#include <chrono>

#include "targets/cuda/runtime/parallel.h"
#include "targets/cuda/runtime/tuner.h"

namespace pajamas::cuda {
namespace {

using Clock = std::chrono::steady_clock;

/// Less than this is noise between two captures of the same kernels.
constexpr double kLeastGain = 0.004;
constexpr double kMeasureUs = 6000;  ///< Of replays a trial.

class Trials {
 public:
  Trials(std::shared_ptr<Program> program, std::shared_ptr<const DeviceConstants> constants)
      : program_(std::move(program)), constants_(std::move(constants)) {}

  double time_us(const StepKernels& kernels) {
    const auto plan = std::make_shared<const Plan>(program_, kernels, constants_, true);
    const std::size_t arena_bytes = std::max(plan->arena_bytes(), kBufferAlignment);
    if (!arena_ || arena_->size_bytes() < arena_bytes) {
      arena_.reset();
      arena_ = std::make_shared<const DeviceMemory>(arena_bytes);
    }
    const PlanInstance instance(plan, arena_, stream_.get());
    if (!instance.graph()) return 0;
    const double first_us = median_replay_us(instance.graph(), stream_.get(), 3);
    const int num_replays = std::clamp(static_cast<int>(kMeasureUs / std::max(first_us, 1.0)), 5, 25);
    return median_replay_us(instance.graph(), stream_.get(), num_replays);
  }

 private:
  std::shared_ptr<Program> program_;
  std::shared_ptr<const DeviceConstants> constants_;
  std::shared_ptr<const DeviceMemory> arena_;
  Stream stream_;
};

}  // namespace

double refine(DeviceContext& device, const std::shared_ptr<Program>& program,
              const std::shared_ptr<const DeviceConstants>& constants, TuneResult& tuned, TimingCache& cache,
              const TuneOptions& options) {
  const TuningEnvironment environment = environment_of(device);
  const std::vector<std::string> signatures = signatures_of(*program);
  std::map<std::string, std::vector<std::size_t>> steps;
  for (std::size_t i = 0; i < signatures.size(); ++i) steps[signatures[i]].push_back(i);

  // Where most time goes first.
  std::vector<std::pair<double, std::string>> order;
  for (const auto& [signature, alternatives] : tuned.alternatives) {
    const TunedSignature* timed = cache.find(environment, signature);
    if (alternatives.empty() || timed == nullptr) continue;
    order.emplace_back(timed->candidates.front().warm_us * static_cast<double>(steps[signature].size()), signature);
  }
  std::sort(order.rbegin(), order.rend());

  Trials trials(program, constants);
  double best_us = trials.time_us(tuned.kernels);
  const auto begin = Clock::now();
  for (std::size_t i = 0; i < order.size(); ++i) {
    options.progress.check("comparing plans");
    options.progress.step("Comparing plans", static_cast<double>(i) / static_cast<double>(order.size()));
    if (std::chrono::duration<double>(Clock::now() - begin).count() > kRefineSeconds) break;
    const std::string& signature = order[i].second;
    const std::vector<std::size_t>& places = steps[signature];
    for (const auto& alternative : tuned.alternatives[signature]) {
      StepKernels kernels = tuned.kernels;
      const ChosenTactic chosen{alternative->tactic(), alternative->state()};
      kernels[places.front()] = alternative;
      parallel_for(device, places.size() - 1, options.num_threads, [&](std::size_t other) {
        const std::size_t step = places[other + 1];
        kernels[step] =
            backend_of(chosen.tactic).restore(device, *program, program->steps[step], chosen.tactic, chosen.state);
      });
      const double time_us = trials.time_us(kernels);
      if (time_us >= best_us * (1 - kLeastGain)) continue;
      best_us = time_us;
      tuned.kernels = std::move(kernels);
      tuned.tactics[signature] = chosen;
      cache.choose(environment, signature, chosen.tactic);
    }
  }
  tuned.alternatives.clear();
  return best_us;
}

}  // namespace pajamas::cuda
