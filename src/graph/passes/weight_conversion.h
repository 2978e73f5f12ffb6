// float32 tensors as float16 or bfloat16, with a count of what is lost. Part of the precision conversion.
#pragma once

#include "graph/passes/passes.h"

namespace pajamas {

/// Rounds to nearest even. Finite values that would become infinite become the largest finite one and are counted;
/// infinities and NaN stay. `tensor` must be float32, `dtype` kFloat16 or kBfloat16. `losses` gets the counts (its name
/// is left alone).
Tensor convert_weight(const Tensor& tensor, DType dtype, WeightConversion& losses);

}  // namespace pajamas
