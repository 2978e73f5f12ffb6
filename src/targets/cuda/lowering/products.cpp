// See products.h.
#include "targets/cuda/lowering/products.h"

#include <algorithm>
#include <map>
#include <set>

namespace pajamas::cuda {

namespace {

bool is_product_type(DType dtype) {
  return dtype == DType::kFloat16 || dtype == DType::kBfloat16 || dtype == DType::kFloat32 || dtype == DType::kFloat64;
}

class Finder {
 public:
  Finder(const GraphContext& graph, bool fuses) : graph_(graph), fuses_(fuses) {}

  std::vector<Product> find() {
    const auto& nodes = graph_.nodes();
    // Products before a node on its longest path: where two products meet in an Add, the deeper one takes the other's
    // result as its residual, so that the shallower can run at the same time.
    std::vector<int> depth(nodes.size(), 0);
    std::vector<int> anchors;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      for (const std::string& name : nodes[i].inputs) {
        const int producer = name.empty() ? -1 : graph_.uses.producer(name);
        if (producer >= 0) depth[i] = std::max(depth[i], depth[static_cast<std::size_t>(producer)]);
      }
      if (is_anchor(nodes[i])) {
        ++depth[i];
        anchors.push_back(static_cast<int>(i));
      }
    }
    if (fuses_) {
      for (std::size_t i = 0; i < nodes.size(); ++i) {
        if (nodes[i].is("Softmax")) match_attention(static_cast<int>(i));
      }
    }
    std::stable_sort(anchors.begin(), anchors.end(), [&](int a, int b) {
      const int depth_a = depth[static_cast<std::size_t>(a)];
      const int depth_b = depth[static_cast<std::size_t>(b)];
      return depth_a != depth_b ? depth_a > depth_b : a > b;
    });
    for (const int anchor : anchors) {
      if (taken_.count(anchor) == 0) match_product(anchor);
    }
    own_dequantisations();
    std::sort(products_.begin(), products_.end(),
              [](const Product& a, const Product& b) { return a.nodes.back() < b.nodes.back(); });
    return std::move(products_);
  }

 private:
  bool is_anchor(const Node& node) const {
    if (!node.is("Conv") && !node.is("ConvTranspose") && !node.is("MatMul") && !node.is("Gemm")) return false;
    return is_product_type(graph_.dtype_of(node.outputs[0]));
  }

  void take(Product& product, int index) {
    product.nodes.push_back(index);
    taken_.insert(index);
  }
  void take(Product& product, const std::vector<int>& nodes) {
    for (const int index : nodes) take(product, index);
  }

  /// The other operand of a two-operand node.
  static const std::string& other_input(const Node& node, const std::string& name) {
    return node.inputs[0] == name ? node.inputs[1] : node.inputs[0];
  }

  /// The only node behind the product so far, of this type and not taken; nullptr otherwise.
  const Node* next(const Product& product, const char* type, int& index) const {
    index = graph_.sole_consumer(product.output);
    if (index < 0 || taken_.count(index) != 0 || !graph_.node(index).is(type)) return nullptr;
    return &graph_.node(index);
  }

  /// Whether a constant runs along the product's channels (`axis` of its result) and is 1 along every other axis.
  bool is_bias(const std::string& name, const std::vector<std::int64_t>& extents, std::size_t axis) const {
    if (!graph_.is_constant(name)) return false;
    const auto own = graph_.extents_of(name);
    if (own.size() > extents.size()) return false;
    for (std::size_t i = 0; i < extents.size(); ++i) {
      const bool is_there = i + own.size() >= extents.size();
      const std::int64_t extent = is_there ? own[i + own.size() - extents.size()] : 1;
      if (extent != (i == axis ? extents[axis] : 1)) return false;
    }
    return true;
  }

  void match_scale(Product& product) {
    for (;;) {
      int index = -1;
      const Node* mul = next(product, "Mul", index);
      const Node* div = mul == nullptr ? next(product, "Div", index) : nullptr;
      const Node* node = mul != nullptr ? mul : div;
      if (node == nullptr || (div != nullptr && div->inputs[0] != product.output)) return;
      const auto factor = graph_.scalar(other_input(*node, product.output));
      if (!factor || graph_.extents_of(node->outputs[0]) != graph_.extents_of(product.output)) return;
      product.scale = mul != nullptr ? product.scale * *factor : product.scale / *factor;
      take(product, index);
      product.output = node->outputs[0];
    }
  }

