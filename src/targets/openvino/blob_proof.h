// Proof that OpenVINO's export of a compiled model computes what the compiled model computes. Needed because some
// operators that its passes fuse do not survive the export: RotaryEmbedding comes back wrong, without an error.
#pragma once

#include <openvino/runtime/compiled_model.hpp>
#include <string>

#include "engine/build_plan.h"

namespace pajamas::openvino {

/// Runs both on the same seeded inputs (extents from `plan`'s opt shapes; for open extents some usual sizes are tried)
/// and compares all outputs. Gives an empty text when they agree, else what differs, or why nothing could be compared.
std::string difference_of(ov::CompiledModel& compiled, ov::CompiledModel& imported, const BuildPlan& plan);

}  // namespace pajamas::openvino
