// Rewrites a model of bfloat16 (or float16) so that an implementation without kernels for it can show what it computes.
#pragma once

#include "graph/graph.h"

namespace pajamas {

/// Whether any initializer, tensor attribute, declared value or Cast of the graph, nested graphs included, has `dtype`.
bool contains_dtype(const Graph& graph, DType dtype);

/// The model with every bfloat16 and float16 value held as float32, and rounded to the narrow type wherever the model
/// would have stored it: weights keep their values (widening is exact), and each narrow result of an operator goes
/// through Cast(narrow) and Cast(float32). So each operator is computed in float32 from narrow inputs and its result is
/// rounded once, which is what a device with float32 accumulation does. What it does not show is a device's own order
/// of summation. Value names stay. Which values are narrow is worked out along the graph from inputs, initializers and
/// Casts; operators whose result type does not follow their first floating input (Cast, Shape, comparisons, ...) are
/// known by name. Throws Error{kUnsupported} for control flow and functions, naming the node.
Model widen_low_precision(const Model& model);

}  // namespace pajamas
