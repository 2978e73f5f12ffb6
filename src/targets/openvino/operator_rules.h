// What single operators may not do on OpenVINO: one function a rule, each for something that the conformance run shows
// computed otherwise than ONNX says. The table that names them is in allow_list.cpp.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "graph/graph.h"

namespace pajamas::openvino {

/// What is known of the values that a graph's nodes can see, outer graphs included. Refers to the model's graph, which
/// must stay as it is.
class ValueScope {
 public:
  explicit ValueScope(const Graph& graph, const ValueScope* outer = nullptr);
  /// The tensor of an initializer or Constant node; nullptr when the value is computed or fed.
  const Tensor* constant(std::string_view name) const;
  /// Element type where declared or constant; kUndefined otherwise.
  DType dtype(std::string_view name) const;
  /// Declared shape; nullptr when nothing is declared.
  const std::vector<Dimension>* shape(std::string_view name) const;

 private:
  const ValueScope* outer_;
  std::map<std::string, const Tensor*, std::less<>> constants_;
  std::map<std::string, const ValueType*, std::less<>> types_;
};

/// A node with what its rule may look at.
struct RuleContext {
  const Node& node;
  const ValueScope& scope;
  std::int64_t opset;

  bool has_input(std::size_t index) const { return index < node.inputs.size() && !node.inputs[index].empty(); }
  bool has_output(std::size_t index) const { return index < node.outputs.size() && !node.outputs[index].empty(); }
  /// Constant at an input; nullptr when absent or computed.
  const Tensor* constant(std::size_t index) const {
    return has_input(index) ? scope.constant(node.inputs[index]) : nullptr;
  }
};

/// Why a node is refused, as a clause after "Resize node 'x': "; nothing when it may pass.
using Refusal = std::optional<std::string>;
using OperatorRule = Refusal (*)(const RuleContext&);

Refusal check_attention(const RuleContext& context);
Refusal check_batch_normalization(const RuleContext& context);
Refusal check_bit_shift(const RuleContext& context);
Refusal check_cast(const RuleContext& context);
Refusal check_cast_like(const RuleContext& context);
Refusal check_dropout(const RuleContext& context);
/// pajamas.PagedAttention: no softcap; the inputs that describe the sequences are those of the graph, because the
/// session checks them there.
Refusal check_paged_attention(const RuleContext& context);
Refusal check_pooling(const RuleContext& context);
Refusal check_quantize(const RuleContext& context);
Refusal check_recurrent(const RuleContext& context);
Refusal check_resize(const RuleContext& context);
Refusal check_roi_align(const RuleContext& context);
Refusal check_space_to_depth(const RuleContext& context);
Refusal check_tile(const RuleContext& context);

}  // namespace pajamas::openvino
