// What a shape rule gets and gives. Internal to shape inference; one rule an operator, in rules_*.cpp.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "graph/shape_inference.h"

namespace pajamas::shape_rules {

using Extents = std::vector<Extent>;

/// One node under inference. Outputs arrive with their dtype set where the operator table tells it.
struct Site {
  const Node& node;
  std::int64_t opset;
  std::vector<const ValueFact*> inputs;  ///< nullptr: omitted or nothing known.
  std::vector<ValueFact> outputs;

  const ValueFact* input(std::size_t index) const { return index < inputs.size() ? inputs[index] : nullptr; }
  bool is_given(std::size_t index) const { return index < node.inputs.size() && !node.inputs[index].empty(); }
  /// The input's shape, or nullptr.
  const Extents* shape(std::size_t index) const;
  /// The input's elements, or nullptr.
  const Extents* elements(std::size_t index) const;
  /// Elements all known.
  std::optional<std::vector<std::int64_t>> constants(std::size_t index) const;
  /// Axes from an input (when given) or the attribute; nothing when an input's elements are unknown. Empty list when
  /// neither is there.
  std::optional<std::vector<std::int64_t>> axes(std::size_t input_index) const;
  void set_shape(std::size_t output, Extents shape) {
    if (output < outputs.size()) outputs[output].shape = std::move(shape);
  }
  void set_dtype(std::size_t output, DType dtype) {
    if (output < outputs.size()) outputs[output].dtype = dtype;
  }
  [[noreturn]] void fail(const std::string& why) const;
  /// Axis in [0, rank). Throws as fail.
  std::size_t axis(std::int64_t value, std::size_t rank) const;
  /// The extent that both are: throws as fail when both are known and differ.
  Extent merge(const Extent& a, const Extent& b, const char* what) const;
};

using Rule = void (*)(Site&);
using RuleTable = std::map<std::string, Rule, std::less<>>;

void add_elementwise_rules(RuleTable& table);
void add_movement_rules(RuleTable& table);
void add_compute_rules(RuleTable& table);
void add_selection_rules(RuleTable& table);

/// NumPy broadcasting; an unknown against 1 gives the unknown, against n > 1 gives n.
Extents broadcast(const Site& site, const Extents& a, const Extents& b);
Extents fresh_shape(std::size_t rank);
std::string to_string(const Extents& shape);

}  // namespace pajamas::shape_rules
