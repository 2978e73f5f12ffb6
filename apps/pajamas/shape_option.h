// The text form of shapes on the command line: "images:1x3x640x640" or "images:MIN,OPT,MAX".
#pragma once

#include <string>

#include "engine/build_plan.h"

namespace pajamas::cli {

/// Parses one --shapes value; a single shape stands for min, opt and max. Throws Error{kUsage} saying what is wrong.
ShapeProfile parse_shape_option(const std::string& text);

}  // namespace pajamas::cli
