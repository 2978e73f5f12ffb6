// CUDA C++ for products in the plainest way, one thread an output element: what is left when no library takes a step
// (odd groups, types, strides), and a second opinion on those that one does. Correct first; nobody waits for it where a
// library has an answer. Plain data, knows no CUDA at build.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "targets/cuda/program.h"

namespace pajamas::cuda {

struct PlainSource {
  std::string source;
  std::string entry;
  std::vector<ValueId> arguments;  ///< Of the function, in order.
  std::uint32_t num_blocks = 1;
  std::uint32_t block_size = 1;
  std::uint32_t shared_bytes = 0;
};

/// For convolutions, matrix products and attention in float16, bfloat16, float32, float64, products in float8e4m3fn and
/// int8 too. Nothing for other steps; Error{kUnsupported} saying why for other types.
std::optional<PlainSource> make_plain_source(const Program& program, const Step& step);

/// Scale, bias, residual and activation of a convolution or matrix product whose sums another kernel left in scratch
/// memory: float32 (int32 of int8 factors), dense, in the order of y's axes, channels last for a convolution. The
/// function's first parameter is their address; `arguments` are those after it. Errors as above; nothing for other
/// steps.
std::optional<PlainSource> make_epilogue_source(const Program& program, const Step& step);

}  // namespace pajamas::cuda
