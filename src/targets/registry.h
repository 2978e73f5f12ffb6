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

/// What a target lacks, beside what Target::supports says of one graph: the form that graphs of model definitions get
/// for it.
struct TargetTraits {
  bool has_paged_attention = false;  ///< Runs pajamas.PagedAttention over a cache of its own.
  bool needs_shapes = false;         ///< Must know the range of every open extent when it compiles.
};
TargetTraits traits_of(const Target& target);

}  // namespace pajamas
