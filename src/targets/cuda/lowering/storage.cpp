// See storage.h.
#include "targets/cuda/lowering/storage.h"

#include <algorithm>
#include <numeric>

#include "pajamas/error.h"

namespace pajamas::cuda {

namespace {

std::int64_t count_of(const std::vector<std::int64_t>& extents) {
  return std::accumulate(extents.begin(), extents.end(), std::int64_t{1}, std::multiplies<>());
}

TensorDesc desc_of(const Window& window) { return {DType::kFloat32, Shape(window.extents), window.strides}; }

/// Whether vector accesses of 16 bytes along the innermost axis stay possible in a window.
bool is_aligned(const Window& window, DType dtype) {
  const std::int64_t quantum = std::max<std::int64_t>(128 / std::max(bits_of(dtype), 1), 1);
  if (window.offset % quantum != 0) return false;
  for (std::size_t i = 0; i < window.strides.size(); ++i) {
    if (window.extents[i] > 1 && window.strides[i] != 1 && window.strides[i] % quantum != 0) return false;
  }
  return true;
}

bool is_dense(const Window& window) {
  std::int64_t reach = 1;
  for (std::size_t i = 0; i < window.extents.size(); ++i) reach += (window.extents[i] - 1) * window.strides[i];
  return window.offset == 0 && reach == count_of(window.extents);
}

}  // namespace

StorageMap::StorageMap(const GraphContext& graph, const std::vector<Product>& products, const LoweringOptions& options,
                       std::vector<Role>& roles)
    : graph_(graph), options_(options), roles_(roles) {
  for (const Product& product : products) {
    for (const std::string& output : product.outputs()) product_of_[output] = &product;
  }
  find_layouts();
  for (const Product& product : products) {
    if (!product.parts.empty()) place_siblings(product);
  }
  place_outputs();
  if (options.uses_slices) {
    for (std::size_t i = graph.nodes().size(); i-- > 0;) {
      if (graph.nodes()[i].is("Concat") && roles_[i] == Role::kLoop) place_concat(static_cast<int>(i));
    }
  }
  find_views();
}

bool StorageMap::has_conv_consumer(const std::string& name) const {
  const auto& consumers = graph_.uses.consumers(name);
  return std::any_of(consumers.begin(), consumers.end(), [&](int index) {
    const Node& node = graph_.node(index);
    return (node.is("Conv") || node.is("ConvTranspose")) && node.inputs[0] == name;
  });
}

bool StorageMap::has_product_consumer(const std::string& name, int depth) const {
  constexpr int kMaxViews = 8;
  for (const int index : graph_.uses.consumers(name)) {
    const Role role = roles_[static_cast<std::size_t>(index)];
    if (role == Role::kFused || role == Role::kWindow) return true;
    const Node& node = graph_.node(index);
    if (role == Role::kOperator || !is_view_type(node) || node.inputs[0] != name || depth == kMaxViews) continue;
    for (const std::string& output : node.outputs) {
      if (!output.empty() && has_product_consumer(output, depth + 1)) return true;
    }
  }
  return false;
}

bool StorageMap::reaches_product(const Node& node, const Window& input, int depth) const {
  constexpr int kMaxViews = 8;
  for (std::size_t k = 0; k < node.outputs.size(); ++k) {
    const auto window = view_through(graph_, node, k, input);
    if (!window) continue;  // A loop must move the elements, and may as well do it with what it computes before.
    for (const int index : graph_.uses.consumers(node.outputs[k])) {
      const Role role = roles_[static_cast<std::size_t>(index)];
      if (role == Role::kFused || role == Role::kWindow) return true;
      const Node& next = graph_.node(index);
      const bool is_view = role == Role::kLoop && is_view_type(next) && next.inputs[0] == node.outputs[k];
      if (is_view && depth < kMaxViews && reaches_product(next, *window, depth + 1)) return true;
    }
  }
  return false;
}

void StorageMap::find_layouts() {
  for (std::size_t i = 0; i < graph_.nodes().size(); ++i) {
    const Node& node = graph_.nodes()[i];
    for (const std::string& name : node.outputs) {
      if (name.empty()) continue;
      const auto rank = graph_.extents_of(name).size();
      bool& is_last = is_channels_last_[name];
      if (rank < 3) continue;
      if (const auto product = product_of_.find(name); product != product_of_.end()) {
        is_last = product->second->kind == Product::Kind::kConv;
        continue;
      }
      if (roles_[i] == Role::kOperator || roles_[i] == Role::kFused) continue;
      is_last = has_conv_consumer(name);
      if (is_view_type(node) && !node.is("Split") && !node.is("Slice") && !node.is("Identity")) continue;
      for (const std::string& input : node.inputs) {
        if (is_last || input.empty()) continue;
        is_last = prefers_channels_last(input) && graph_.extents_of(input).size() == rank;
      }
    }
  }
}

bool StorageMap::prefers_channels_last(const std::string& name) const {
  const auto found = is_channels_last_.find(name);
  return found != is_channels_last_.end() && found->second;
}

Window StorageMap::preferred_window(const std::string& name) const {
  const auto extents = graph_.extents_of(name);
  if (const auto product = product_of_.find(name); product != product_of_.end()) {
    // Heads side by side, as the projection behind the attention wants them.
    if (product->second->kind == Product::Kind::kAttention && extents.size() == 4) {
      return ordered_window(extents, {0, 2, 1, 3});
    }
  }
  return prefers_channels_last(name) ? channels_last_window(extents) : row_major_window(extents);
}

Location StorageMap::new_location(const std::string& name, DType dtype, const Window& dense) {
  storages_.push_back({name, dtype, Place::kArena, -1, {}, count_of(dense.extents)});
  return {static_cast<int>(storages_.size()) - 1, dense};
}

Location StorageMap::constant(const PackRequest& request, const Window& window, DType dtype) {
  const auto [found, is_new] = constants_.emplace(key_of(request), static_cast<int>(storages_.size()));
  if (is_new) storages_.push_back({request.name, dtype, Place::kConstant, -1, request, count_of(window.extents)});
  return {found->second, window};
}

const Location& StorageMap::locate(const std::string& name) {
  if (const auto found = locations_.find(name); found != locations_.end()) return found->second;
  const auto extents = graph_.extents_of(name);
  const DType dtype = graph_.dtype_of(name);
  Location location;
  const int producer = graph_.uses.producer(name);
  if (graph_.is_constant(name)) {
    location = constant(graph_.request_of(name), row_major_window(extents), dtype);
  } else if (producer < 0) {
    const auto inputs = graph_.model.graph.required_inputs();
    location = new_location(name, dtype, row_major_window(extents));
    Storage& storage = storages_.back();
    storage.place = Place::kInput;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      if (inputs[i]->name == name) storage.interface_index = static_cast<std::int32_t>(i);
    }
  } else if (roles_[static_cast<std::size_t>(producer)] == Role::kView) {
    const Node& node = graph_.node(producer);
    const auto output = std::find(node.outputs.begin(), node.outputs.end(), name);
    const Location input = locate(node.inputs[0]);
    const auto window =
        view_through(graph_, node, static_cast<std::size_t>(output - node.outputs.begin()), input.window);
    if (!window) throw Error(ErrorKind::kInternal, "a view that strides cannot say", node.describe());
    location = {input.storage, *window};
  } else {
    location = new_location(name, dtype, preferred_window(name));
  }
  return locations_[name] = location;
}

