// A strided window of a buffer and how ONNX's view operators change it. Arithmetic of extents and strides only: whether
// a view is wanted is decided in storage.h.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "targets/cuda/lowering/graph_context.h"

namespace pajamas::cuda {

struct Window {
  std::vector<std::int64_t> extents;
  std::vector<std::int64_t> strides;  ///< In elements, one an axis.
  std::int64_t offset = 0;            ///< Of the first element, in elements from the buffer's start.
};

Window row_major_window(const std::vector<std::int64_t>& extents);
/// Channels-last for rank 3 and more, row-major below.
Window channels_last_window(const std::vector<std::int64_t>& extents);
/// Dense, the axes in the given order, outermost first.
Window ordered_window(const std::vector<std::int64_t>& extents, const std::vector<std::size_t>& order);

/// The same elements in the same row-major order under other extents; nothing where strides cannot say it.
std::optional<Window> reshape_window(const Window& window, const std::vector<std::int64_t>& extents);
/// Axis i of the result is axis order[i].
Window permute_window(const Window& window, const std::vector<std::size_t>& order);
/// `count` elements along an axis from `start` on, every `step`-th.
Window slice_window(Window window, std::size_t axis, std::int64_t start, std::int64_t count, std::int64_t step = 1);

/// Vectors of 16 bytes along the inner axis, which cuDNN and cuBLASLt ask of addresses and pitches, are possible.
bool is_vector_aligned(const Window& window, DType dtype);

/// Output `index` of a view operator as a window of its input's; nothing for another operator, one whose parameters are
/// no constants, or where strides cannot say it.
std::optional<Window> view_through(const GraphContext& graph, const Node& node, std::size_t index, const Window& input);
/// The window that the input of a one-to-one view operator (Reshape and kin, Transpose, Identity) must have for its
/// output to be `output`; nothing where there is none.
std::optional<Window> view_back(const GraphContext& graph, const Node& node, const Window& output);
/// Whether the operator is one of those of view_through.
bool is_view_type(const Node& node);

}  // namespace pajamas::cuda
