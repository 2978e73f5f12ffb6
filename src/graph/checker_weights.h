// The part of the model check that compares operators with the shapes of their weights. Internal to graph/checker.cpp.
#pragma once

#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "graph/graph.h"

namespace pajamas {

/// Extents known without inference, -1 for an unknown one; nothing when not even the rank is known.
using KnownShape = std::optional<std::vector<std::int64_t>>;

/// Checks Conv, ConvTranspose, Gemm, MatMul and BatchNormalization of the default domain; other nodes pass. Throws
/// Error{kBadInput} naming the node and both shapes.
void check_weight_shapes(const Node& node, const std::function<KnownShape(std::string_view)>& shape_of);

}  // namespace pajamas
