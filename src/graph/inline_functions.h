// Replaces calls of a model's own functions by their bodies, for everything after it that knows operators only.
#pragma once

#include "graph/graph.h"

namespace pajamas {

/// Replaces every call of a model-local function, in nested graphs and in functions too, and removes the functions.
/// Values and nodes of a body get new names, starting with the name of the calling node. Computes the same as before.
/// The model must have passed check_model, which bounds the size of the result. Throws Error{kUnsupported} when a
/// function uses an operator in another version than the model's opset selects, Error{kBadInput} for a recursion.
/// Strong guarantee: the model is unchanged when it throws.
void inline_functions(Model& model);

}  // namespace pajamas
