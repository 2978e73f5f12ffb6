// A mixture of experts in ONNX operators: router, sparse feed-forward networks, and the sum of what they say.
#pragma once

#include "graph/graph_builder.h"
#include "models/graph_weights.h"
#include "models/language/decoder_config.h"

namespace pajamas {

/// x [num_tokens, hidden_dim] through the experts below the open scope ("gate.weight", "experts.N.gate_proj.weight",
/// ...): [num_tokens, hidden_dim]. Each expert computes its own tokens only; none is fine.
GraphValue build_experts(GraphBuilder& graph, GraphWeights& weights, const ExpertsConfig& config,
                         ActivationFunction function, std::int64_t hidden_dim, const GraphValue& x);

}  // namespace pajamas
