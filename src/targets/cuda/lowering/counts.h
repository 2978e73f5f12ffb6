// Extents that the data decide (NonZero, NonMaxSuppression, Compress, a TopK or Slice of what they give), as docs/
// targets-cuda.md describes: the graph is rewritten into one of known extents, in which such an axis has the length of
// its bound and a count says how many of its rows are real. Standard operators only, so whatever lowers a graph of
// known extents, or interprets one, takes it; the runtime only cuts the outputs to what the counts say.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "targets/cuda/constant_pool.h"
#include "targets/cuda/program.h"

namespace pajamas::cuda {

struct BoundedModel {
  /// One output more than the original: int64 [number of counts].
  Model model;
  std::vector<OutputCount> output_counts;
};

/// Nothing for a model without such extents. Rows past a count hold numbers without a meaning, made of indices that are
/// clamped; whatever mixes rows is given the neutral element in their place. `If` becomes both of its branches and a
/// choice. Throws Error{kUnsupported} naming the node that cannot be computed so.
std::optional<BoundedModel> bound_counts(const Model& model, const ConstantTable& constants);

}  // namespace pajamas::cuda
