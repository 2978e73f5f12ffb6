// Strides, dilations and pads of convolutions and pooling, resolved for one input. Internal to the interpreter.
#pragma once

#include <cstdint>
#include <vector>

#include "graph/interpreter/support.h"

namespace pajamas::interpreter {

/// A window of `kernel` sliding over the spatial axes of an input; all lists have one entry a spatial axis.
struct Window {
  std::vector<std::int64_t> kernel;
  std::vector<std::int64_t> strides;
  std::vector<std::int64_t> dilations;
  std::vector<std::int64_t> pads_before;
  std::vector<std::int64_t> pads_after;
  std::vector<std::int64_t> input;
  std::vector<std::int64_t> output;

  std::size_t rank() const { return kernel.size(); }
  std::int64_t kernel_size() const;
  std::int64_t input_size() const;
  std::int64_t output_size() const;
};

/// Reads the attributes and computes the extents of the result. `shape` is [batch, channels, spatial...].
/// Throws as Call::fail.
Window make_window(const Call& call, const Shape& shape, std::vector<std::int64_t> kernel, bool is_ceil);

/// For each window position of a flat output index the flat input index, or -1 in the padding: calls
/// `visit(kernel index, input index)`.
template <typename Visit>
void visit_window(const Window& window, std::int64_t output_index, const Visit& visit) {
  const std::size_t rank = window.rank();
  std::int64_t origin[8];
  for (std::size_t axis = rank; axis-- > 0;) {
    origin[axis] = output_index % window.output[axis] * window.strides[axis] - window.pads_before[axis];
    output_index /= window.output[axis];
  }
  const std::int64_t count = window.kernel_size();
  std::int64_t position[8] = {};
  for (std::int64_t k = 0; k < count; ++k) {
    std::int64_t at = 0;
    bool is_inside = true;
    for (std::size_t axis = 0; axis < rank; ++axis) {
      const std::int64_t where = origin[axis] + position[axis] * window.dilations[axis];
      is_inside = is_inside && where >= 0 && where < window.input[axis];
      at = at * window.input[axis] + where;
    }
    visit(k, is_inside ? at : -1);
    for (std::size_t axis = rank; axis-- > 0;) {
      if (++position[axis] < window.kernel[axis]) break;
      position[axis] = 0;
    }
  }
}

}  // namespace pajamas::interpreter
