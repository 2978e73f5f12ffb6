// Formulas of activations as statements of CUDA C++, for the kernels that backends write themselves.
#pragma once

#include <string>

#include "targets/cuda/program.h"

namespace pajamas::cuda {

/// Statements that replace the variable `t` of the type `Number` (float or double) by the activation of it. They need
/// the function softplus(Number) of the text around them.
std::string activation_source(const Activation& activation);

/// The same for kernels whose result is rounded to 16 bits: exponentials and quotients of one instruction each, and a
/// GELU within one unit in the last place of float16. `Number` is float; needs power_of_two(float) and
/// reciprocal(float) too.
std::string fast_activation_source(const Activation& activation);

/// A float32 literal that reads back to the same bits.
std::string float_literal(float number);

}  // namespace pajamas::cuda
