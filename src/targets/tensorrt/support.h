// What TensorRT for RTX can build, checked on the graph before the library sees it: operators that never build, element
// types it does not take or would silently change, and which SM can compute which type. Measured on version 1.7
// (docs/targets-tensorrt.md). Not complete, and need not be: what passes here may still be refused by the library.
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>

#include "engine/target.h"
#include "graph/graph.h"

namespace pajamas::tensorrt {

/// Whether the graph can be built for `sms` (75, 86, ...; empty: any one SM).
Support check_support(const Model& model, std::span<const int> sms);

/// Element types of the values of a graph as far as they follow from inputs, initializers and declared values without
/// evaluating anything. `outer`: those of the enclosing graph.
using ValueDTypes = std::map<std::string, DType, std::less<>>;
ValueDTypes propagate_dtypes(const Graph& graph, const ValueDTypes& outer = {});

}  // namespace pajamas::tensorrt
