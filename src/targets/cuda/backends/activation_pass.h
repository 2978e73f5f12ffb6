// The activation of a product as a pass over its result in place: what follows a library's product in 16 bits that
// cannot apply it itself. Half the memory traffic of sums in float32 and a second kernel that reads them, at the price
// of one more rounding. A result of 8-bit floats is made of 16 bits in scratch memory, with an activation or without.
// Plain data, knows no CUDA at build; epilogue_kernel.h runs it.
#pragma once

#include <optional>

#include "targets/cuda/backends/plain_source.h"

namespace pajamas::cuda {

/// For products and convolutions with kernel 1 whose 16-bit result is one matrix of whole 16-byte vectors and has an
/// activation, which nothing is added behind: the kernel that applies it to y, its only argument. Where y is
/// float8e4m3fn (from SM 8.9 on), the kernel that makes y of the same in 16 bits, of the bias's type or float16, dense:
/// their address comes before y's. Nothing for others. By fast_activation_source(): within a unit in the last place of
/// the result.
std::optional<PlainSource> make_activation_pass(const Program& program, const Step& step);

}  // namespace pajamas::cuda
