// The targets of this build. An explicit table: one line a target, in registry.cpp.
#pragma once

#include <string_view>
#include <vector>

#include "engine/target.h"

namespace pajamas {

/// All targets this program was built with.
const std::vector<const Target*>& targets();

/// The target of that name. Throws Error{kUsage} for an unknown name, listing the known ones.
const Target& find_target(std::string_view name);

}  // namespace pajamas
