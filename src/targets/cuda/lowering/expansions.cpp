// See expansions.h.
#include "targets/cuda/lowering/expansions.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "targets/cuda/lowering/counted_graph.h"
#include "targets/cuda/lowering/graph_context.h"
#include "targets/cuda/lowering/recurrent.h"

namespace pajamas::cuda {
namespace {

using Ints = std::vector<std::int64_t>;

bool is_short(const Node& node) {
  return node.is("Attention") || node.is("Einsum") || node.is("GroupNormalization") || is_recurrent(node);
}

class Expander {
 public:
  explicit Expander(CountedGraph& graph) : graph_(graph) {}

  /// False where the node stays.
  bool expand(const Node& node) {
    if (is_recurrent(node)) {
      expand_recurrent(graph_, node);
      return true;
    }
    for (const std::string& name : node.inputs) {
      if (name.empty()) continue;
      const ValueFact* fact = graph_.facts().find(name);
      if (fact == nullptr || !fact->static_shape() || fact->dtype == DType::kUndefined) return false;
    }
    node_ = &node;
    if (node.is("Attention")) return attention();
    if (node.is("Einsum")) return einsum();
    return group_normalization();
  }

 private:
  bool has(std::size_t input) const { return input < node_->inputs.size() && !node_->inputs[input].empty(); }
  bool gives(std::size_t output) const { return output < node_->outputs.size() && !node_->outputs[output].empty(); }
  const std::string& in(std::size_t input) const { return node_->inputs[input]; }
  Ints extents(std::size_t input) const { return graph_.bounds(in(input)); }
  DType dtype_of(std::size_t input) const { return graph_.fact(in(input)).dtype; }
  std::string emit(const char* type, std::vector<std::string> inputs,
                   const std::vector<std::pair<const char*, AttributeValue>>& attributes = {}) {
    return graph_.emit(type, node_->name.empty() ? node_->outputs[0] : node_->name, std::move(inputs), attributes);
  }
  std::string number(DType dtype, float value) { return graph_.constant(narrowed(Tensor::scalar(value), dtype)); }
  std::string transposed(const std::string& value, const Ints& order) {
    Ints plain(order.size());
    std::iota(plain.begin(), plain.end(), 0);
    return order == plain ? value : emit("Transpose", {value}, {{"perm", order}});
  }
  void give(std::size_t output, const std::string& value) {
    Node node;
    node.op_type = "Identity";
    node.name = graph_.name_like(node_->outputs[output] + "/Identity");
    node.inputs = {value};
    node.outputs = {node_->outputs[output]};
    graph_.push(std::move(node));
  }

  // Attention --------------------------------------------------------------------------------------------------------

  /// [batch, seq_len, heads · dim] as [batch, heads, seq_len, dim].
  std::string heads(std::size_t input, std::int64_t num_heads) {
    const Ints shape = extents(input);
    if (shape.size() == 4) return in(input);
    return transposed(graph_.reshape(in(input), {shape[0], shape[1], num_heads, shape[2] / num_heads}), {0, 2, 1, 3});
  }

  /// Each head of keys and values for `group` heads of queries.
  std::string repeated(const std::string& value, const Ints& shape, std::int64_t group) {
    if (group == 1) return value;
    const std::string split = graph_.reshape(value, {shape[0], shape[1], 1, shape[2], shape[3]});
    const std::string wide = emit("Expand", {split, graph_.integers({shape[0], shape[1], group, shape[2], shape[3]})});
    return graph_.reshape(wide, {shape[0], shape[1] * group, shape[2], shape[3]});
  }

