// See product_times.h.
#include "targets/cuda/runtime/product_times.h"

#include <algorithm>

#include "graph/passes/quantize_products.h"
#include "pajamas/error.h"
#include "targets/cuda/product_groups.h"

namespace pajamas::cuda {
namespace {

/// Microseconds of each step, by the cache, which is made to know them all; `used` gets what it says of them.
std::vector<double> step_times(DeviceContext& device, UsualProgram& usual, const BuildEngineOptions& options,
                               TimingCache& cache, TimingCache& used) {
  const TuningEnvironment environment = environment_of(device);
  Program& program = usual.lowered.program;
  const std::vector<std::string> signatures = signatures_of(program);
  const bool is_known = std::all_of(signatures.begin(), signatures.end(), [&](const std::string& signature) {
    return cache.find(environment, signature) != nullptr;
  });
  if (!is_known) {
    PackedConstants packed;
    packed.add(usual.lowered.constants, usual.table);
    const DeviceConstants constants(packed);
    TuneOptions tuning;
    tuning.num_threads = options.num_threads;
    tuning.max_kernels = options.max_kernels;
    tuning.progress = options.progress;
    tune(device, program, constants, cache, tuning);
  }
  std::vector<double> times;
  for (std::size_t i = 0; i < signatures.size(); ++i) {
    const TunedSignature* tuned = cache.find(environment, signatures[i]);
    if (tuned == nullptr) throw Error(ErrorKind::kInternal, "a step was not timed: " + signatures[i]);
    // The fastest alone, not the one that a plan chose: of the two programs one may have been in a plan, and one not.
    const TimedTactic& best = tuned->candidates.front();
    const bool is_loop = std::holds_alternative<LoopStep>(program.steps[i].work);
    times.push_back(is_loop ? best.warm_us : best.score() / 2);
    used.add(environment, signatures[i], *tuned);
  }
  return times;
}

double sum_of(const std::vector<double>& times, const std::vector<std::size_t>& steps) {
  double sum = 0;
  for (const std::size_t step : steps) sum += times[step];
  return sum;
}

}  // namespace

ProductComparison compare_products(const std::shared_ptr<DeviceContext>& device, const Model& model,
                                   const BuildEngineOptions& options, TimingCache& cache) {
  ProductComparison result;
  device->make_current();
  const Model named = with_node_names(model);
  UsualProgram small = usual_program(named, options, device->info().sm);
  UsualProgram wide = usual_program(without_float8_pairs(named), options, device->info().sm);
  const std::vector<ProductGroup> groups = product_groups(named, small.lowered.program, wide.lowered.program);
  if (groups.empty()) return result;
  const std::vector<double> small_us = step_times(*device, small, options, cache, result.timing);
  const std::vector<double> wide_us = step_times(*device, wide, options, cache, result.timing);
  for (const ProductGroup& group : groups) {
    result.groups.push_back(
        {group.activations, sum_of(small_us, group.small_steps), sum_of(wide_us, group.wide_steps)});
  }
  return result;
}

std::vector<std::string> ProductComparison::not_worth_it() const {
  std::vector<std::string> names;
  for (const ProductTimes& group : groups) {
    if (group.wide_us < group.small_us) names.insert(names.end(), group.activations.begin(), group.activations.end());
  }
  return names;
}

nlohmann::json to_json(const ProductComparison& comparison) {
  nlohmann::json groups = nlohmann::json::array();
  for (const ProductTimes& group : comparison.groups) {
    groups.push_back({{"activations", group.activations}, {"small_us", group.small_us}, {"wide_us", group.wide_us}});
  }
  return {{"groups", groups}, {"not_worth_it", comparison.not_worth_it()}};
}

}  // namespace pajamas::cuda
