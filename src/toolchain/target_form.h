// The form of an imported part for one target: with a dense cache where the target has no paged attention, and with the
// range of every open extent where it must know them. What a target can be given at all is Target::supports's to say.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/build_plan.h"
#include "engine/target.h"
#include "graph/graph.h"
#include "models/model_definition.h"

namespace pajamas {

/// Tokens of the dense cache (graph/passes/dense_cache.h) that decoders of the model get on targets without paged
/// attention; 0: its task runs with a paged cache only.
std::int64_t dense_cache_tokens(const ImportedModel& imported);

/// `stored` (a part's model, whatever was done to its weights) as the target is to get it. Unchanged where the target
/// has paged attention, and where the part has none or does not run without it.
Model target_form(const Target& target, Model stored, const ImportedModel& imported);

/// The profiles to build `form` of `part` with. A profile of the plan names an input, or, with one extent, a named
/// extent of inputs. For targets that must know shapes: the plan's, then the part's own for inputs, then ranges of
/// extents, the plan's before those that the graphs of our own model definitions have (docs/audio.md); an input with an
/// extent that none of them names has no profile. For others the plan's, or where it has none the part's own. Throws
/// Error{kUsage} for a range of an extent that does not rise from 1 on.
std::vector<ShapeProfile> target_profiles(const Target& target, const Model& form, const ImportedPart& part,
                                          const ImportedModel& imported, const BuildPlan& plan);

/// Throws Error{kUsage} for a profile of the plan whose name no part of a model of several parts has.
void check_profile_names(const Target& target, const ImportedModel& imported, const BuildPlan& plan);

}  // namespace pajamas