  bool attention() {
    static const std::set<std::string> kKnown{"is_causal", "kv_num_heads",      "q_num_heads", "qk_matmul_output_mode",
                                              "scale",     "softmax_precision", "softcap"};
    for (const Attribute& attribute : node_->attributes) {
      if (kKnown.count(attribute.name) == 0) return false;
    }
    if (node_->inputs.size() < 3 || has(6) || gives(3) || has(4) != has(5)) return false;
    const DType dtype = dtype_of(0);
    if (dtype_of(1) != dtype || dtype_of(2) != dtype || !is_floating_point(dtype)) return false;
    Ints q = extents(0);
    Ints k = extents(1);
    Ints v = extents(2);
    const std::size_t rank = q.size();
    if ((rank != 3 && rank != 4) || k.size() != rank || v.size() != rank) return false;
    const std::int64_t num_heads = rank == 4 ? q[1] : node_->int_attribute("q_num_heads", 0);
    const std::int64_t num_kv_heads = rank == 4 ? k[1] : node_->int_attribute("kv_num_heads", 0);
    if (num_heads < 1 || num_kv_heads < 1 || num_heads % num_kv_heads != 0) return false;
    if (rank == 3) {
      if (q[2] % num_heads != 0 || k[2] % num_kv_heads != 0 || v[2] % num_kv_heads != 0) return false;
      q = {q[0], num_heads, q[1], q[2] / num_heads};
      k = {k[0], num_kv_heads, k[1], k[2] / num_kv_heads};
      v = {v[0], num_kv_heads, v[1], v[2] / num_kv_heads};
    }
    const std::string queries = heads(0, num_heads);
    std::string keys = heads(1, num_kv_heads);
    std::string values = heads(2, num_kv_heads);
    std::int64_t past = 0;
    if (has(4)) {
      past = extents(4).at(2);
      keys = emit("Concat", {in(4), keys}, {{"axis", std::int64_t{2}}});
      values = emit("Concat", {in(5), values}, {{"axis", std::int64_t{2}}});
      k[2] += past;
      v[2] += past;
    }
    if (gives(1)) give(1, keys);
    if (gives(2)) give(2, values);
    const std::int64_t group = num_heads / num_kv_heads;
    keys = repeated(keys, k, group);
    values = repeated(values, v, group);
    std::string scores = emit("MatMul", {queries, transposed(keys, {0, 1, 3, 2})});
    const float plain = 1 / std::sqrt(static_cast<float>(q[3]));
    scores = emit("Mul", {scores, number(dtype, node_->float_attribute("scale", plain))});
    if (const float cap = node_->float_attribute("softcap", 0); cap != 0) {
      const std::string bounded = emit("Tanh", {emit("Div", {scores, number(dtype, cap)})});
      scores = emit("Mul", {bounded, number(dtype, cap)});
    }
    const std::string bias = attention_bias(dtype, q[2], k[2], past);
    if (!bias.empty()) scores = emit("Add", {scores, bias});
    std::string weights = emit("Softmax", {scores}, {{"axis", std::int64_t{-1}}});
    if (has(3)) {
      // A row that is masked as a whole has weights of 0, where Softmax alone has no numbers.
      std::vector<std::pair<const char*, AttributeValue>> attributes{{"keepdims", std::int64_t{1}}};
      std::vector<std::string> inputs{bias};
      if (graph_.opset() >= 18) {
        inputs.push_back(graph_.integers({-1}));
      } else {
        attributes.emplace_back("axes", Ints{-1});
      }
      const std::string most = emit("ReduceMax", inputs, attributes);
      const std::string is_masked = emit("Equal", {most, graph_.constant(neutral_number(dtype, Neutral::kLowest))});
      weights = emit("Where", {is_masked, number(dtype, 0), weights});
    }
    std::string y = emit("MatMul", {weights, values});
    if (rank == 3) y = graph_.reshape(transposed(y, {0, 2, 1, 3}), {q[0], q[2], num_heads * v[3]});
    give(0, y);
    return true;
  }