  void match_bias(Product& product, std::size_t axis) {
    int index = -1;
    const Node* add = next(product, "Add", index);
    if (add == nullptr || !product.bias.empty()) return;
    const std::string& other = other_input(*add, product.output);
    const auto extents = graph_.extents_of(product.output);
    if (!is_bias(other, extents, axis) || graph_.extents_of(add->outputs[0]) != extents) return;
    product.bias = other;
    take(product, index);
    product.output = add->outputs[0];
  }

  bool match_residual(Product& product) {
    int index = -1;
    const Node* add = next(product, "Add", index);
    if (add == nullptr || !product.residual.empty()) return false;
    const std::string& other = other_input(*add, product.output);
    if (other == product.output || graph_.extents_of(other) != graph_.extents_of(product.output)) return false;
    product.residual = other;
    take(product, index);
    product.output = add->outputs[0];
    return true;
  }

  bool match_act(Product& product) {
    const auto found = match_activation(graph_, product.output);
    if (!found) return false;
    for (const int index : found->nodes) {
      if (taken_.count(index) != 0) return false;
    }
    product.activation = found->activation;
    take(product, found->nodes);
    product.output = found->output;
    return true;
  }

  /// A value that stands for 8-bit floats or integers with one scale, or integers with one a column.
  struct Dequantised {
    std::string from;
    float scale = 1;
    std::string column_scale;
    std::int32_t zero_point = 0;
    int node = -1;
  };
  std::optional<Dequantised> dequantised(const std::string& name) const {
    const int index = graph_.uses.producer(name);
    if (index < 0 || !graph_.node(index).is("DequantizeLinear")) return {};
    const Node& node = graph_.node(index);
    const DType dtype = graph_.dtype_of(node.inputs[0]);
    if ((dtype != DType::kFloat8E4M3Fn && dtype != DType::kInt8) || node.int_attribute("block_size", 0) != 0) return {};
    Dequantised found{node.inputs[0], 1, {}, 0, index};
    if (const auto scale = graph_.scalar(node.inputs[1])) {
      found.scale = *scale;
    } else if (dtype == DType::kInt8 && graph_.is_constant(node.inputs[1])) {
      found.column_scale = node.inputs[1];
    } else {
      return {};
    }
    const auto zero_point = zero_point_of(node);
    if (!zero_point || (dtype == DType::kFloat8E4M3Fn && *zero_point != 0)) return {};
    found.zero_point = *zero_point;
    return found;
  }
  /// One for all elements; nothing where it is not known or not one.
  std::optional<std::int32_t> zero_point_of(const Node& node) const {
    if (node.inputs.size() < 3 || node.inputs[2].empty()) return 0;
    const auto numbers = graph_.small_numbers(node.inputs[2]);
    if (!numbers || numbers->empty()) return {};
    if (std::any_of(numbers->begin(), numbers->end(), [&](float number) { return number != numbers->front(); }))
      return {};
    return static_cast<std::int32_t>(numbers->front());
  }
  /// Whether the scales run along the columns of a product's second factor.
  bool has_columns(const Node& product, const Dequantised& b) const {
    const Node& node = graph_.node(b.node);
    const bool is_turned = product.int_attribute("transB", 0) != 0;
    std::int64_t axis = node.int_attribute("axis", 1);
    if (axis < 0) axis += 2;
    const auto scales = graph_.extents_of(b.column_scale);
    const auto weights = graph_.extents_of(b.from);
    return axis == (is_turned ? 0 : 1) && scales.size() == 1 && scales[0] == weights[is_turned ? 0 : 1];
  }

  /// A product of two dequantised factors is one of the 8-bit numbers, and their scales one factor behind it.
  bool match_dequantised(Product& product) {
    const auto a = dequantised(product.a);
    const auto b = dequantised(product.b);
    const Node& node = graph_.node(product.anchor);
    if (!a || !b || !graph_.is_constant(b->from) || graph_.is_constant(a->from)) return false;
    if (graph_.dtype_of(a->from) != graph_.dtype_of(b->from) || !a->column_scale.empty() || b->zero_point != 0)
      return false;
    if (graph_.extents_of(b->from).size() != 2 || node.int_attribute("transA", 0) != 0) return false;
    if (graph_.dtype_of(product.output) == DType::kFloat64) return false;
    if (!b->column_scale.empty() && !has_columns(node, *b)) return false;
    // Small ones are numbers of a loop, and not worth more.
    const Shape weights(graph_.extents_of(b->from));
    if (graph_.dtype_of(b->from) == DType::kInt8 && bytes_of(DType::kInt8, weights) <= ConstantTable::kSmallBytes)
      return false;
    product.a = a->from;
    product.b = b->from;
    product.column_scale = b->column_scale;
    product.a_zero_point = a->zero_point;
    product.scale *= a->scale * b->scale;
    absorbed_[a->node] += 1;
    absorbed_[b->node] += 1;
    dequantised_.emplace(product.anchor, std::pair(a->node, b->node));
    return true;
  }

