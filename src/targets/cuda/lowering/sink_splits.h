// Splits of what a Concat along another axis has put together, moved in front of it: the head of a detector joins boxes
// and classes of each level, then the levels, and splits boxes from classes again. Without the detour each half is a
// loop of its own over what it needs, and can join what follows.
#pragma once

#include "graph/graph.h"
#include "targets/cuda/constant_pool.h"

namespace pajamas::cuda {

/// The model with such Splits gone, or as it was. Only where every value on the way has no other use.
Model with_sunk_splits(const Model& model, const ConstantTable& constants);

}  // namespace pajamas::cuda
