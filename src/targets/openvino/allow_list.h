// Which operators, and which of their attributes, may be given to OpenVINO: those that the conformance run has shown to
// be computed as ONNX defines them. Everything else is refused with the node's name and the reason, above all what
// OpenVINO would compute silently wrong. docs/conformance.md holds the counts.
#pragma once

#include "engine/target.h"
#include "graph/graph.h"

namespace pajamas::openvino {

/// Whether every node of the model, nested graphs included, is on the list; if not, the first that is not. The graph
/// must have passed check_model.
Support check_operators(const Model& model);

}  // namespace pajamas::openvino
