// Shape profiles of a model with dynamic inputs: GPU targets must know the smallest, the usual and the largest shape of
// each. Checked here because TensorRT accepts nonsense (a maximum of 2^40) and ignores names that it does not know.
#pragma once

#include <vector>

#include "engine/build_plan.h"
#include "graph/graph.h"

namespace pajamas {

/// Batch sizes of an input whose only open extent is the first, when the plan says nothing of it.
inline constexpr std::int64_t kDefaultMinBatch = 1;
inline constexpr std::int64_t kDefaultOptBatch = 1;
inline constexpr std::int64_t kDefaultMaxBatch = 8;

/// The profiles to build with: one for each input with open extents, in the order of the model's inputs. An input that
/// the plan does not name gets the default batch range if only its first extent is open. Throws Error{kUsage}, naming
/// input and axis, when a profile does not fit the model, does not rise from min to max, is larger than any GPU can
/// take (more than 2^31-1 elements), or is missing for an input with other open extents.
std::vector<ShapeProfile> resolve_profiles(const Model& model, const std::vector<ShapeProfile>& given);

}  // namespace pajamas
