// List scheduling by the longest remaining path. See schedule.h.
#include "targets/cuda/lowering/schedule.h"

#include <algorithm>
#include <queue>

namespace pajamas::cuda {

namespace {

/// A rough time in µs of a step that has the GPU for itself. A dependent kernel in a CUDA graph takes about 2 µs
/// however small; beyond that half of an H200's bandwidth and a fifth of its arithmetic are what small layers reach.
double time_us(const Program& program, const Step& step) {
  const StepCost cost = cost_of(program, step);
  return 2.0 + std::max(cost.bytes / 2e6, cost.flops / 2e8);
}

}  // namespace

void schedule_steps(Program& program, std::int32_t max_lanes) {
  const std::size_t count = program.steps.size();
  const std::size_t limit = static_cast<std::size_t>(std::max(max_lanes, 1));
  std::vector<std::vector<std::int32_t>> consumers(count);
  std::vector<std::size_t> num_missing(count);
  std::vector<double> duration(count);
  for (std::size_t i = 0; i < count; ++i) {
    num_missing[i] = program.steps[i].depends_on.size();
    duration[i] = time_us(program, program.steps[i]);
    for (const std::int32_t before : program.steps[i].depends_on) {
      consumers[static_cast<std::size_t>(before)].push_back(static_cast<std::int32_t>(i));
    }
  }
  std::vector<double> remaining(count, 0);
  for (std::size_t i = count; i-- > 0;) {
    for (const std::int32_t next : consumers[i]) {
      remaining[i] = std::max(remaining[i], remaining[static_cast<std::size_t>(next)]);
    }
    remaining[i] += duration[i];
  }
  // Of what can start, the head of the longest path; of equals the earlier in the graph.
  const auto is_later = [&](std::int32_t a, std::int32_t b) {
    const double left_a = remaining[static_cast<std::size_t>(a)];
    const double left_b = remaining[static_cast<std::size_t>(b)];
    return left_a != left_b ? left_a < left_b : a > b;
  };
  std::priority_queue<std::int32_t, std::vector<std::int32_t>, decltype(is_later)> ready(is_later);
  for (std::size_t i = 0; i < count; ++i) {
    if (num_missing[i] == 0) ready.push(static_cast<std::int32_t>(i));
  }
  struct Lane {
    double free_at = 0;
    std::int32_t last = -1;  ///< By old index.
  };
  std::vector<Lane> lanes;
  std::vector<double> end(count, 0);
  std::vector<std::int32_t> order;
  while (!ready.empty()) {
    const std::int32_t index = ready.top();
    ready.pop();
    const auto at = static_cast<std::size_t>(index);
    Step& step = program.steps[at];
    double start = 0;
    for (const std::int32_t before : step.depends_on) start = std::max(start, end[static_cast<std::size_t>(before)]);
    // Behind the input that ends last, if nothing has followed it; else a lane that is idle by then; else a new one.
    std::size_t chosen = limit;
    double latest = -1;
    for (std::size_t lane = 0; lane < lanes.size(); ++lane) {
      const std::int32_t last = lanes[lane].last;
      if (std::find(step.depends_on.begin(), step.depends_on.end(), last) == step.depends_on.end()) continue;
      if (lanes[lane].free_at > latest) {
        latest = lanes[lane].free_at;
        chosen = lane;
      }
    }
    if (chosen == limit) {
      for (std::size_t lane = 0; lane < lanes.size(); ++lane) {
        if (lanes[lane].free_at <= start && (chosen == limit || lanes[lane].free_at > lanes[chosen].free_at)) {
          chosen = lane;
        }
      }
    }
    if (chosen == limit && lanes.size() < limit) {
      chosen = lanes.size();
      lanes.emplace_back();
    }
    if (chosen == limit) {
      chosen = 0;
      for (std::size_t lane = 1; lane < lanes.size(); ++lane) {
        if (lanes[lane].free_at < lanes[chosen].free_at) chosen = lane;
      }
    }
    end[at] = std::max(start, lanes[chosen].free_at) + duration[at];
    lanes[chosen] = {end[at], index};
    step.lane = static_cast<std::int32_t>(chosen);
    order.push_back(index);
    for (const std::int32_t next : consumers[at]) {
      if (--num_missing[static_cast<std::size_t>(next)] == 0) ready.push(next);
    }
  }
  std::vector<std::int32_t> new_index(count);
  for (std::size_t i = 0; i < order.size(); ++i) {
    new_index[static_cast<std::size_t>(order[i])] = static_cast<std::int32_t>(i);
  }
  std::vector<Step> steps;
  for (const std::int32_t index : order) steps.push_back(std::move(program.steps[static_cast<std::size_t>(index)]));
  for (Step& step : steps) {
    for (std::int32_t& before : step.depends_on) before = new_index[static_cast<std::size_t>(before)];
    std::sort(step.depends_on.begin(), step.depends_on.end());
  }
  program.steps = std::move(steps);
  program.num_lanes = static_cast<std::int32_t>(std::max<std::size_t>(lanes.size(), 1));
}

}  // namespace pajamas::cuda
