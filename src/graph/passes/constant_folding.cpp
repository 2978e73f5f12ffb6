// Evaluation of nodes on constants and on known extents. See passes.h.
#include <algorithm>

#include "graph/interpreter.h"
#include "graph/passes/passes.h"
#include "graph/shape_inference.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

class Folder {
 public:
  Folder(const Model& model, const FoldingOptions& options, PassReport& report)
      : opset_(model.opset_of("").value_or(0)), options_(options), report_(report) {}

  void fold(Graph& graph, const GraphFacts& facts, const Constants* outer) {
    Constants constants(graph, outer);
    const auto outputs = output_names(graph);
    std::vector<Node> kept;
    kept.reserve(graph.nodes.size());
    for (Node& node : graph.nodes) {
      for (Graph* nested : nested_graphs(node)) {
        if (const GraphFacts* inner = facts.nested(nested)) fold(*nested, *inner, &constants);
      }
      const bool may_go = !gives_graph_output(node, outputs) && !has_nested_graphs(node);
      std::vector<Tensor> results;
      if (!may_go || !(from_extents(node, facts, results) || from_constants(node, constants, results))) {
        kept.push_back(std::move(node));
        continue;
      }
      for (std::size_t i = 0; i < node.outputs.size(); ++i) {
        if (node.outputs[i].empty()) continue;
        constants.add(node.outputs[i], results[i]);
        graph.initializers.push_back(Initializer{node.outputs[i], std::move(results[i]), {}, {}});
      }
      report_.count(node.op_type);
    }
    graph.nodes = std::move(kept);
  }

 private:
  /// Integers that shape inference knows although the node's inputs are not constants.
  static bool from_extents(const Node& node, const GraphFacts& facts, std::vector<Tensor>& results) {
    if (node.outputs.size() != 1 || node.outputs[0].empty()) return false;
    const ValueFact* fact = facts.find(node.outputs[0]);
    if (fact == nullptr || (fact->dtype != DType::kInt64 && fact->dtype != DType::kInt32)) return false;
    const auto values = fact->known_elements();
    const auto shape = fact->static_shape();
    if (!values || !shape || shape->num_elements() != static_cast<std::int64_t>(values->size())) return false;
    if (fact->dtype == DType::kInt64) {
      results.push_back(Tensor::of<std::int64_t>(*shape, *values));
    } else {
      const std::vector<std::int32_t> narrow(values->begin(), values->end());
      results.push_back(Tensor::of<std::int32_t>(*shape, narrow));
    }
    return true;
  }

  /// Biases stand as 32-bit integers in the files of ONNX Runtime's quantiser. Unlike weights they gain nothing by it,
  /// and TensorRT takes 8 bits and less only.
  static bool is_quantised_bias(const Node& node, const Constants& constants) {
    const Tensor* quantised = node.inputs.empty() ? nullptr : constants.find(node.inputs[0]);
    return quantised != nullptr && quantised->dtype() == DType::kInt32;
  }

  static bool is_half_weight(const Node& node, const Constants& constants) {
    if (!node.is("Cast") || node.inputs.empty()) return false;
    const Tensor* weight = constants.find(node.inputs[0]);
    return weight != nullptr && is_floating_point(weight->dtype()) && bits_of(weight->dtype()) <= 16 &&
           weight->shape().rank() >= 2;
  }

  bool from_constants(const Node& node, const Constants& constants, std::vector<Tensor>& results) {
    if (!can_evaluate(node, opset_) || node.is("Constant")) return false;
    if (node.is("DequantizeLinear") && !is_quantised_bias(node, constants)) return false;
    if (options_.keeps_half_weights && is_half_weight(node, constants)) return false;
    std::vector<const Tensor*> inputs;
    std::uint64_t input_bytes = 0;
    for (const std::string& input : node.inputs) {
      const Tensor* tensor = input.empty() ? nullptr : constants.find(input);
      if (!input.empty() && tensor == nullptr) return false;
      if (tensor != nullptr && tensor->dtype() != DType::kString) input_bytes += tensor->size_bytes();
      inputs.push_back(tensor);
    }
    EvaluationLimits limits;
    limits.max_output_bytes = input_bytes + options_.max_added_bytes;
    try {
      results = evaluate_node(node, inputs, opset_, limits);
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::kCancelled) throw;
      // It may sit in a branch that is never taken; whoever runs the graph will say if it does not.
      report_.note("not folded: " + std::string(error.what()));
      return false;
    }
    return true;
  }

  std::int64_t opset_;
  const FoldingOptions& options_;
  PassReport& report_;
};

}  // namespace

PassReport fold_constants(Model& model, const FoldingOptions& options) {
  PassReport report{"constant_folding", 0, {}, {}};
  const auto facts = infer_facts(model);
  Folder(model, options, report).fold(model.graph, *facts, nullptr);
  return report;
}

}  // namespace pajamas