  /// Nodes that only products read, and those read through, are work of the first of them.
  void own_dequantisations() {
    for (Product& product : products_) {
      const auto found = dequantised_.find(product.anchor);
      if (found == dequantised_.end()) continue;
      for (const int index : {found->second.first, found->second.second}) {
        const std::string& value = graph_.node(index).outputs[0];
        if (graph_.uses.is_graph_output(value) || graph_.uses.num_uses(value) != absorbed_[index]) continue;
        if (!taken_.insert(index).second) continue;
        product.nodes.push_back(index);
      }
      std::sort(product.nodes.begin(), product.nodes.end());
    }
  }

  /// The result as 8-bit floats, where that is all that is wanted of it.
  void match_quantisation(Product& product) {
    int index = -1;
    const Node* node = next(product, "QuantizeLinear", index);
    if (node == nullptr || node->inputs[0] != product.output || !product.residual.empty()) return;
    // Of the type of the factors.
    if (graph_.dtype_of(node->outputs[0]) != graph_.dtype_of(product.a) || node->int_attribute("saturate", 1) == 0)
      return;
    const auto scale = graph_.scalar(node->inputs[1]);
    const auto zero_point = zero_point_of(*node);
    if (!scale || !zero_point) return;
    if (*zero_point != 0 && graph_.dtype_of(product.a) == DType::kFloat8E4M3Fn) return;
    product.y_scale = *scale;
    product.y_zero_point = *zero_point;
    take(product, index);
    product.output = node->outputs[0];
  }

  void match_product(int anchor) {
    const Node& node = graph_.node(anchor);
    Product product;
    product.anchor = anchor;
    product.a = node.inputs[0];
    product.b = node.inputs[1];
    product.output = node.outputs[0];
    product.kind = node.is("MatMul") || node.is("Gemm") ? Product::Kind::kMatMul : Product::Kind::kConv;
    const bool is_conv = product.kind == Product::Kind::kConv;
    const auto extents = graph_.extents_of(product.output);
    if (is_conv && node.inputs.size() > 2) product.bias = node.inputs[2];
    if (node.is("Gemm")) {
      product.scale = node.float_attribute("alpha", 1.0F);
      if (node.inputs.size() > 2 && !node.inputs[2].empty()) {
        const float beta = node.float_attribute("beta", 1.0F);
        // What cannot join the product is a node of its own: lowering writes such a Gemm as Gemm, Mul and Add first.
        if (beta != 0) (is_bias(node.inputs[2], extents, 1) ? product.bias : product.residual) = node.inputs[2];
        if (!product.residual.empty()) product.is_residual_before = true;
      }
    }
    take(product, anchor);
    const bool is_quantised = fuses_ && !is_conv && match_dequantised(product);
    if (fuses_) {
      const std::size_t axis = is_conv ? 1 : extents.empty() ? 0 : extents.size() - 1;
      if (!is_conv && product.bias.empty()) match_scale(product);
      if (!extents.empty()) match_bias(product, axis);
      if (product.residual.empty() && match_residual(product)) {
        product.is_residual_before = match_act(product);
      } else if (match_act(product) && is_conv) {
        // cuBLASLt adds before its activation only, so a product's later Add is left to a loop.
        match_residual(product);
      }
      if (is_quantised) match_quantisation(product);
    }
    std::sort(product.nodes.begin(), product.nodes.end());
    products_.push_back(std::move(product));
  }

  /// The producer of a value when it is of this type, used by nothing else and not taken.
  int sole_producer(const std::string& name, const char* type) const {
    const int index = graph_.uses.producer(name);
    if (index < 0 || taken_.count(index) != 0 || !graph_.node(index).is(type)) return -1;
    return graph_.uses.num_uses(name) == 1 && !graph_.uses.is_graph_output(name) ? index : -1;
  }

