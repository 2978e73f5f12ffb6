// The rows that a voice's splines select by NonZero, GatherND and ScatterND, computed for all rows instead: how many
// are selected depends on values, and few targets make tensors of such a size.
#pragma once

#include "graph/graph.h"

namespace pajamas {

/// Replaces GatherND over the places of a mask by all rows, zero where the mask is false, and ScatterND of them by
/// Where. Equal to the original bit by bit, provided that what lies between works on each row alone (elementwise, or
/// along axes behind the first) and takes rows of zeros: those it makes of them are dropped. Where any use of a mask's
/// places is another one, or a shape is not known, the graph stays as it is. Gives the number of masks replaced.
int compute_all_rows(Model& model);

}  // namespace pajamas
