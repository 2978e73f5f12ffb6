// The order of a program's steps and the parallel branches they run in.
#pragma once

#include <cstdint>

#include "targets/cuda/program.h"

namespace pajamas::cuda {

/// Reorders the steps (depends_on must be set, by index in the present order, and is renumbered) and gives each its
/// lane: the longest chain of dependent work first, a step behind what it waits for, parallel work in other lanes.
void schedule_steps(Program& program, std::int32_t max_lanes);

}  // namespace pajamas::cuda
