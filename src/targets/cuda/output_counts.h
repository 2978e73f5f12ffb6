// Outputs whose extents the data decide, cut from the bounds that a program computes them at to what its counts say.
// Host memory only; where the counts come from is program.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "targets/cuda/program.h"

namespace pajamas::cuda {

/// Number of the model's outputs: without the counts.
std::size_t num_model_outputs(const Program& program);

/// The real extents of an output. Throws Error{kInternal} naming it for a count that is negative or past its bound.
Shape real_shape(const Program& program, std::size_t output, std::span<const std::int64_t> counts);

/// Moves the leading `real` part of a dense tensor of extents `bound` together, in place.
void compact(std::byte* data, const Shape& bound, const Shape& real, std::size_t element_bytes);

}  // namespace pajamas::cuda
