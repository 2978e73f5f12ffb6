// Recurrent operators written out step by step: the products of all inputs at once, then for each step one product with
// the state and the gates, which become one loop. For sequences of known length.
#pragma once

#include "targets/cuda/lowering/counted_graph.h"

namespace pajamas::cuda {

bool is_recurrent(const Node& node);

/// Pushes what computes an LSTM, GRU or RNN of known extents. Throws Error{kUnsupported} naming what of it cannot be.
void expand_recurrent(CountedGraph& graph, const Node& node);

}  // namespace pajamas::cuda
