// Where each value of the graph is kept: which nodes are mere views, which Concats are windows that their producers
// write into, what layout the rest has. Decided before loops are grouped and steps are made.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "targets/cuda/lowering/graph_context.h"
#include "targets/cuda/lowering/lower.h"
#include "targets/cuda/lowering/products.h"
#include "targets/cuda/lowering/window.h"

namespace pajamas::cuda {

enum class Role {
  kLoop,      ///< Free for the loop generator.
  kFused,     ///< Computed by a product.
  kView,      ///< Its outputs are windows of its input.
  kWindow,    ///< A Concat whose inputs are windows of its output.
  kOperator,  ///< Has a kernel of its own.
};

struct Storage {
  std::string name;
  DType dtype = DType::kUndefined;
  Place place = Place::kArena;
  std::int32_t interface_index = -1;
  PackRequest request;  ///< kConstant.
  std::int64_t num_elements = 0;
};

struct Location {
  int storage = -1;
  Window window;
};

/// A value that must be copied into a window of a Concat, under the name `made`.
struct WindowCopy {
  std::string from;
  std::string made;
};

class StorageMap {
 public:
  /// Decides everything. `roles` has one entry a node: kFused and kOperator are given, the others are decided here.
  StorageMap(const GraphContext& graph, const std::vector<Product>& products, const LoweringOptions& options,
             std::vector<Role>& roles);

  /// Where a value is; makes a storage for one that has none yet.
  const Location& locate(const std::string& name);
  /// A storage for a copy of a value.
  Location new_location(const std::string& name, DType dtype, const Window& dense);
  Location constant(const PackRequest& request, const Window& window, DType dtype);
  const Storage& storage(int index) const { return storages_[static_cast<std::size_t>(index)]; }
  /// The storage of graph output `index`.
  int output_storage(std::size_t index) const { return output_storages_[index]; }
  const std::vector<WindowCopy>& copies() const { return copies_; }
  /// The values whose steps a value's bytes come from.
  const std::vector<std::string>& roots_of(const std::string& name);
  /// Turns a node that was left to loops into a view where strides suffice.
  bool make_view(int index);

 private:
  bool prefers_channels_last(const std::string& name) const;
  Window preferred_window(const std::string& name) const;
  bool has_product_consumer(const std::string& name, int depth = 0) const;
  /// Whether windows alone lead from the node's input to a product.
  bool reaches_product(const Node& node, const Window& input, int depth = 0) const;
  bool has_conv_consumer(const std::string& name) const;
  bool can_write(const Product& product, const Location& location) const;
  bool place(const std::string& name, const Location& location, bool is_trial);
  void find_layouts();
  void place_siblings(const Product& product);
  void place_outputs();
  void place_concat(int index);
  void find_views();
  const std::string& view_root(const std::string& name) const;

  const GraphContext& graph_;
  const LoweringOptions& options_;
  std::vector<Role>& roles_;
  std::unordered_map<std::string, const Product*> product_of_;  ///< By output.
  std::unordered_map<std::string, bool> is_channels_last_;
  std::vector<Storage> storages_;
  std::vector<int> output_storages_;
  std::unordered_map<std::string, Location> locations_;
  std::unordered_map<std::string, std::vector<std::string>> parts_;  ///< Of a Concat that is a window.
  std::unordered_map<std::string, std::vector<std::string>> roots_;
  std::vector<WindowCopy> copies_;
  std::map<std::string, int> constants_;  ///< Storage by key.
};

}  // namespace pajamas::cuda
