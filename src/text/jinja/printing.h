// Values to text: str(), repr() and JSON, as Python writes them.
#pragma once

#include <string>

#include "text/jinja/value.h"

namespace pajamas::jinja {

/// str(value): what {{ value }} writes; undefined is empty.
std::string text_of(Runtime& runtime, const Value& value);
void append_text(Runtime& runtime, std::string& out, const Value& value);
/// repr(value)
std::string repr_of(Runtime& runtime, const Value& value);
/// ascii(value): repr with everything past ASCII escaped.
std::string ascii_of(Runtime& runtime, const Value& value);

struct JsonStyle {
  bool is_ascii_only = false;
  bool has_indent = false;  ///< One item a line, each level indented by `indent`.
  std::string indent;
  std::string item_separator = ", ";
  std::string key_separator = ": ";
  bool sorts_keys = false;
};
/// json.dumps(value). Throws Failure for what JSON cannot say (undefined, namespaces, generators ...).
std::string json_of(Runtime& runtime, const Value& value, const JsonStyle& style);

}  // namespace pajamas::jinja
