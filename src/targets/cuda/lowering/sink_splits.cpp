// See sink_splits.h.
#include "targets/cuda/lowering/sink_splits.h"

#include <algorithm>
#include <numeric>
#include <set>

#include "graph/passes/pass.h"
#include "graph/shape_inference.h"
#include "targets/cuda/lowering/graph_context.h"

namespace pajamas::cuda {

namespace {

using Extents = std::vector<std::int64_t>;

class Sinker {
 public:
  Sinker(const Model& model, const ConstantTable& constants)
      : result_(model),
        facts_(infer_facts(without_large_constants(model, constants))),
        uses_(model.graph),
        names_(model.graph) {}

  Model sink() {
    const std::vector<Node> nodes = result_.graph.nodes;
    nodes_ = &nodes;
    std::vector<std::vector<Node>> instead(nodes.size());
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      const Node& split = nodes[i];
      if (!split.is("Split") || std::count(split.outputs.begin(), split.outputs.end(), "") != 0) continue;
      const Node* concat = sole_producer(split.inputs[0]);
      if (concat == nullptr || !concat->is("Concat")) continue;
      const auto whole = extents_of(split.inputs[0]);
      if (!whole) continue;
      const std::size_t axis = axis_in(split.int_attribute("axis", 0), whole->size());
      if (axis_in(concat->int_attribute("axis", 0), whole->size()) == axis) continue;
      Extents sizes;
      bool is_known = true;
      for (const std::string& output : split.outputs) {
        const auto part = extents_of(output);
        is_known = is_known && part && part->size() == whole->size() && (*part)[axis] > 0;
        if (is_known) sizes.push_back((*part)[axis]);
      }
      if (!is_known || !can_split(split.inputs[0], axis, sizes)) continue;
      made_ = &instead[i];
      const auto parts = split_of(split.inputs[0], axis, sizes);
      for (std::size_t k = 0; k < parts.size(); ++k) {
        const auto maker =
            std::find_if(made_->begin(), made_->end(), [&](const Node& node) { return node.outputs[0] == parts[k]; });
        if (maker == made_->end()) {
          append("Identity", {parts[k]}).outputs = {split.outputs[k]};
        } else {
          maker->outputs = {split.outputs[k]};
        }
      }
      gone_.insert(&split);
    }
    if (gone_.empty()) return std::move(result_);
    result_.graph.nodes.clear();
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      for (Node& node : instead[i]) result_.graph.nodes.push_back(std::move(node));
      if (gone_.count(&nodes[i]) == 0) result_.graph.nodes.push_back(nodes[i]);
    }
    return std::move(result_);
  }

 private:
  static std::size_t axis_in(std::int64_t axis, std::size_t rank) {
    return static_cast<std::size_t>(axis < 0 ? axis + static_cast<std::int64_t>(rank) : axis);
  }

  std::optional<Extents> extents_of(const std::string& name) const {
    const ValueFact* fact = facts_->find(name);
    if (fact == nullptr) return {};
    const auto shape = fact->static_shape();
    return shape ? std::optional(shape->extents()) : std::nullopt;
  }

  /// The node that makes a value which has one use, or nullptr.
  const Node* sole_producer(const std::string& name) const {
    const int index = uses_.producer(name);
    if (index < 0 || uses_.num_uses(name) != 1 || uses_.is_graph_output(name)) return nullptr;
    return &(*nodes_)[static_cast<std::size_t>(index)];
  }

  /// The axis of a Reshape's input that is the output's `axis` as a whole; nothing where there is none.
  static std::optional<std::size_t> axis_before(const Extents& in, const Extents& out, std::size_t axis) {
    const auto product = [](auto begin, auto end) {
      return std::accumulate(begin, end, std::int64_t{1}, std::multiplies<>());
    };
    const std::int64_t outer = product(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(axis));
    for (std::size_t i = 0; i < in.size(); ++i) {
      if (in[i] == out[axis] && product(in.begin(), in.begin() + static_cast<std::ptrdiff_t>(i)) == outer) return i;
    }
    return {};
  }

  /// Inputs of a Concat that make up each part, when parts end where inputs end.
  std::optional<std::vector<std::vector<std::string>>> inputs_by_part(const Node& concat, std::size_t axis,
                                                                      const Extents& sizes) const {
    std::vector<std::vector<std::string>> parts;
    std::size_t next = 0;
    for (const std::int64_t size : sizes) {
      std::int64_t held = 0;
      parts.emplace_back();
      while (held < size && next < concat.inputs.size()) {
        const auto extents = extents_of(concat.inputs[next]);
        if (!extents) return {};
        held += (*extents)[axis];
        parts.back().push_back(concat.inputs[next++]);
      }
      if (held != size) return {};
    }
    if (next != concat.inputs.size()) return {};
    return parts;
  }

