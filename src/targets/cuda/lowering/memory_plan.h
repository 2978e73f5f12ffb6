// Where each activation lies in the one arena of a session.
#pragma once

#include "targets/cuda/program.h"

namespace pajamas::cuda {

/// Gives every kArena buffer its offset and sets arena_bytes. Two buffers share bytes only when every user of the one
/// is an ancestor (through Step::depends_on and the order within a lane) of every user of the other, so that parallel
/// branches never tread on each other. `workspace_bytes`: scratch memory of each step, empty when none is known yet;
/// the offsets come back in `workspace_offsets`.
struct MemoryPlan {
  std::vector<std::size_t> workspace_offsets;  ///< One a step; meaningless where it needs none.
};
MemoryPlan plan_memory(Program& program, const std::vector<std::size_t>& workspace_bytes = {});

}  // namespace pajamas::cuda
