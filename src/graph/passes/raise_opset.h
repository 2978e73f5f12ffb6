// A model under a later version of ONNX's operators, with the same meaning: what quantisation to 8-bit floats needs
// (opset 19). Not a general converter: from opset 13 up to 19 only.
#pragma once

#include <cstdint>

#include "graph/passes/pass.h"

namespace pajamas {

inline constexpr std::int64_t kLeastRaisedOpset = 13;
inline constexpr std::int64_t kMostRaisedOpset = 19;

/// Raises the default domain to `opset`; nothing for models that have it already. Throws Error{kUnsupported} for models
/// below kLeastRaisedOpset, Error{kInternal} for an `opset` above kMostRaisedOpset.
PassReport raise_opset(Model& model, std::int64_t opset);

/// QuantizeLinear and DequantizeLinear have scales of 16 bits from opset 19 on; converted to 16 bits before it, they
/// keep float32 between Casts, through which no product finds its integers. Raises models that have them and are older;
/// nothing for others, and for those below kLeastRaisedOpset.
PassReport raise_for_half_quantization(Model& model);

}  // namespace pajamas
