// The model that a bundle was built from, found and read again: what verification compares with.
#pragma once

#include <filesystem>
#include <optional>

#include "base/cancel.h"
#include "bundle/bundle.h"
#include "engine/build_plan.h"
#include "models/model_definition.h"

namespace pajamas {

/// Where the source is: `given`, or where the manifest says. Throws Error{kBadInput} when it is missing or is not the
/// one that the bundle was built from.
std::filesystem::path find_bundle_source(const Bundle& bundle, const std::optional<std::filesystem::path>& given);

/// The source, imported as the build did. Throws as import_model.
ImportedModel import_bundle_source(const Bundle& bundle, const std::filesystem::path& source, const BuildPlan& plan,
                                   const Progress& progress);

}  // namespace pajamas
