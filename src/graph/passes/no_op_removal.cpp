// Nodes that give back their input. See passes.h.
#include <algorithm>
#include <unordered_map>
#include <utility>
#include <variant>

#include "graph/passes/passes.h"
#include "graph/shape_inference.h"

namespace pajamas {
namespace {

bool is_one(const Tensor& tensor) {
  if (tensor.num_elements() != 1) return false;
  switch (tensor.dtype()) {
    case DType::kFloat32: return tensor.as<float>()[0] == 1.0F;
    case DType::kInt64: return tensor.as<std::int64_t>()[0] == 1;
    case DType::kInt32: return tensor.as<std::int32_t>()[0] == 1;
    default: return false;
  }
}

class Remover {
 public:
  Remover(const Model& model, PassReport& report) : opset_(model.opset_of("").value_or(0)), report_(report) {}

  void remove(Graph& graph, const GraphFacts& facts, const Constants* outer) {
    Constants constants(graph, outer);
    const auto outputs = output_names(graph);
    // Inputs, initializers and values of outer graphs have no producer here, so they cannot be renamed to an output.
    std::unordered_map<std::string, std::size_t> producer;
    for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
      for (const std::string& output : graph.nodes[i].outputs) producer[output] = i;
    }
    Renames renames;
    std::vector<bool> is_gone(graph.nodes.size(), false);
    Renames taken;  // Producers' outputs that took the name of a graph output.
    for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
      Node& node = graph.nodes[i];
      for (Graph* nested : nested_graphs(node)) {
        if (const GraphFacts* inner = facts.nested(nested)) remove(*nested, *inner, &constants);
      }
      if (node.is("Add") && node.inputs.size() == 2 && is_zeros(node.inputs[0], graph, producer)) {
        std::swap(node.inputs[0], node.inputs[1]);
      }
      const bool adds_zeros = (node.is("Add") || node.is("Sub")) && node.inputs.size() == 2 &&
                              is_zeros(node.inputs[1], graph, producer) && has_same_shape(node, facts);
      if (node.outputs.empty() || node.outputs[0].empty()) continue;
      if (!adds_zeros && !is_no_op(node, facts, constants)) continue;
      const std::string& out = node.outputs[0];
      std::string in = node.inputs[0];
      for (auto found = renames.find(in); found != renames.end(); found = renames.find(in)) in = found->second;
      if (outputs.count(out) != 0) {
        // The output keeps its name: the producer of the input takes it over.
        const auto from = producer.find(in);
        if (from == producer.end() || outputs.count(in) != 0) continue;
        renames[in] = out;
        taken[in] = out;
        producer[out] = from->second;
      } else {
        renames[out] = in;
      }
      is_gone[i] = true;
      report_.count(node.op_type);
    }
    if (renames.empty()) return;
    rename_uses(graph, renames);
    std::vector<Node> kept;
    kept.reserve(graph.nodes.size());
    for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
      if (is_gone[i]) continue;
      for (std::string& output : graph.nodes[i].outputs) {
        if (const auto found = taken.find(output); found != taken.end()) output = found->second;
      }
      kept.push_back(std::move(graph.nodes[i]));
    }
    graph.nodes = std::move(kept);
  }

 private:
  static bool has_same_shape(const Node& node, const GraphFacts& facts) {
    const ValueFact* in = facts.find(node.inputs[0]);
    const ValueFact* out = facts.find(node.outputs[0]);
    return in != nullptr && out != nullptr && in->shape && out->shape && *in->shape == *out->shape;
  }

  /// Whether a value is made by ConstantOfShape of zeros, as networks begin their sums and stand in for what is not
  /// there. (-0 + 0 is 0: the sign of a zero may change.)
  static bool is_zeros(const std::string& value, const Graph& graph,
                       const std::unordered_map<std::string, std::size_t>& producer) {
    const auto found = producer.find(value);
    if (found == producer.end() || !graph.nodes[found->second].is("ConstantOfShape")) return false;
    const Attribute* filled = graph.nodes[found->second].find_attribute("value");
    const Tensor* tensor = filled != nullptr ? std::get_if<Tensor>(&filled->value) : nullptr;
    if (filled == nullptr) return true;  // The default.
    if (tensor == nullptr) return false;
    return std::all_of(tensor->bytes().begin(), tensor->bytes().end(),
                       [](std::byte byte) { return byte == std::byte{}; });
  }

  bool is_no_op(const Node& node, const GraphFacts& facts, const Constants& constants) const {
    if (!(node.domain.empty() || node.domain == "ai.onnx") || node.inputs.empty() || node.inputs[0].empty()) {
      return false;
    }
    const std::string& type = node.op_type;
    const auto constant = [&](std::size_t index) {
      return index < node.inputs.size() && !node.inputs[index].empty() ? constants.find(node.inputs[index]) : nullptr;
    };
    const auto is_given = [&](std::size_t index) { return index < node.inputs.size() && !node.inputs[index].empty(); };
    if (type == "Identity") return true;
    if (type == "Dropout") {
      const bool has_mask = node.outputs.size() > 1 && !node.outputs[1].empty();
      const Tensor* training = constant(2);
      const bool is_inference = !is_given(2) || (training != nullptr && training->dtype() == DType::kBool &&
                                                 training->num_elements() == 1 && !training->as<bool>()[0]);
      return !has_mask && is_inference;
    }
    if (type == "Cast") {
      const DType from = facts.dtype_of(node.inputs[0]);
      return from != DType::kUndefined && from == static_cast<DType>(node.int_attribute("to", 0));
    }
    if (type == "CastLike") {
      const DType from = facts.dtype_of(node.inputs[0]);
      return from != DType::kUndefined && from == facts.dtype_of(node.inputs[1]);
    }
    if (type == "Transpose") {
      const auto order = node.ints_attribute("perm");
      for (std::size_t i = 0; i < order.size(); ++i) {
        if (order[i] != static_cast<std::int64_t>(i)) return false;
      }
      return !order.empty();
    }
    // Moves nothing when the shape stays.
    if (type == "Reshape" || type == "Flatten" || type == "Squeeze" || type == "Unsqueeze" || type == "Expand") {
      return has_same_shape(node, facts);
    }
    if (type == "Slice") return has_same_shape(node, facts) && steps_forward(constant(4), is_given(4));
    if (type == "Pad") {
      const Tensor* pads = constant(1);
      const auto attribute = node.ints_attribute("pads");
      const auto is_zero = [](std::int64_t pad) { return pad == 0; };
      if (opset_ < 11) return !attribute.empty() && std::all_of(attribute.begin(), attribute.end(), is_zero);
      if (pads == nullptr || pads->dtype() != DType::kInt64) return false;
      const auto values = pads->as<std::int64_t>();
      return std::all_of(values.begin(), values.end(), is_zero);
    }
    if (type == "Tile") {
      const Tensor* repeats = constant(1);
      if (repeats == nullptr || repeats->dtype() != DType::kInt64) return false;
      const auto values = repeats->as<std::int64_t>();
      return std::all_of(values.begin(), values.end(), [](std::int64_t repeat) { return repeat == 1; });
    }
    if (type == "Concat" || type == "Sum" || type == "Mean" || type == "Max" || type == "Min") {
      return node.inputs.size() == 1;
    }
    if (type == "Split") return node.outputs.size() == 1 && has_same_shape(node, facts);
    if (type == "Mul" || type == "Div") {
      const Tensor* factor = constant(1);
      return factor != nullptr && is_one(*factor) && has_same_shape(node, facts);
    }
    return false;
  }

  /// A Slice that keeps the shape with positive steps keeps the order too.
  bool steps_forward(const Tensor* steps, bool is_given) const {
    if (opset_ < 10 || !is_given) return true;
    if (steps == nullptr || steps->dtype() != DType::kInt64) return false;
    const auto values = steps->as<std::int64_t>();
    return std::all_of(values.begin(), values.end(), [](std::int64_t step) { return step > 0; });
  }

  std::int64_t opset_;
  PassReport& report_;
};

}  // namespace

PassReport remove_no_ops(Model& model) {
  PassReport report{"no_op_removal", 0, {}, {}};
  const auto facts = infer_facts(model);
  Remover(model, report).remove(model.graph, *facts, nullptr);
  return report;
}

}  // namespace pajamas
