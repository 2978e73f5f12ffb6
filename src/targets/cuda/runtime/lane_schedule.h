// In which order the branches of a program wait for each other when they are captured on a stream each: only where a
// step does not follow already from what its lane has waited for. Knows no CUDA.
#pragma once

#include <cstdint>
#include <vector>

#include "targets/cuda/program.h"

namespace pajamas::cuda {

struct LaneSchedule {
  std::vector<std::vector<std::int32_t>> waits;  ///< For each step the steps of other lanes that it waits for.
  std::vector<bool> is_awaited;                  ///< For each step whether another lane waits for it.
  std::vector<std::int32_t> joins;               ///< Steps that lane 0 waits for at the end, so that it ends last.
};

/// Steps of one lane follow one another; beyond that exactly the order of `depends_on` holds.
LaneSchedule schedule_lanes(const Program& program);

}  // namespace pajamas::cuda
