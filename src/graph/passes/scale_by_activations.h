// Activation-aware scaling of a language model's linear layers (AWQ), before quantize_weights. The search is
// tensor/awq.h's; here is where in a graph factors can be taken in without a change of what it computes:
//
//   RMSNormalization ── linear layers:  the norm's weight is divided, the layers' columns are multiplied
//   a ⊙ Gemm(x, W_up) ── one layer:     rows of W_up are divided (the gated feed-forward), columns multiplied
//
// Other layers (behind attention) get ranges that mind their activations, and no factors.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/cancel.h"
#include "graph/passes/pass.h"
#include "graph/passes/quantize_weights.h"
#include "tensor/awq.h"

namespace pajamas {

/// What goes into linear layers when the model reads real text: a sample of it.
struct CalibrationStats {
  /// By the name of the weight's initializer: float32 [num_samples, in_dim], the rows of the layer's input. 64 to 256
  /// samples from different places of a text are enough; layers of one input may share one Tensor.
  std::map<std::string, Tensor> inputs;
};

/// One group of layers that share factors.
struct ScaledGroup {
  std::vector<std::string> weights;
  double strength = 0;  ///< 0: no factors were better than some.
  double error_before = 0, error_after = 0;
};

struct ActivationScaling {
  PassReport pass;
  std::vector<ScaledGroup> groups;
  /// For WeightQuantization::scalings of the same options, and the graph as it is now.
  std::map<std::string, WeightScaling> scalings;
};

/// Searches factors for the layers that quantize_weights will change with `options`, and divides the norms' weights in
/// place; the layers' own weights are multiplied as they are quantised, so the graph is only right again after that.
/// The form is that of `options`, whatever `awq` says. Layers without samples are left out. Throws Error{kBadInput}
/// naming a weight whose samples do not fit, what search_awq_scales throws, Error{kCancelled}.
ActivationScaling scale_by_activations(Model& model, const CalibrationStats& stats, const WeightQuantization& options,
                                       const AwqOptions& awq = {}, const Progress& progress = {});

/// The inputs of the linear layers that samples are wanted of: (name of the weight's initializer, name of the value
/// that goes into its Gemm). Whoever runs the graph makes these values outputs.
std::vector<std::pair<std::string, std::string>> calibration_inputs(const Graph& graph,
                                                                    const WeightQuantization& options);

}  // namespace pajamas
