// See siblings.h.
#include "targets/cuda/lowering/siblings.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "targets/cuda/lowering/regions.h"
#include "targets/cuda/lowering/window.h"

namespace pajamas::cuda {

namespace {

/// More gain nothing: three projections fill what one did not, and a decoder's many projections of one encoder result
/// would all have to be kept at once.
constexpr std::size_t kMaxParts = 4;
/// A view of a view of ...: no further.
constexpr int kMaxViews = 8;

class Merger {
 public:
  Merger(const GraphContext& graph, std::vector<Product> products, const LoweringOptions& options)
      : graph_(graph), options_(options), products_(std::move(products)), product_of_(graph.nodes().size(), nullptr) {
    for (const Product& product : products_) {
      for (const int index : product.nodes) product_of_[static_cast<std::size_t>(index)] = &product;
    }
  }

  std::vector<Product> merge() {
    std::map<std::pair<std::string, Product::Kind>, std::vector<std::size_t>> by_input;
    for (std::size_t i = 0; i < products_.size(); ++i) {
      if (is_candidate(products_[i])) by_input[{products_[i].a, products_[i].kind}].push_back(i);
    }
    std::vector<Product> made;
    std::vector<bool> is_merged(products_.size(), false);
    for (const auto& [key, members] : by_input) {
      for (std::size_t first = 0; first < members.size(); ++first) {
        if (is_merged[members[first]]) continue;
        std::vector<std::size_t> group{members[first]};
        for (std::size_t i = first + 1; i < members.size() && group.size() < kMaxParts; ++i) {
          if (!is_merged[members[i]] && are_alike(products_[members[first]], products_[members[i]])) {
            group.push_back(members[i]);
          }
        }
        // One that cannot be read as a window stays by itself; the others may still go together.
        for (bool is_changed = true; is_changed && group.size() > 1;) {
          is_changed = false;
          for (std::size_t i = 0; i < group.size() && !is_changed; ++i) {
            if (is_taken_as_window(group, i)) continue;
            group.erase(group.begin() + static_cast<std::ptrdiff_t>(i));
            is_changed = true;
          }
        }
        if (group.size() < 2) continue;
        for (const std::size_t member : group) is_merged[member] = true;
        made.push_back(joined(group));
      }
    }
    for (std::size_t i = 0; i < products_.size(); ++i) {
      if (!is_merged[i]) made.push_back(products_[i]);
    }
    std::sort(made.begin(), made.end(),
              [](const Product& a, const Product& b) { return a.nodes.back() < b.nodes.back(); });
    return made;
  }

 private:
  const Node& anchor(const Product& product) const { return graph_.node(product.anchor); }
  static bool is_conv(const Product& product) { return product.kind == Product::Kind::kConv; }

  /// The axis of the weights that the columns or output channels lie along.
  std::size_t weights_axis(const Product& product) const {
    if (is_conv(product)) return 0;
    return anchor(product).is("Gemm") && anchor(product).int_attribute("transB", 0) != 0 ? 0 : 1;
  }
  static std::size_t result_axis(const Product& product, std::size_t rank) { return is_conv(product) ? 1 : rank - 1; }

  std::int64_t columns_of(const Product& product) const { return graph_.extents_of(product.b)[weights_axis(product)]; }

  bool is_candidate(const Product& product) const {
    if (product.kind == Product::Kind::kAttention) return false;
    if (!(is_conv(product) ? options_.merges_convolutions : options_.merges_products)) return false;
    if (!product.residual.empty() || graph_.is_constant(product.a) || !graph_.is_constant(product.b)) return false;
    if (graph_.request_of(product.b).name != product.b) return false;
    if (!product.bias.empty() && (!graph_.is_constant(product.bias) || graph_.extents_of(product.bias).size() != 1)) {
      return false;
    }
    const Node& node = anchor(product);
    const auto weights = graph_.extents_of(product.b);
    if (is_conv(product)) {
      if (!node.is("Conv") || node.int_attribute("group", 1) != 1) return false;
    } else if (weights.size() != 2) {
      return false;
    }
    // Whole vectors of 16 bytes, so that the next part starts on one.
    const DType dtype = graph_.dtype_of(product.output);
    const std::int64_t quantum = std::max<std::int64_t>(128 / bits_of(dtype), is_conv(product) ? 8 : 1);
    if (columns_of(product) == 0 || columns_of(product) % quantum != 0) return false;
    const auto extents = graph_.extents_of(product.output);
    return extents.size() >= 2 && std::count(extents.begin(), extents.end(), 0) == 0;
  }