  /// What is added to the scores: the mask, and minus infinity for keys behind the query. Empty: nothing.
  std::string attention_bias(DType dtype, std::int64_t seq_len, std::int64_t kv_len, std::int64_t past) {
    const std::string lowest = graph_.constant(neutral_number(dtype, Neutral::kLowest));
    const std::string zero = number(dtype, 0);
    std::string bias;
    if (has(3)) {
      bias = in(3);
      if (dtype_of(3) == DType::kBool) {
        bias = emit("Where", {bias, zero, lowest});
      } else if (dtype_of(3) != dtype) {
        bias = emit("Cast", {bias}, {{"to", static_cast<std::int64_t>(dtype)}});
      }
      const Ints shape = extents(3);
      if (!shape.empty() && shape.back() != kv_len && shape.back() != 1) {
        // Keys past the mask are hidden.
        Ints pads(2 * shape.size(), 0);
        pads.back() = kv_len - shape.back();
        bias = emit("Pad", {bias, graph_.integers(pads), lowest});
      }
    }
    if (node_->int_attribute("is_causal", 0) != 0) {
      const std::string last =
          graph_.reshape(emit("Add", {graph_.range(seq_len), graph_.integers({past})}), {seq_len, 1});
      const std::string is_behind = emit("Less", {last, graph_.reshape(graph_.range(kv_len), {1, kv_len})});
      const std::string causal = emit("Where", {is_behind, lowest, zero});
      bias = bias.empty() ? causal : emit("Add", {bias, causal});
    }
    return bias;
  }

  // Einsum -----------------------------------------------------------------------------------------------------------

  bool einsum() {
    std::string equation = node_->string_attribute("equation", "");
    std::erase(equation, ' ');
    const std::size_t arrow = equation.find("->");
    const std::string left = equation.substr(0, arrow);
    const std::size_t comma = left.find(',');
    const bool is_pair = comma != std::string::npos;
    if (node_->inputs.size() != (is_pair ? 2U : 1U) || !is_floating_point(dtype_of(0))) return false;
    std::vector<std::string> terms{left.substr(0, comma)};
    if (is_pair) terms.push_back(left.substr(comma + 1));
    std::map<char, std::int64_t> sizes;
    std::map<char, int> num_uses;
    for (std::size_t i = 0; i < terms.size(); ++i) {
      const Ints shape = extents(i);
      if (terms[i].size() != shape.size()) return false;
      for (std::size_t axis = 0; axis < shape.size(); ++axis) {
        const char letter = terms[i][axis];
        if (std::isalpha(static_cast<unsigned char>(letter)) == 0) return false;
        // The diagonal of an operand, or an extent of 1 that is repeated.
        if (std::count(terms[i].begin(), terms[i].end(), letter) != 1) return false;
        const auto [found, is_new] = sizes.emplace(letter, shape[axis]);
        if (!is_new && found->second != shape[axis]) return false;
        ++num_uses[letter];
      }
    }
    std::string result;
    if (arrow != std::string::npos) {
      result = equation.substr(arrow + 2);
    } else {
      for (const auto& [letter, uses] : num_uses) {
        if (uses == 1) result += letter;
      }
    }
    for (const char letter : result) {
      if (sizes.count(letter) == 0 || std::count(result.begin(), result.end(), letter) != 1) return false;
    }
    const auto is_in = [](const std::string& term, char letter) { return term.find(letter) != std::string::npos; };
    // What only one operand has and the result has not is summed first.
    std::vector<std::string> values;
    for (std::size_t i = 0; i < terms.size(); ++i) {
      std::string kept;
      Ints summed;
      for (std::size_t axis = 0; axis < terms[i].size(); ++axis) {
        const char letter = terms[i][axis];
        const bool is_shared = is_pair && is_in(terms[1 - i], letter);
        if (is_in(result, letter) || is_shared) {
          kept += letter;
        } else {
          summed.push_back(static_cast<std::int64_t>(axis));
        }
      }
      values.push_back(summed.empty() ? in(i) : sum_over(in(i), summed));
      terms[i] = kept;
    }
    const auto order_of = [](const std::string& from, const std::string& to) {
      Ints order;
      for (const char letter : to) order.push_back(static_cast<std::int64_t>(from.find(letter)));
      return order;
    };
    if (!is_pair) {
      give(0, transposed(values[0], order_of(terms[0], result)));
      return true;
    }
    std::string batch;
    std::string rows;
    std::string inner;
    std::string columns;
    for (const char letter : terms[0]) {
      const bool is_shared = is_in(terms[1], letter);
      (is_shared ? (is_in(result, letter) ? batch : inner) : rows) += letter;
    }
    for (const char letter : terms[1]) {
      if (!is_in(terms[0], letter)) columns += letter;
    }
    const auto product = [&](const std::string& letters) {
      std::int64_t total = 1;
      for (const char letter : letters) total *= sizes[letter];
      return total;
    };
    const auto matrix = [&](std::size_t i, const std::string& first, const std::string& second) {
      const std::string ordered = transposed(values[i], order_of(terms[i], batch + first + second));
      return graph_.reshape(ordered, {product(batch), product(first), product(second)});
    };
    const std::string y = emit("MatMul", {matrix(0, rows, inner), matrix(1, inner, columns)});
    const std::string found = batch + rows + columns;
    Ints shape;
    for (const char letter : found) shape.push_back(sizes[letter]);
    give(0, transposed(graph_.reshape(y, shape), order_of(found, result)));
    return true;
  }

