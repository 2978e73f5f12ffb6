// Checks and defaults of shape profiles. See shape_profiles.h.
#include "targets/shape_profiles.h"

#include <limits>
#include <map>

#include "pajamas/error.h"

namespace pajamas {
namespace {

constexpr std::int64_t kMaxElements = std::numeric_limits<std::int32_t>::max();

[[noreturn]] void refuse(const std::string& input, const std::string& why, const std::string& remedy) {
  throw Error(ErrorKind::kUsage, "shapes of input '" + input + "': " + why, "--shapes", remedy);
}

std::string declared_text(const ValueInfo& input) { return input.type ? input.type->to_string() : "no type"; }

bool fits_in_memory(const Shape& shape) {
  std::int64_t product = 1;
  for (const std::int64_t extent : shape) {
    if (extent != 0 && product > kMaxElements / extent) return false;
    product *= extent;
  }
  return true;
}

void check(const ValueInfo& input, const ShapeProfile& profile) {
  const std::string& name = input.name;
  const std::string remedy = "give it as " + name + ":MIN,OPT,MAX, for example " + name +
                             ":1x3x224x224,4x3x224x224,8x3x224x224; the model declares " + declared_text(input);
  const std::size_t rank = profile.opt.rank();
  if (profile.min.rank() != rank || profile.max.rank() != rank) {
    refuse(name, "the smallest, usual and largest differ in rank", remedy);
  }
  const auto* declared = input.type && input.type->shape ? &*input.type->shape : nullptr;
  if (declared != nullptr && declared->size() != rank) {
    refuse(name,
           "has " + std::to_string(rank) + " extents where the model declares " + std::to_string(declared->size()),
           remedy);
  }
  for (std::size_t axis = 0; axis < rank; ++axis) {
    const std::int64_t low = profile.min[axis];
    const std::int64_t usual = profile.opt[axis];
    const std::int64_t high = profile.max[axis];
    const std::string where = "axis " + std::to_string(axis);
    if (low < 1) refuse(name, where + " begins at " + std::to_string(low), "extents begin at 1");
    if (low > usual || usual > high) {
      refuse(
          name,
          where + " does not rise: " + std::to_string(low) + ", " + std::to_string(usual) + ", " + std::to_string(high),
          remedy);
    }
    if (declared != nullptr && (*declared)[axis].is_known()) {
      const std::int64_t fixed = (*declared)[axis].extent();
      if (low != fixed || high != fixed) {
        refuse(name, where + " is fixed to " + std::to_string(fixed) + " by the model", remedy);
      }
    }
  }
  if (!fits_in_memory(profile.max)) {
    refuse(name, "the largest shape " + profile.max.to_string() + " has more than 2^31-1 elements",
           "give the largest shape you will really run");
  }
}

bool has_open_extent(const ValueInfo& input) {
  if (!input.type || !input.type->shape) return true;
  for (const Dimension& dimension : *input.type->shape) {
    if (!dimension.is_known()) return true;
  }
  return false;
}

ShapeProfile default_profile(const ValueInfo& input) {
  const std::string remedy = "give its range with --shapes " + input.name + ":MIN,OPT,MAX";
  if (!input.type || !input.type->shape) {
    refuse(input.name, "the model does not even declare the rank, so a range is needed", remedy);
  }
  const auto& shape = *input.type->shape;
  ShapeProfile profile{input.name, {}, {}, {}};
  for (std::size_t axis = 0; axis < shape.size(); ++axis) {
    const bool is_known = shape[axis].is_known();
    if (!is_known && axis != 0) {
      refuse(input.name,
             "axis " + std::to_string(axis) + " is open in " + declared_text(input) + ", so a range is needed", remedy);
    }
    profile.min.push_back(is_known ? shape[axis].extent() : kDefaultMinBatch);
    profile.opt.push_back(is_known ? shape[axis].extent() : kDefaultOptBatch);
    profile.max.push_back(is_known ? shape[axis].extent() : kDefaultMaxBatch);
  }
  return profile;
}

/// Extents of one name are one number at run time, so their ranges must agree.
void check_names(const std::vector<const ValueInfo*>& inputs, const std::vector<ShapeProfile>& profiles) {
  struct Range {
    std::string input;
    std::int64_t low, usual, high;
  };
  std::map<std::string, Range> ranges;
  for (const ValueInfo* input : inputs) {
    if (!input->type || !input->type->shape) continue;
    for (const ShapeProfile& profile : profiles) {
      if (profile.input != input->name) continue;
      for (std::size_t axis = 0; axis < input->type->shape->size(); ++axis) {
        const auto* name = std::get_if<std::string>(&(*input->type->shape)[axis].value);
        if (name == nullptr || name->empty()) continue;
        const Range range{input->name, profile.min[axis], profile.opt[axis], profile.max[axis]};
        const auto [found, is_new] = ranges.emplace(*name, range);
        const Range& other = found->second;
        if (!is_new && (other.low != range.low || other.usual != range.usual || other.high != range.high)) {
          refuse(input->name, "extent '" + *name + "' has another range than in input '" + other.input + "'",
                 "give the same range to every '" + *name + "'");
        }
      }
    }
  }
}

}  // namespace

std::vector<ShapeProfile> resolve_profiles(const Model& model, const std::vector<ShapeProfile>& given) {
  const std::vector<const ValueInfo*> inputs = model.graph.required_inputs();
  std::map<std::string, const ShapeProfile*> by_name;
  for (const ShapeProfile& profile : given) {
    if (!by_name.emplace(profile.input, &profile).second) {
      refuse(profile.input, "are given twice", "give one range for each input");
    }
    bool is_input = false;
    std::string known;
    for (const ValueInfo* input : inputs) {
      is_input = is_input || input->name == profile.input;
      known += (known.empty() ? "" : ", ") + input->name;
    }
    if (!is_input) {
      throw Error(ErrorKind::kUsage, "the model has no input '" + profile.input + "'", "--shapes",
                  "its inputs are: " + known);
    }
  }
  std::vector<ShapeProfile> result;
  for (const ValueInfo* input : inputs) {
    const auto found = by_name.find(input->name);
    if (found != by_name.end()) check(*input, *found->second);
    if (!has_open_extent(*input)) continue;
    result.push_back(found != by_name.end() ? *found->second : default_profile(*input));
  }
  check_names(inputs, result);
  return result;
}

}  // namespace pajamas