  bool can_split(const std::string& name, std::size_t axis, const Extents& sizes) const {
    const Node* node = sole_producer(name);
    const auto extents = extents_of(name);
    if (node == nullptr || !extents) return false;
    if (node->is("Concat")) {
      const std::size_t along = axis_in(node->int_attribute("axis", 0), extents->size());
      if (along == axis) return inputs_by_part(*node, axis, sizes).has_value();
      return std::all_of(node->inputs.begin(), node->inputs.end(),
                         [&](const std::string& input) { return can_split(input, axis, sizes); });
    }
    if (!node->is("Reshape")) return false;
    const auto in = extents_of(node->inputs[0]);
    if (!in || std::count(in->begin(), in->end(), 0) != 0) return false;
    const auto before = axis_before(*in, *extents, axis);
    return before && can_split(node->inputs[0], *before, sizes);
  }

  Node& append(const char* type, std::vector<std::string> inputs) {
    Node node;
    node.op_type = type;
    node.inputs = std::move(inputs);
    node.outputs = {names_.take(node.inputs[0] + "/part")};
    made_->push_back(std::move(node));
    return made_->back();
  }

  /// The parts by name, after can_split said yes.
  std::vector<std::string> split_of(const std::string& name, std::size_t axis, const Extents& sizes) {
    const Node& node = *sole_producer(name);
    const Extents extents = *extents_of(name);
    gone_.insert(&node);
    std::vector<std::string> parts;
    if (node.is("Concat")) {
      const std::int64_t along = node.int_attribute("axis", 0);
      const auto join = [&](std::size_t part, std::vector<std::string> inputs) {
        Node& joined = append("Concat", std::move(inputs));
        joined.name = label(node) + "_" + std::to_string(part);
        joined.set_attribute("axis", along);
        return joined.outputs[0];
      };
      if (axis_in(along, extents.size()) == axis) {
        const auto inputs = *inputs_by_part(node, axis, sizes);
        for (std::size_t k = 0; k < inputs.size(); ++k) {
          parts.push_back(inputs[k].size() == 1 ? inputs[k][0] : join(k, inputs[k]));
        }
        return parts;
      }
      std::vector<std::vector<std::string>> inputs(sizes.size());
      for (const std::string& input : node.inputs) {
        const auto of_input = split_of(input, axis, sizes);
        for (std::size_t k = 0; k < sizes.size(); ++k) inputs[k].push_back(of_input[k]);
      }
      for (std::size_t k = 0; k < sizes.size(); ++k) parts.push_back(join(k, inputs[k]));
      return parts;
    }
    const auto of_input = split_of(node.inputs[0], *axis_before(*extents_of(node.inputs[0]), extents, axis), sizes);
    for (std::size_t k = 0; k < sizes.size(); ++k) {
      Extents shape = extents;
      shape[axis] = sizes[k];
      const std::string constant = names_.take(name + "/shape");
      result_.graph.set_initializer(constant, Tensor::of<std::int64_t>({static_cast<std::int64_t>(shape.size())},
                                                                       std::span<const std::int64_t>(shape)));
      Node& reshaped = append("Reshape", {of_input[k], constant});
      reshaped.name = label(node) + "_" + std::to_string(k);
      parts.push_back(reshaped.outputs[0]);
    }
    return parts;
  }

  static std::string label(const Node& node) { return node.name.empty() ? node.outputs[0] : node.name; }

  Model result_;
  const std::unique_ptr<const GraphFacts> facts_;
  const ValueUses uses_;
  NameSet names_;
  const std::vector<Node>* nodes_ = nullptr;
  std::vector<Node>* made_ = nullptr;
  std::set<const Node*> gone_;
};

}  // namespace

Model with_sunk_splits(const Model& model, const ConstantTable& constants) {
  // Reshape takes its shape as an input from opset 5 on.
  const auto& nodes = model.graph.nodes;
  const bool has_any = std::any_of(nodes.begin(), nodes.end(), [](const Node& node) { return node.is("Split"); });
  if (!has_any || model.opset() < 5) return model;
  return Sinker(model, constants).sink();
}

}  // namespace pajamas::cuda