bool StorageMap::can_write(const Product& product, const Location& location) const {
  const Window& window = location.window;
  const DType dtype = graph_.dtype_of(product.output);
  if (!is_aligned(window, dtype) && !is_dense(window)) return false;
  if (product.kind == Product::Kind::kConv) {
    return desc_of(window).is_channels_last() && (product.may_write_slice() || is_dense(window));
  }
  const std::size_t rank = window.extents.size();
  return rank > 0 && (window.strides[rank - 1] == 1 || window.extents[rank - 1] == 1);
}

bool StorageMap::place(const std::string& name, const Location& location, bool is_trial) {
  if (locations_.count(name) != 0) return false;
  const int producer = graph_.uses.producer(name);
  if (producer < 0) return false;
  if (const auto product = product_of_.find(name); product != product_of_.end()) {
    if (!can_write(*product->second, location)) return false;
  } else {
    const auto index = static_cast<std::size_t>(producer);
    const Node& node = graph_.node(producer);
    if (roles_[index] != Role::kLoop) return false;
    if (is_view_type(node)) {
      const auto input = view_back(graph_, node, location.window);
      if (!input || graph_.is_constant(node.inputs[0]) ||
          !place(node.inputs[0], {location.storage, *input}, is_trial)) {
        return false;
      }
      if (!is_trial) roles_[index] = Role::kView;
    }
  }
  if (!is_trial) locations_[name] = location;
  return true;
}