  /// Looks through a scale by a constant.
  bool unscale(std::string& name, float& scale, std::vector<int>& nodes) const {
    for (const char* type : {"Mul", "Div"}) {
      const int index = sole_producer(name, type);
      if (index < 0) continue;
      const Node& node = graph_.node(index);
      const bool is_second = graph_.scalar(node.inputs[1]).has_value();
      if (!is_second && (*type == 'D' || !graph_.scalar(node.inputs[0]))) continue;
      const float factor = *graph_.scalar(node.inputs[is_second ? 1 : 0]);
      const std::string& inner = node.inputs[is_second ? 0 : 1];
      if (graph_.extents_of(inner) != graph_.extents_of(name)) continue;
      scale = *type == 'M' ? scale * factor : scale / factor;
      nodes.push_back(index);
      name = inner;
      return true;
    }
    return false;
  }

  void match_attention(int softmax) {
    const Node& node = graph_.node(softmax);
    const DType dtype = graph_.dtype_of(node.outputs[0]);
    // cuDNN's attention takes 16-bit types, and heads of whole 16 bytes up to 128 elements.
    if (dtype != DType::kFloat16 && dtype != DType::kBfloat16) return;
    const auto scores = graph_.extents_of(node.outputs[0]);
    const auto rank = static_cast<std::int64_t>(scores.size());
    if (rank != 3 && rank != 4) return;
    const std::int64_t axis = node.int_attribute("axis", graph_.opset >= 13 ? -1 : 1);
    if (axis != -1 && axis != rank - 1) return;
    Product product;
    product.kind = Product::Kind::kAttention;
    product.anchor = softmax;
    std::vector<int> nodes{softmax};
    const int second = graph_.sole_consumer(node.outputs[0]);
    if (second < 0 || !graph_.node(second).is("MatMul") || graph_.node(second).inputs[0] != node.outputs[0]) return;
    nodes.push_back(second);
    product.v = graph_.node(second).inputs[1];
    product.output = graph_.node(second).outputs[0];
    std::string name = node.inputs[0];
    if (const int add = sole_producer(name, "Add"); add >= 0) {
      const auto& inputs = graph_.node(add).inputs;
      for (std::size_t i = 0; i < 2 && product.mask.empty(); ++i) {
        // The scores are what comes from a product; the mask is the rest.
        std::string candidate = inputs[i];
        float scale = 1;
        std::vector<int> inner;
        while (unscale(candidate, scale, inner)) {
        }
        if (sole_producer(candidate, "MatMul") < 0 || graph_.extents_of(candidate) != scores) continue;
        product.mask = inputs[1 - i];
        name = inputs[i];
      }
      if (product.mask.empty()) return;
      nodes.push_back(add);
    }
    while (unscale(name, product.scale, nodes)) {
    }
    const int first = sole_producer(name, "MatMul");
    if (first < 0 || graph_.extents_of(name) != scores) return;
    nodes.push_back(first);
    product.a = graph_.node(first).inputs[0];
    product.b = graph_.node(first).inputs[1];
    product.is_k_transposed = true;
    while (unscale(product.a, product.scale, nodes)) {
    }
    while (unscale(product.b, product.scale, nodes)) {
    }
    const auto q = graph_.extents_of(product.a);
    const auto k = graph_.extents_of(product.b);
    const auto v = graph_.extents_of(product.v);
    const auto last = static_cast<std::size_t>(rank - 1);
    if (q.size() != scores.size() || k.size() != scores.size() || v.size() != scores.size()) return;
    if (q[last] % 8 != 0 || q[last] > 128 || v[last] != q[last]) return;
    for (std::size_t i = 0; i + 2 < scores.size(); ++i) {
      if (q[i] != scores[i] || k[i] != scores[i] || v[i] != scores[i]) return;
    }
    for (const int index : nodes) {
      if (taken_.count(index) != 0) return;
    }
    take(product, nodes);
    std::sort(product.nodes.begin(), product.nodes.end());
    products_.push_back(std::move(product));
  }

  const GraphContext& graph_;
  const bool fuses_;
  std::set<int> taken_;
  std::map<int, int> absorbed_;                     ///< Uses of a DequantizeLinear that products read through.
  std::map<int, std::pair<int, int>> dequantised_;  ///< Such a product's nodes, by its anchor.
  std::vector<Product> products_;
};

}  // namespace

std::vector<Product> find_products(const GraphContext& graph, bool fuses) { return Finder(graph, fuses).find(); }

}  // namespace pajamas::cuda
