// See lane_schedule.h.
#include "targets/cuda/runtime/lane_schedule.h"

#include <algorithm>

namespace pajamas::cuda {

LaneSchedule schedule_lanes(const Program& program) {
  const std::vector<Step>& steps = program.steps;
  const auto num_lanes = static_cast<std::size_t>(std::max(program.num_lanes, 1));
  const auto lane_of = [&](std::int32_t step) {
    return static_cast<std::size_t>(steps[static_cast<std::size_t>(step)].lane);
  };
  LaneSchedule schedule;
  schedule.waits.resize(steps.size());
  schedule.is_awaited.resize(steps.size(), false);

  // known[a][b]: the last step of lane b that lane a has waited for, through others too.
  std::vector<std::vector<std::int32_t>> known(num_lanes, std::vector<std::int32_t>(num_lanes, -1));
  std::vector<std::vector<std::int32_t>> known_after(steps.size());  // What a step's lane knows when it is done.
  const auto wait_for = [&](std::size_t lane, std::int32_t step) {
    schedule.is_awaited[static_cast<std::size_t>(step)] = true;
    const std::vector<std::int32_t>& theirs = known_after[static_cast<std::size_t>(step)];
    for (std::size_t other = 0; other < num_lanes; ++other) {
      known[lane][other] = std::max(known[lane][other], theirs[other]);
    }
  };
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const auto step = static_cast<std::int32_t>(i);
    const std::size_t lane = lane_of(step);
    // Latest first: waiting for it often covers the earlier ones.
    std::vector<std::int32_t> before = steps[i].depends_on;
    std::sort(before.rbegin(), before.rend());
    for (const std::int32_t earlier : before) {
      if (lane_of(earlier) == lane || known[lane][lane_of(earlier)] >= earlier) continue;
      schedule.waits[i].push_back(earlier);
      wait_for(lane, earlier);
    }
    known[lane][lane] = step;
    known_after[i] = known[lane];
  }
  for (std::size_t lane = 1; lane < num_lanes; ++lane) {
    std::int32_t last = -1;
    for (std::size_t i = 0; i < steps.size(); ++i) {
      if (lane_of(static_cast<std::int32_t>(i)) == lane) last = static_cast<std::int32_t>(i);
    }
    if (last < 0 || known[0][lane] >= last) continue;
    schedule.joins.push_back(last);
    wait_for(0, last);
  }
  return schedule;
}

}  // namespace pajamas::cuda
