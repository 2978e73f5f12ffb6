// The plan that a bundle and each of its parts were built under, read from the manifest. What a plan is: build_plan.h.
#pragma once

#include "bundle/bundle.h"
#include "engine/build_plan.h"

namespace pajamas {

/// The plan of a part that stays in float32 (ManifestPart::is_float32) within a bundle of this plan.
BuildPlan in_float32(BuildPlan plan);

/// The plan of the bundle. Throws Error{kBadInput} naming the manifest and the JSON path.
BuildPlan plan_of(const Bundle& bundle);
/// The plan of one of its parts. Throws likewise.
BuildPlan plan_of(const Bundle& bundle, const ManifestPart& part);

}  // namespace pajamas
