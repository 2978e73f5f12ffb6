// Which linear layers of a 4-bit bundle are stored in 8 bits, because their outputs suffer most for their size. Run
// between scale_by_activations and quantize_weights: it decides and changes nothing. Measured on SmolLM2 and Gemma 3,
// the divergence that layers cause adds up, and small ones (keys and values of few heads) cause as much as large ones.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/cancel.h"
#include "graph/passes/quantize_weights.h"
#include "graph/passes/scale_by_activations.h"

namespace pajamas {

struct FormChoice {
  /// What the chosen layers get in place of WeightQuantization::linear.
  QuantizedForm form = kInt8PerRow;
  /// What all of them may cost: bits a weight more than `linear`, averaged over all linear layers.
  double max_extra_bits = 0.5;
  /// Layers whose outputs have a smaller relative error stay: nothing is to be won there.
  double min_error = 0.01;
  /// Rows of a layer on which its outputs are compared. More only take longer.
  std::int64_t max_rows = 128;
  int num_threads = 0;  ///< 0: all the machine has.
};

/// For WeightQuantization::forms of the same options. Layers of one input and shape (key and value, gate and up) go
/// together, so that a target can still compute them in one step. Taken in the order of squared relative error of the
/// outputs won, by bits; those that would cost too much are passed over. Layers without samples stay. Nothing where
/// `options` ask for no form of 4 bits. Throws as output_error, Error{kCancelled}.
std::map<std::string, QuantizedForm> choose_forms(const Graph& graph, const CalibrationStats& stats,
                                                  const WeightQuantization& options, const FormChoice& choice = {},
                                                  const Progress& progress = {});

}  // namespace pajamas
