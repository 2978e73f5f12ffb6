// Element types of the standard operators: which type variable each input and output has, and what it may be.
// Generated from the onnx package (tools/make_operator_types). Versions and counts are in operator_table.h.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "graph/graph.h"

namespace pajamas {

/// One version of one operator's types.
class OperatorTypes {
 public:
  /// Name of the type variable of an input or output; empty past the list and for members of mixed variadic lists. A
  /// fixed type has a name of its own ("=float32" in spirit), so equal names always mean equal types.
  std::string_view input_variable(std::size_t index) const { return variable(inputs_, index); }
  std::string_view output_variable(std::size_t index) const { return variable(outputs_, index); }
  /// Whether the variable may be `dtype`; false for an unknown name.
  bool allows(std::string_view variable_name, DType dtype) const;
  /// The only element type of the variable, or kUndefined when it has several or is no tensor.
  DType only_type(std::string_view variable_name) const;

 private:
  friend class OperatorTypesTable;
  static std::string_view variable(const std::vector<std::string_view>& list, std::size_t index);
  int since_version_ = 0;
  std::vector<std::string_view> inputs_;  ///< A trailing '*' marks the variadic last one.
  std::vector<std::string_view> outputs_;
  std::vector<std::pair<std::string_view, std::string_view>> variables_;  ///< Name, letters of the types.
};

/// Types of the operator of the default domain as `opset` selects it, or nullptr when the opset has none. The result
/// lives as long as the program.
const OperatorTypes* find_operator_types(std::string_view name, std::int64_t opset);

}  // namespace pajamas
