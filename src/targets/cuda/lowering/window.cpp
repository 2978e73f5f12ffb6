// See window.h.
#include "targets/cuda/lowering/window.h"

#include <algorithm>
#include <numeric>

namespace pajamas::cuda {

namespace {

using Extents = std::vector<std::int64_t>;

std::vector<std::size_t> in_order(std::size_t rank) {
  std::vector<std::size_t> order(rank);
  std::iota(order.begin(), order.end(), std::size_t{0});
  return order;
}

std::int64_t axis_in(std::int64_t axis, std::size_t rank) {
  return axis < 0 ? axis + static_cast<std::int64_t>(rank) : axis;
}

bool is_reshape_type(const Node& node) {
  return node.is("Reshape") || node.is("Flatten") || node.is("Squeeze") || node.is("Unsqueeze") || node.is("Identity");
}

std::vector<std::size_t> order_of(const Node& node, std::size_t rank) {
  auto order = in_order(rank);
  const auto perm = node.ints_attribute("perm");
  if (perm.empty()) {
    std::reverse(order.begin(), order.end());
  } else {
    for (std::size_t i = 0; i < rank; ++i) order[i] = static_cast<std::size_t>(perm[i]);
  }
  return order;
}

/// An integer list from an input (of newer opsets) or the attribute of the same meaning.
std::optional<Extents> parameter(const GraphContext& graph, const Node& node, std::size_t input, const char* name) {
  if (node.inputs.size() > input && !node.inputs[input].empty()) return graph.integers(node.inputs[input]);
  if (node.find_attribute(name) != nullptr) return node.ints_attribute(name);
  return Extents{};
}

std::optional<Window> slice_through(const GraphContext& graph, const Node& node, Window window) {
  const std::size_t rank = window.extents.size();
  const auto starts = parameter(graph, node, 1, "starts");
  auto axes = parameter(graph, node, 3, "axes");
  auto steps = parameter(graph, node, 4, "steps");
  if (!starts || !axes || !steps || starts->empty()) return {};
  if (axes->empty()) {
    axes.emplace();
    for (std::size_t i = 0; i < starts->size(); ++i) axes->push_back(static_cast<std::int64_t>(i));
  }
  if (steps->empty()) steps.emplace(starts->size(), 1);
  const Extents out = graph.extents_of(node.outputs[0]);
  for (std::size_t i = 0; i < starts->size(); ++i) {
    if ((*steps)[i] < 1) return {};
    const auto axis = static_cast<std::size_t>(axis_in((*axes)[i], rank));
    std::int64_t start = (*starts)[i];
    if (start < 0) start += window.extents[axis];
    start = std::clamp<std::int64_t>(start, 0, window.extents[axis]);
    window = slice_window(std::move(window), axis, start, out[axis], (*steps)[i]);
  }
  return window;
}

}  // namespace

Window ordered_window(const Extents& extents, const std::vector<std::size_t>& order) {
  Window window{extents, Extents(extents.size(), 1), 0};
  std::int64_t stride = 1;
  for (std::size_t i = order.size(); i-- > 0;) {
    window.strides[order[i]] = stride;
    stride *= std::max<std::int64_t>(extents[order[i]], 1);
  }
  return window;
}

Window row_major_window(const Extents& extents) { return ordered_window(extents, in_order(extents.size())); }

Window channels_last_window(const Extents& extents) {
  auto order = in_order(extents.size());
  if (order.size() >= 3) {
    order.erase(order.begin() + 1);
    order.push_back(1);
  }
  return ordered_window(extents, order);
}

std::optional<Window> reshape_window(const Window& window, const Extents& extents) {
  Window result{extents, Extents(extents.size(), 1), window.offset};
  const auto multiply = [](const Extents& list) {
    return std::accumulate(list.begin(), list.end(), std::int64_t{1}, std::multiplies<>());
  };
  if (multiply(extents) == 0) return row_major_window(extents);
  // Axes of extent 1 have no stride of their own.
  Extents old_extents;
  Extents old_strides;
  for (std::size_t i = 0; i < window.extents.size(); ++i) {
    if (window.extents[i] == 1) continue;
    old_extents.push_back(window.extents[i]);
    old_strides.push_back(window.strides[i]);
  }
  // From the innermost axis outwards: take old axes until they hold the new one, or the other way round. A run of old
  // axes that meets several new ones must be one stretch of memory.
  std::size_t old_axis = old_extents.size();
  std::size_t new_axis = extents.size();
  while (new_axis > 0) {
    if (extents[new_axis - 1] == 1) {
      result.strides[new_axis - 1] = new_axis < extents.size() ? result.strides[new_axis] * extents[new_axis] : 1;
      --new_axis;
      continue;
    }
    if (old_axis == 0) return {};
    const std::int64_t step = old_strides[old_axis - 1];
    std::int64_t held = old_extents[--old_axis];
    std::int64_t wanted = extents[new_axis - 1];
    std::size_t first_new = new_axis - 1;
    while (held != wanted) {
      if (held < wanted) {
        if (old_axis == 0 || old_strides[old_axis - 1] != step * held) return {};
        held *= old_extents[--old_axis];
      } else {
        if (first_new == 0) return {};
        wanted *= extents[--first_new];
      }
    }
    std::int64_t stride = step;
    for (; new_axis > first_new; --new_axis) {
      result.strides[new_axis - 1] = stride;
      stride *= extents[new_axis - 1];
    }
  }
  return result;
}

Window permute_window(const Window& window, const std::vector<std::size_t>& order) {
  Window result;
  result.offset = window.offset;
  for (const std::size_t axis : order) {
    result.extents.push_back(window.extents[axis]);
    result.strides.push_back(window.strides[axis]);
  }
  return result;
}

Window slice_window(Window window, std::size_t axis, std::int64_t start, std::int64_t count, std::int64_t step) {
  if (count > 0) window.offset += start * window.strides[axis];
  window.extents[axis] = count;
  window.strides[axis] *= step;
  return window;
}

bool is_vector_aligned(const Window& window, DType dtype) {
  const std::int64_t quantum = std::max<std::int64_t>(128 / std::max(bits_of(dtype), 1), 1);
  if (window.offset % quantum != 0) return false;
  for (std::size_t i = 0; i < window.extents.size(); ++i) {
    if (window.extents[i] > 1 && window.strides[i] > 1 && window.strides[i] % quantum != 0) return false;
  }
  return true;
}

bool is_view_type(const Node& node) {
  return is_reshape_type(node) || node.is("Transpose") || node.is("Split") || node.is("Slice") || node.is("Gather") ||
         node.is("Expand");
}

std::optional<Window> view_through(const GraphContext& graph, const Node& node, std::size_t index,
                                   const Window& input) {
  if (!is_view_type(node) || index >= node.outputs.size() || node.outputs[index].empty()) return {};
  const std::size_t rank = input.extents.size();
  const Extents out = graph.extents_of(node.outputs[index]);
  if (is_reshape_type(node)) return reshape_window(input, out);
  if (node.is("Transpose")) return permute_window(input, order_of(node, rank));
  if (node.is("Slice")) return slice_through(graph, node, input);
  if (node.is("Split")) {
    const auto axis = static_cast<std::size_t>(axis_in(node.int_attribute("axis", 0), rank));
    std::int64_t start = 0;
    for (std::size_t i = 0; i < index; ++i) {
      if (node.outputs[i].empty()) return {};
      start += graph.extents_of(node.outputs[i])[axis];
    }
    return slice_window(input, axis, start, out[axis]);
  }
  if (node.is("Gather")) {
    const auto indices = graph.integers(node.inputs[1]);
    if (!indices || indices->size() != 1) return {};
    const auto axis = static_cast<std::size_t>(axis_in(node.int_attribute("axis", 0), rank));
    const std::int64_t extent = input.extents[axis];
    std::int64_t at = (*indices)[0];
    if (at < 0) at += extent;
    if (at < 0 || at >= extent) return {};
    return reshape_window(slice_window(input, axis, at, 1), out);
  }
  // Expand: axes that grow repeat.
  Window window{out, Extents(out.size(), 0), input.offset};
  if (rank > out.size()) return {};
  for (std::size_t i = 0; i < rank; ++i) {
    const std::size_t axis = out.size() - rank + i;
    if (input.extents[i] == out[axis]) window.strides[axis] = input.strides[i];
  }
  return window;
}

std::optional<Window> view_back(const GraphContext& graph, const Node& node, const Window& output) {
  if (is_reshape_type(node)) return reshape_window(output, graph.extents_of(node.inputs[0]));
  if (!node.is("Transpose")) return {};
  const auto order = order_of(node, output.extents.size());
  std::vector<std::size_t> back(order.size());
  for (std::size_t i = 0; i < order.size(); ++i) back[order[i]] = i;
  return permute_window(output, back);
}

}  // namespace pajamas::cuda
