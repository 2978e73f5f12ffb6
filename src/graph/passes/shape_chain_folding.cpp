// Shape arithmetic on extents that are not all known. See passes.h.
#include <algorithm>
#include <optional>

#include "graph/passes/passes.h"
#include "graph/shape_inference.h"

namespace pajamas {
namespace {

/// The target of a Reshape with 0 for axes that stay and -1 for one unknown, when that says the same.
std::optional<std::vector<std::int64_t>> constant_target(const ValueFact& in, const std::vector<Extent>& wanted) {
  std::vector<std::int64_t> target;
  int num_open = 0;
  bool has_zero = false;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const Extent& extent = wanted[i];
    if (extent.is_known()) {
      if (extent.value() == -1) ++num_open;
      has_zero = has_zero || extent.value() == 0;
      target.push_back(extent.value());
      continue;
    }
    // What is built of extents only is never negative, so it cannot mean -1.
    if (!extent.is_surely_non_negative()) return std::nullopt;
    if (in.shape && i < in.shape->size() && (*in.shape)[i] == extent) {
      target.push_back(0);
    } else {
      target.push_back(-1);
      ++num_open;
    }
  }
  // With a -1 the other extents must not be 0; a literal 0 copies an axis that may be.
  if (num_open > 1 || (num_open == 1 && has_zero)) return std::nullopt;
  return target;
}

class ChainFolder {
 public:
  ChainFolder(const Model& model, PassReport& report)
      : opset_(model.opset_of("").value_or(0)), report_(report), names_(model.graph) {}

  void fold(Graph& graph, const GraphFacts& facts, const Constants* outer) {
    Constants constants(graph, outer);
    for (Node& node : graph.nodes) {
      for (Graph* nested : nested_graphs(node)) {
        if (const GraphFacts* inner = facts.nested(nested)) fold(*nested, *inner, &constants);
      }
      if (node.is("Reshape") && node.inputs.size() == 2) reshape(graph, node, facts, constants);
      if (node.is("Resize") && node.inputs.size() == 4 && opset_ >= 18) resize(graph, node, facts, constants);
    }
  }

 private:
  void reshape(Graph& graph, Node& node, const GraphFacts& facts, const Constants& constants) {
    const ValueFact* in = facts.find(node.inputs[0]);
    const ValueFact* wanted = facts.find(node.inputs[1]);
    if (constants.find(node.inputs[1]) != nullptr || in == nullptr || wanted == nullptr || !wanted->elements) return;
    if (node.int_attribute("allowzero", 0) != 0) return;
    const auto target = constant_target(*in, *wanted->elements);
    if (!target) return;
    node.inputs[1] = add(graph, node, "target", *target);
    report_.count("reshape_targets");
  }

  /// Sizes of axes that do not change are dropped, so that the rest are constants: needs the attribute "axes".
  void resize(Graph& graph, Node& node, const GraphFacts& facts, const Constants& constants) {
    const ValueFact* in = facts.find(node.inputs[0]);
    const ValueFact* wanted = facts.find(node.inputs[3]);
    if (node.inputs[3].empty() || constants.find(node.inputs[3]) != nullptr || in == nullptr || !in->shape) return;
    if (wanted == nullptr || !wanted->elements || wanted->elements->size() != in->shape->size()) return;
    if (node.find_attribute("axes") != nullptr || !node.inputs[1].empty()) return;
    if (node.string_attribute("keep_aspect_ratio_policy", "stretch") != "stretch") return;
    std::vector<std::int64_t> axes;
    std::vector<std::int64_t> sizes;
    for (std::size_t i = 0; i < in->shape->size(); ++i) {
      const Extent& size = (*wanted->elements)[i];
      if (size == (*in->shape)[i]) continue;
      if (!size.is_known()) return;
      axes.push_back(static_cast<std::int64_t>(i));
      sizes.push_back(size.value());
    }
    if (axes.empty()) return;
    node.set_attribute("axes", axes);
    node.inputs[3] = add(graph, node, "sizes", sizes);
    report_.count("resize_sizes");
  }

  std::string add(Graph& graph, const Node& node, const char* what, const std::vector<std::int64_t>& values) {
    std::string name = names_.take(node.outputs[0] + "/" + what);
    graph.initializers.push_back(
        Initializer{name, Tensor::of<std::int64_t>({static_cast<std::int64_t>(values.size())}, values), {}, {}});
    return name;
  }

  std::int64_t opset_;
  PassReport& report_;
  NameSet names_;
};

}  // namespace

PassReport fold_shape_chains(Model& model) {
  PassReport report{"shape_chain_folding", 0, {}, {}};
  const auto facts = infer_facts(model);
  ChainFolder(model, report).fold(model.graph, *facts, nullptr);
  return report;
}

}  // namespace pajamas
