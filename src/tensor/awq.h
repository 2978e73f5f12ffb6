// Activation-aware scaling of weights (AWQ, arXiv 2306.00978): input channels that carry large activations get larger
// weights before quantisation, so that their relative error shrinks, and the layer before them is divided by the same
// factors. This is the search for the factors; graph/passes/scale_by_activations.h applies them to a model. The paper's
// second step, clipping, is the search of ranges in tensor/quantize.h with the mean squares given as importance.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/cancel.h"
#include "pajamas/tensor.h"
#include "tensor/quantize.h"

namespace pajamas {

/// One linear layer of those that share an input.
struct AwqLinear {
  std::int64_t out_dim = 0;
  RowReader read;  ///< Rows of [out_dim, in_dim].
};

struct AwqOptions {
  QuantizedForm form = kInt4PerGroup;
  /// Strengths that are tried, evenly from 0 (no scaling) to 1; the paper's 20.
  int num_strengths = 20;
  /// Rows on which outputs are compared, of all layers together: evenly spread. More only take longer.
  std::int64_t max_rows = 512;
  int num_threads = 0;  ///< 0: all the machine has.
};

struct AwqScales {
  /// Factor of each input channel, around 1. Empty: no strength was better than none.
  std::vector<float> factors;
  double strength = 0;  ///< The exponent that was chosen, 0..1.
  double error_before = 0;  ///< Relative error of the outputs without factors: ‖Δy‖ / ‖y‖. Ranges mind the activations.
  double error_after = 0;  ///< The same with the factors.
};

/// Mean square of each column of `activations`, float32 [num_samples, in_dim].
std::vector<float> mean_squares(const Tensor& activations);

/// Tries factors mean|x_c|^strength (normalised so that the largest times the smallest is 1) and keeps those with the
/// least squared error of the outputs of all `linears` on `activations`, float32 [num_samples, in_dim] with at least
/// one sample. The result does not depend on the number of threads. Throws Error{kBadInput} for activations that are
/// not finite or not of that shape, what quantize_rows throws, Error{kCancelled}.
AwqScales search_awq_scales(std::span<const AwqLinear> linears, const Tensor& activations, const AwqOptions& options,
                            const Progress& progress = {});

/// Relative error ‖Δy‖ / ‖y‖ of one layer's outputs on `activations` when its weights are stored in `form` (groups that
/// do not divide a row are halved), measured on up to `max_rows` rows; 0 where the outputs are. Ranges mind
/// `importance`, as in quantize_rows. Throws as search_awq_scales.
double output_error(const AwqLinear& linear, const Tensor& activations, const QuantizedForm& form,
                    std::span<const float> importance, std::int64_t max_rows);

}  // namespace pajamas