  bool are_alike(const Product& a, const Product& b) const {
    const Node& first = anchor(a);
    const Node& second = anchor(b);
    if (first.op_type != second.op_type || !(a.activation == b.activation) || a.scale != b.scale ||
        a.y_scale != b.y_scale || a.y_zero_point != b.y_zero_point || a.a_zero_point != b.a_zero_point ||
        a.column_scale.empty() != b.column_scale.empty()) {
      return false;
    }
    if (graph_.dtype_of(a.b) != graph_.dtype_of(b.b) || a.is_residual_before != b.is_residual_before) return false;
    if (!a.bias.empty() && !b.bias.empty() && graph_.dtype_of(a.bias) != graph_.dtype_of(b.bias)) return false;
    if (weights_axis(a) != weights_axis(b)) return false;
    auto weights_a = graph_.extents_of(a.b);
    auto weights_b = graph_.extents_of(b.b);
    if (weights_a.size() != weights_b.size()) return false;
    weights_a[weights_axis(a)] = weights_b[weights_axis(b)] = 0;
    if (weights_a != weights_b) return false;
    for (const char* name : {"strides", "dilations", "pads"}) {
      if (first.ints_attribute(name) != second.ints_attribute(name)) return false;
    }
    return first.string_attribute("auto_pad", "NOTSET") == second.string_attribute("auto_pad", "NOTSET") &&
           first.int_attribute("transA", 0) == second.int_attribute("transA", 0);
  }

  Window whole_window(const std::vector<std::size_t>& group) const {
    const Product& first = products_[group.front()];
    auto extents = graph_.extents_of(first.output);
    std::int64_t& columns = extents[result_axis(first, extents.size())];
    columns = 0;
    for (const std::size_t member : group) columns += columns_of(products_[member]);
    return is_conv(first) ? channels_last_window(extents) : row_major_window(extents);
  }

  bool is_taken_as_window(const std::vector<std::size_t>& group, std::size_t at) const {
    const Product& product = products_[group[at]];
    std::int64_t start = 0;
    for (std::size_t i = 0; i < at; ++i) start += columns_of(products_[group[i]]);
    const Window whole = whole_window(group);
    return is_taken(product.output,
                    slice_window(whole, result_axis(product, whole.extents.size()), start, columns_of(product)), 0);
  }

  bool is_taken(const std::string& name, const Window& window, int depth) const {
    if (graph_.uses.is_graph_output(name) || depth > kMaxViews) return false;
    const DType dtype = graph_.dtype_of(name);
    const auto& consumers = graph_.uses.consumers(name);
    if (static_cast<int>(consumers.size()) != graph_.uses.num_uses(name)) return false;
    for (const int index : consumers) {
      const Node& node = graph_.node(index);
      if (const Product* product = product_of_[static_cast<std::size_t>(index)]; product != nullptr) {
        if (!is_vector_aligned(window, dtype)) return false;
        const bool wants_channels = is_conv(*product);
        if (wants_channels && !TensorDesc{dtype, Shape(window.extents), window.strides}.is_channels_last())
          return false;
        continue;
      }
      // A Concat wants its parts in its own buffer, an operator's kernel its inputs dense.
      if (node.is("Concat") || is_operator_step(node)) return false;
      if (!is_view_type(node) || node.inputs[0] != name) continue;
      for (std::size_t k = 0; k < node.outputs.size(); ++k) {
        if (node.outputs[k].empty()) continue;
        const auto view = view_through(graph_, node, k, window);
        if (!view || !is_taken(node.outputs[k], *view, depth + 1)) return false;
      }
    }
    return true;
  }

  Product joined(const std::vector<std::size_t>& group) const {
    Product whole = products_[group.front()];
    std::set<int> nodes;
    for (const std::size_t member : group) {
      const Product& product = products_[member];
      nodes.insert(product.nodes.begin(), product.nodes.end());
      whole.parts.push_back({product.b, product.bias, product.output, columns_of(product), product.column_scale});
      if (whole.merged.empty()) {
        whole.merged = product.output;
      } else {
        whole.merged += "+" + product.output;
      }
    }
    whole.nodes.assign(nodes.begin(), nodes.end());
    whole.weights_axis = weights_axis(whole);
    return whole;
  }

  const GraphContext& graph_;
  const LoweringOptions& options_;
  const std::vector<Product> products_;
  std::vector<const Product*> product_of_;  ///< By node.
};

}  // namespace

std::vector<Product> merge_siblings(const GraphContext& graph, std::vector<Product> products,
                                    const LoweringOptions& options) {
  if (!options.fuses || !options.uses_slices) return products;
  return Merger(graph, std::move(products), options).merge();
}

}  // namespace pajamas::cuda
