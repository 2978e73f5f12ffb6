// From a DecoderConfig and weights to the Graph of docs/language.md. One builder for all families.
#pragma once

#include "graph/graph.h"
#include "models/language/decoder_config.h"
#include "models/weight_source.h"

namespace pajamas {

/// The model, with every weight as it is stored. Tensors of the checkpoint that have no place in it are logged as a
/// warning. Throws as GraphWeights.
Model build_decoder(const DecoderConfig& config, const WeightSource& source);

}  // namespace pajamas