void StorageMap::place_outputs() {
  const auto& outputs = graph_.model.graph.outputs;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const std::string& name = outputs[i].name;
    const auto extents = graph_.extents_of(name);
    storages_.push_back(
        {name, graph_.dtype_of(name), Place::kOutput, static_cast<std::int32_t>(i), {}, count_of(extents)});
    output_storages_.push_back(static_cast<int>(storages_.size()) - 1);
    // A value that convolutions read too stays channels-last, and its copy is the output.
    if (has_conv_consumer(name)) continue;
    place(name, {static_cast<int>(storages_.size()) - 1, row_major_window(extents)}, false);
  }
}

void StorageMap::place_siblings(const Product& product) {
  const bool is_conv = product.kind == Product::Kind::kConv;
  auto extents = graph_.extents_of(product.output);
  const std::size_t axis = is_conv ? 1 : extents.size() - 1;
  extents[axis] = 0;
  for (const Product::Part& part : product.parts) extents[axis] += part.columns;
  const Location whole = new_location(product.merged, graph_.dtype_of(product.output),
                                      is_conv ? channels_last_window(extents) : row_major_window(extents));
  locations_[product.merged] = whole;
  std::int64_t start = 0;
  for (const Product::Part& part : product.parts) {
    locations_[part.output] = {whole.storage, slice_window(whole.window, axis, start, part.columns)};
    start += part.columns;
  }
}

void StorageMap::place_concat(int index) {
  const Node& node = graph_.node(index);
  const std::string& out = node.outputs[0];
  if (!has_product_consumer(out)) return;
  const auto extents = graph_.extents_of(out);
  const std::int64_t given = node.int_attribute("axis", 0);
  const auto axis = static_cast<std::size_t>(given < 0 ? given + static_cast<std::int64_t>(extents.size()) : given);
  const auto known = locations_.find(out);
  Location whole{-1, preferred_window(out)};
  if (known != locations_.end()) whole = known->second;
  /// Parts of the Concat, each one value or all results of one Split.
  struct Part {
    std::string root;
    Window window;
    std::size_t first = 0;
    std::size_t count = 1;
    int split = -1;
    bool is_placed = false;
  };
  std::vector<Part> parts;
  std::int64_t start = 0;
  for (std::size_t i = 0; i < node.inputs.size();) {
    Part part{node.inputs[i], {}, i, 1, -1, false};
    const int producer = graph_.uses.producer(part.root);
    if (producer >= 0 && graph_.node(producer).is("Split") &&
        roles_[static_cast<std::size_t>(producer)] == Role::kLoop) {
      const Node& split = graph_.node(producer);
      const std::int64_t along = split.int_attribute("axis", 0);
      const auto rank = static_cast<std::int64_t>(extents.size());
      bool is_whole = (along < 0 ? along + rank : along) == static_cast<std::int64_t>(axis) &&
                      i + split.outputs.size() <= node.inputs.size();
      for (std::size_t k = 0; is_whole && k < split.outputs.size(); ++k) {
        is_whole = node.inputs[i + k] == split.outputs[k];
      }
      if (is_whole) {
        part.root = split.inputs[0];
        part.count = split.outputs.size();
        part.split = producer;
      }
    }
    const std::int64_t extent = graph_.extents_of(part.root)[axis];
    part.window = slice_window(whole.window, axis, start, extent);
    start += extent;
    i += part.count;
    parts.push_back(std::move(part));
  }
  std::size_t num_placed = 0;
  for (const Part& part : parts) num_placed += place(part.root, {whole.storage, part.window}, true) ? 1 : 0;
  // A copy is a launch of its own, one loop for the whole Concat another way to do it.
  if (num_placed == 0 || parts.size() - num_placed > num_placed) return;
  if (whole.storage < 0) whole = new_location(out, graph_.dtype_of(out), whole.window);
  roles_[static_cast<std::size_t>(index)] = Role::kWindow;
  locations_[out] = whole;
  auto& names = parts_[out];
  for (Part& part : parts) {
    if (place(part.root, {whole.storage, part.window}, false)) {
      if (part.split >= 0) roles_[static_cast<std::size_t>(part.split)] = Role::kView;
      names.push_back(part.root);
      continue;
    }
    // Not the root of a Split: it may be needed elsewhere as it is.
    const std::string made = part.root + "/in/" + out + "/" + std::to_string(part.first);
    locations_[made] = {whole.storage, part.window};
    copies_.push_back({part.root, made});
    names.push_back(made);
  }
}

