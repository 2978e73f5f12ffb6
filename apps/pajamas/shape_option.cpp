// Parsing of --shapes. See shape_option.h.
#include "shape_option.h"

#include <charconv>
#include <vector>

#include "pajamas/error.h"

namespace pajamas::cli {
namespace {

[[noreturn]] void refuse(const std::string& text, const std::string& why) {
  throw Error(ErrorKind::kUsage, "cannot read '" + text + "': " + why, "--shapes",
              "write NAME:1x3x640x640, or NAME:MIN,OPT,MAX with three such shapes");
}

Shape parse_shape(const std::string& part, const std::string& text) {
  Shape shape;
  const char* position = part.data();
  const char* const end = part.data() + part.size();
  while (true) {
    std::int64_t extent = 0;
    const auto [next, error] = std::from_chars(position, end, extent);
    if (error != std::errc{} || extent < 1) refuse(text, "'" + part + "' is not a shape of positive extents");
    shape.push_back(extent);
    if (next == end) return shape;
    if (*next != 'x' && *next != 'X') refuse(text, "extents are separated by 'x'");
    position = next + 1;
  }
}

}  // namespace

ShapeProfile parse_shape_option(const std::string& text) {
  const auto colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0) refuse(text, "it names no input");
  std::vector<Shape> shapes;
  std::string part;
  for (const char c : text.substr(colon + 1) + ",") {
    if (c != ',') {
      part += c;
      continue;
    }
    shapes.push_back(parse_shape(part, text));
    part.clear();
  }
  if (shapes.size() != 1 && shapes.size() != 3) refuse(text, "it has neither one shape nor three");
  ShapeProfile profile{text.substr(0, colon), shapes.front(), shapes[shapes.size() / 2], shapes.back()};
  for (std::size_t axis = 0; axis < profile.opt.rank(); ++axis) {
    if (profile.min.rank() != profile.opt.rank() || profile.max.rank() != profile.opt.rank()) {
      refuse(text, "the three shapes have different numbers of extents");
    }
    if (profile.min[axis] > profile.opt[axis] || profile.opt[axis] > profile.max[axis]) {
      refuse(text, "MIN, OPT and MAX do not rise on axis " + std::to_string(axis));
    }
  }
  return profile;
}

}  // namespace pajamas::cli
