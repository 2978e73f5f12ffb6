// The order of parallel branches: every dependency holds, directly or through others, and no more waits than needed.
#include <gmock/gmock.h>

#include <random>

#include "targets/cuda/runtime/lane_schedule.h"

namespace pajamas::cuda {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

struct Given {
  std::int32_t lane;
  std::vector<std::int32_t> depends_on;
};

Program program_of(const std::vector<Given>& given) {
  Program program;
  program.num_lanes = 1;
  for (const Given& step : given) {
    Step made;
    made.lane = step.lane;
    made.depends_on = step.depends_on;
    program.steps.push_back(made);
    program.num_lanes = std::max(program.num_lanes, step.lane + 1);
  }
  return program;
}

/// reached[a][b]: whether b is done when a begins, by lanes' order and waits.
std::vector<std::vector<bool>> reached_by(const Program& program, const LaneSchedule& schedule) {
  const std::size_t count = program.steps.size();
  std::vector<std::vector<bool>> reached(count, std::vector<bool>(count, false));
  const auto add = [&](std::size_t step, std::size_t before) {
    reached[step][before] = true;
    for (std::size_t i = 0; i < count; ++i) reached[step][i] = reached[step][i] || reached[before][i];
  };
  for (std::size_t i = 0; i < count; ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      if (program.steps[j].lane == program.steps[i].lane) add(i, j);
    }
    for (const std::int32_t before : schedule.waits[i]) add(i, static_cast<std::size_t>(before));
  }
  return reached;
}

TEST(CudaPlanLanes, one_lane_waits_for_nothing) {
  const LaneSchedule schedule = schedule_lanes(program_of({{0, {}}, {0, {0}}, {0, {0, 1}}}));
  for (const auto& waits : schedule.waits) EXPECT_THAT(waits, IsEmpty());
  EXPECT_THAT(schedule.joins, IsEmpty());
}

TEST(CudaPlanLanes, no_steps_is_no_trouble) { EXPECT_THAT(schedule_lanes(program_of({})).joins, IsEmpty()); }

TEST(CudaPlanLanes, a_diamond_waits_twice) {
  const LaneSchedule schedule = schedule_lanes(program_of({{0, {}}, {0, {0}}, {1, {0}}, {0, {1, 2}}}));
  EXPECT_THAT(schedule.waits[2], ElementsAre(0));
  EXPECT_THAT(schedule.waits[3], ElementsAre(2));
  EXPECT_THAT(schedule.is_awaited, ElementsAre(true, false, true, false));
  EXPECT_THAT(schedule.joins, IsEmpty());  // Lane 0 has waited for all of lane 1.
}

TEST(CudaPlanLanes, joins_lanes_that_nobody_waited_for) {
  const LaneSchedule schedule = schedule_lanes(program_of({{0, {}}, {1, {}}, {2, {1}}, {1, {}}}));
  EXPECT_THAT(schedule.joins, ElementsAre(3, 2));
}

TEST(CudaPlanLanes, waits_once_for_what_follows_from_another_wait) {
  // Step 3 needs 0 and 2; 2 has waited for 0 already.
  const LaneSchedule schedule = schedule_lanes(program_of({{0, {}}, {2, {}}, {1, {0, 1}}, {3, {0, 1, 2}}}));
  EXPECT_THAT(schedule.waits[3], ElementsAre(2));
}

TEST(CudaPlanLanes, holds_every_dependency_of_random_programs) {
  std::mt19937 random(5);
  for (int round = 0; round < 300; ++round) {
    std::vector<Given> given(1 + random() % 30);
    const auto num_lanes = 1 + random() % 6;
    for (std::size_t i = 0; i < given.size(); ++i) {
      given[i].lane = static_cast<std::int32_t>(random() % num_lanes);
      for (std::size_t j = 0; j < i; ++j) {
        if (random() % 5 == 0) given[i].depends_on.push_back(static_cast<std::int32_t>(j));
      }
    }
    const Program program = program_of(given);
    const LaneSchedule schedule = schedule_lanes(program);
    const auto reached = reached_by(program, schedule);
    std::vector<bool> is_waited_for(given.size(), false);
    for (std::size_t i = 0; i < given.size(); ++i) {
      for (const std::int32_t before : given[i].depends_on) {
        EXPECT_TRUE(reached[i][static_cast<std::size_t>(before)]) << "step " << i << " after " << before;
      }
      for (const std::int32_t before : schedule.waits[i]) {
        is_waited_for[static_cast<std::size_t>(before)] = true;
        EXPECT_NE(program.steps[static_cast<std::size_t>(before)].lane, program.steps[i].lane);
        EXPECT_THAT(given[i].depends_on, testing::Contains(before));  // No edge that is not a real dependency.
      }
    }
    // At the end all steps are done: each is in lane 0, joined, or before one that is.
    std::vector<bool> is_done(given.size(), false);
    const auto finish = [&](std::size_t step) {
      is_done[step] = true;
      for (std::size_t i = 0; i < given.size(); ++i) is_done[i] = is_done[i] || reached[step][i];
    };
    for (std::size_t i = 0; i < given.size(); ++i) {
      if (given[i].lane == 0) finish(i);
    }
    for (const std::int32_t last : schedule.joins) {
      finish(static_cast<std::size_t>(last));
      is_waited_for[static_cast<std::size_t>(last)] = true;
    }
    EXPECT_THAT(is_done, testing::Each(true));
    EXPECT_EQ(schedule.is_awaited, is_waited_for);
  }
}

}  // namespace
}  // namespace pajamas::cuda