  std::string sum_over(const std::string& value, const Ints& axes) {
    if (graph_.opset() < 13) {
      return emit("ReduceSum", {value}, {{"keepdims", std::int64_t{0}}, {"axes", axes}});
    }
    return emit("ReduceSum", {value, graph_.integers(axes)}, {{"keepdims", std::int64_t{0}}});
  }

  // Normalisation ----------------------------------------------------------------------------------------------------

  /// A group is an instance of its own; scale and bias are of channels, before opset 21 of groups.
  bool group_normalization() {
    const Ints x = extents(0);
    const std::int64_t num_groups = node_->int_attribute("num_groups", 0);
    if (x.size() < 3 || num_groups < 1 || x[1] % num_groups != 0 || !has(1) || !has(2)) return false;
    const DType dtype = dtype_of(0);
    const std::int64_t size = std::accumulate(x.begin() + 1, x.end(), std::int64_t{1}, std::multiplies<>());
    const auto all = [&](float value) {
      const std::vector<float> values(static_cast<std::size_t>(num_groups), value);
      return graph_.constant(narrowed(Tensor::of<float>({num_groups}, values), dtype));
    };
    std::string y = graph_.reshape(in(0), {x[0], num_groups, size / num_groups});
    y = emit("InstanceNormalization", {y, all(1), all(0)}, {{"epsilon", node_->float_attribute("epsilon", 1e-5F)}});
    y = graph_.reshape(y, x);
    const auto by_channel = [&](std::size_t input) {
      std::string value = in(input);
      const std::int64_t given = extents(input).at(0);
      if (given != x[1]) {
        value = emit("Expand", {graph_.reshape(value, {given, 1}), graph_.integers({given, x[1] / given})});
      }
      Ints shape(x.size() - 1, 1);
      shape[0] = x[1];
      return graph_.reshape(value, shape);
    };
    if (x[1] % extents(1).at(0) != 0 || x[1] % extents(2).at(0) != 0) return false;
    give(0, emit("Add", {emit("Mul", {y, by_channel(1)}), by_channel(2)}));
    return true;
  }

  CountedGraph& graph_;
  const Node* node_ = nullptr;
};

}  // namespace

std::optional<Model> expand_operators(const Model& model, const ConstantTable& constants) {
  const auto& nodes = model.graph.nodes;
  if (!std::any_of(nodes.begin(), nodes.end(), is_short)) return {};
  Model slim = without_large_constants(model, constants);
  std::shared_ptr<const GraphFacts> facts = infer_facts(slim);
  CountedGraph graph(std::move(slim), std::move(facts), {});
  Expander expander(graph);
  for (const Node& node : nodes) {
    if (!is_short(node) || !expander.expand(node)) graph.push(node);
  }
  Model made = graph.finish(model.graph.outputs);
  made.graph.value_infos = model.graph.value_infos;
  restore_constants(made, model);
  return made;
}

}  // namespace pajamas::cuda
