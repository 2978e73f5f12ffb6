// Matrix products with constant weights in 8-bit floats: QuantizeLinear and DequantizeLinear of float8e4m3fn around
// both factors, as ONNX describes quantised models. Targets fold the pairs into products of 8 bits; run as written the
// graph computes the same. Where the largest magnitudes come from is the caller's business (toolchain/calibrate.h).
//
// Every scale is a power of two, the least with which nothing saturates. A float loses nothing by that (its last place
// moves with the number; only what is 2^-13 of the largest and less becomes subnormal), the scales of both factors make
// one exact factor, a half holds it exactly, and layers of equal shapes have few different scales, so that they share a
// kernel. For the same reason weights have one scale and not one a channel: what that would gain is range alone.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "graph/passes/pass.h"

namespace pajamas {

struct ProductQuantization {
  std::vector<std::string> keep;  ///< Operator types or node names that are left alone.
  std::int64_t min_rows = 64;     ///< Products of fewer rows, where that is known, read weights and little else.
};

/// The largest magnitude that an activation takes, by the value's name.
using Magnitudes = std::map<std::string, float>;

/// Its name in reports.
inline constexpr const char* kFloat8PassName = "quantisation_to_float8";

/// The activations that quantize_products would quantise, in the order of their nodes: left factors of MatMul and Gemm
/// whose right factors are constant matrices of 16-bit or 32-bit floats, at least 64 by 64 and multiples of 16.
std::vector<std::string> quantizable_activations(const Model& model, const ProductQuantization& options = {});

/// The model with one float32 scalar a value for outputs, max |value|, and none of its own outputs.
Model with_largest_magnitudes(const Model& model, const std::vector<std::string>& values);

/// A quantised model as it was before, for measuring: what stands for an activation in 8-bit floats is the activation,
/// and weights are 16 or 32 bits again, of their extents and type but one for all of equal extents. Its numbers are
/// worth nothing. Nodes keep their names.
Model without_float8_pairs(const Model& model);

/// Quantises in place the products whose activations are in `magnitudes` with a finite number above 0. Others stay; of
/// those with another number there the report says how many. Raises the opset to 19. Throws Error{kUnsupported} for
/// opsets below 13.
PassReport quantize_products(Model& model, const Magnitudes& magnitudes, const ProductQuantization& options = {});

}  // namespace pajamas
