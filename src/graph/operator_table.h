// The standard ONNX operators and those of our own domain: which exist in which opset, with how many inputs and outputs
// and which attributes. The standard ones are generated from the onnx package (tools/make_operator_table); ours are
// written in operator_table.cpp and described in docs/language.md. The only place that knows operator versions. It says
// nothing of element types and shapes, nor of operators of other domains.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string_view>

namespace pajamas {

/// Domain of the project's own operators.
inline constexpr std::string_view kPajamasDomain = "pajamas";

/// Oldest opset of the default domain that is accepted; before it, operators broadcast by attribute.
inline constexpr std::int64_t kOldestOpset = 7;

struct AttributeSchema {
  std::string_view name;
  int type = 0;  ///< ONNX AttributeProto.AttributeType number.
  bool is_required = false;
};

/// One version of one operator. Views point to constants of the program.
struct OperatorSchema {
  /// Count of a variadic list without an upper limit.
  static constexpr int kAny = std::numeric_limits<int>::max();

  std::string_view domain;  ///< "" is ai.onnx.
  std::string_view name;
  int since_version = 0;
  int min_inputs = 0;
  int max_inputs = 0;
  int min_outputs = 0;
  int max_outputs = 0;
  std::uint32_t required_inputs = 0;  ///< Bit i: input i may not be omitted.
  bool is_deprecated = false;         ///< From this version on the operator is gone.
  std::string_view attribute_text;    ///< "name:letter" or, when required, "name!letter", joined by blanks.

  std::optional<AttributeSchema> find_attribute(std::string_view attribute_name) const;
  /// Calls `visit(const AttributeSchema&)` for each attribute.
  template <typename Visit>
  void for_each_attribute(const Visit& visit) const;
};

/// The version of the operator that `opset` selects, deprecated ones included; nullptr when the opset has none.
/// "ai.onnx" is the same domain as "".
const OperatorSchema* find_operator(std::string_view domain, std::string_view name, std::int64_t opset);

/// The first version of the operator, or nullptr when no known opset has it.
const OperatorSchema* find_first_version(std::string_view domain, std::string_view name);

/// Newest known version of a standard domain or our own; 0 for any other domain.
std::int64_t newest_opset(std::string_view domain);

/// All rows, by domain, name and version.
std::span<const OperatorSchema> all_operators();

/// "float", "list of integers", ...: how messages name an ONNX attribute type.
const char* attribute_type_name(int type);

/// Splits the next attribute off `text`; nothing at the end. Implementation of for_each_attribute.
std::optional<AttributeSchema> take_attribute(std::string_view& text);

template <typename Visit>
void OperatorSchema::for_each_attribute(const Visit& visit) const {
  std::string_view text = attribute_text;
  while (const auto attribute = take_attribute(text)) visit(*attribute);
}

}  // namespace pajamas