const std::string& StorageMap::view_root(const std::string& name) const {
  const std::string* root = &name;
  for (;;) {
    const int producer = graph_.uses.producer(*root);
    if (producer < 0 || roles_[static_cast<std::size_t>(producer)] != Role::kView) return *root;
    root = &graph_.node(producer).inputs[0];
  }
}

void StorageMap::find_views() {
  for (std::size_t i = 0; i < graph_.nodes().size(); ++i) {
    const Node& node = graph_.nodes()[i];
    if (roles_[i] != Role::kLoop || !is_view_type(node)) continue;
    if (!options_.uses_slices && (node.is("Split") || node.is("Slice"))) continue;
    const int producer = graph_.uses.producer(view_root(node.inputs[0]));
    // Between loops a view is index arithmetic inside one kernel; elsewhere it must not be a copy.
    const bool is_of_loop = producer >= 0 && roles_[static_cast<std::size_t>(producer)] == Role::kLoop;
    if (is_of_loop && !reaches_product(node, locate(node.inputs[0]).window)) continue;
    make_view(static_cast<int>(i));
  }
}

bool StorageMap::make_view(int index) {
  const Node& node = graph_.node(index);
  if (!is_view_type(node)) return false;
  for (const std::string& name : node.outputs) {
    if (locations_.count(name) != 0) return false;
  }
  const Location input = locate(node.inputs[0]);
  for (std::size_t k = 0; k < node.outputs.size(); ++k) {
    if (!node.outputs[k].empty() && !view_through(graph_, node, k, input.window)) return false;
  }
  roles_[static_cast<std::size_t>(index)] = Role::kView;
  return true;
}

const std::vector<std::string>& StorageMap::roots_of(const std::string& name) {
  if (const auto found = roots_.find(name); found != roots_.end()) return found->second;
  std::vector<std::string> roots;
  const int producer = graph_.uses.producer(name);
  const Role role = producer >= 0 ? roles_[static_cast<std::size_t>(producer)] : Role::kLoop;
  if (producer < 0 && graph_.facts->find(name) != nullptr) {
    // A graph input or a constant: there before any step.
  } else if (role == Role::kView) {
    roots = roots_of(graph_.node(producer).inputs[0]);
  } else if (role == Role::kWindow) {
    for (const std::string& part : parts_[name]) {
      const auto of_part = roots_of(part);
      roots.insert(roots.end(), of_part.begin(), of_part.end());
    }
  } else {
    roots.push_back(name);
  }
  return roots_[name] = roots;
}

}  // namespace pajamas::cuda
