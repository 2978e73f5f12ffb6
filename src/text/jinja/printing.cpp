// See printing.h.
#include "text/jinja/printing.h"

#include <algorithm>
#include <cmath>

#include "text/jinja/numbers.h"
#include "text/jinja/operations.h"
#include "text/jinja/python_text.h"
#include "text/jinja/runtime.h"

namespace pajamas::jinja {

namespace {

void append_repr(Runtime& runtime, std::string& out, const Value& value);

void append_dict(Runtime& runtime, std::string& out, const Dict& dict) {
  out += '{';
  bool is_first = true;
  for (const auto& entry : dict.entries()) {
    if (!is_first) out += ", ";
    is_first = false;
    append_repr(runtime, out, entry.first);
    out += ": ";
    append_repr(runtime, out, entry.second);
  }
  out += '}';
}

void append_items(Runtime& runtime, std::string& out, const std::vector<Value>& items) {
  bool is_first = true;
  for (const Value& item : items) {
    if (!is_first) out += ", ";
    is_first = false;
    append_repr(runtime, out, item);
  }
}

void append_object(Runtime& runtime, std::string& out, const Value& value) {
  if (const auto* range = object_as<RangeObject>(value)) {
    out += "range(" + text_of_integer(range->start) + ", " + text_of_integer(range->stop);
    if (range->step != 1) out += ", " + text_of_integer(range->step);
    out += ')';
  } else if (const auto* view = object_as<DictViewObject>(value)) {
    out += view->type_name();
    out += "([";
    for (std::size_t i = 0; i < view->source.dict().size(); ++i) {
      if (i > 0) out += ", ";
      append_repr(runtime, out, view->element(runtime, i));
    }
    out += "])";
  } else if (const auto* space = object_as<NamespaceObject>(value)) {
    out += "<Namespace ";
    append_dict(runtime, out, space->attributes);
    out += '>';
  } else {
    out += runtime.describe(value);
  }
}

void append_repr(Runtime& runtime, std::string& out, const Value& value) {
  const DepthGuard guard(runtime.budget());
  runtime.budget().step();
  switch (value.kind()) {
    case Kind::kUndefined: out += "Undefined"; break;
    case Kind::kString:
      runtime.budget().step(value.text().size() / 8);
      out += value.is_markup() ? "Markup(" + repr_of_text(value.text()) + ")" : repr_of_text(value.text());
      break;
    case Kind::kList:
      out += '[';
      append_items(runtime, out, value.items());
      out += ']';
      break;
    case Kind::kTuple:
      out += '(';
      append_items(runtime, out, value.items());
      out += value.items().size() == 1 ? ",)" : ")";
      break;
    case Kind::kDict: append_dict(runtime, out, value.dict()); break;
    case Kind::kOther: append_object(runtime, out, value); break;
    default: append_text(runtime, out, value);
  }
  runtime.budget().check_text(out.size());
}

class JsonWriter {
 public:
  JsonWriter(Runtime& runtime, const JsonStyle& style) : runtime_(runtime), style_(style) {}

  void write(const Value& value, int level) {
    const DepthGuard guard(runtime_.budget());
    runtime_.budget().step();
    switch (value.kind()) {
      case Kind::kNone: out += "null"; break;
      case Kind::kBool: out += value.as_bool() ? "true" : "false"; break;
      case Kind::kInt: out += text_of_integer(value.as_int()); break;
      case Kind::kFloat: out += real(value.as_real()); break;
      case Kind::kString:
        runtime_.budget().step(value.text().size() / 8);
        append_json_text(out, value.text(), style_.is_ascii_only);
        break;
      case Kind::kList:
      case Kind::kTuple: write_array(value.items(), level); break;
      case Kind::kDict: write_object(value.dict(), level); break;
      default: fail(std::string("Object of type ") + value.type_name() + " is not JSON serializable");
    }
    runtime_.budget().check_text(out.size());
  }

  std::string out;

 private:
  static std::string real(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
    return repr_of_real(value);
  }

  void new_line(int level) {
    if (!style_.has_indent) return;
    // Before it is made: an indent of a million blanks is one for each level.
    runtime_.budget().check_text(out.size() + static_cast<std::size_t>(level) * style_.indent.size());
    out += '\n';
    for (int i = 0; i < level; ++i) out += style_.indent;
  }

  void write_array(const std::vector<Value>& items, int level) {
    if (items.empty()) {
      out += "[]";
      return;
    }
    out += '[';
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out += style_.item_separator;
      new_line(level + 1);
      write(items[i], level + 1);
    }
    new_line(level);
    out += ']';
  }

  std::string key_text(const Value& key) const {
    switch (key.kind()) {
      case Kind::kString: return key.text();
      case Kind::kNone: return "null";
      case Kind::kBool: return key.as_bool() ? "true" : "false";
      case Kind::kInt: return text_of_integer(key.as_int());
      case Kind::kFloat: return real(key.as_real());
      default: fail(std::string("keys must be str, int, float, bool or None, not ") + key.type_name());
    }
  }

  void write_object(const Dict& dict, int level) {
    if (dict.size() == 0) {
      out += "{}";
      return;
    }
    std::vector<const std::pair<Value, Value>*> entries;
    for (const auto& entry : dict.entries()) entries.push_back(&entry);
    if (style_.sorts_keys) {
      std::stable_sort(entries.begin(), entries.end(),
                       [&](const auto* a, const auto* b) { return is_less(runtime_, a->first, b->first); });
    }
    out += '{';
    for (std::size_t i = 0; i < entries.size(); ++i) {
      if (i > 0) out += style_.item_separator;
      new_line(level + 1);
      append_json_text(out, key_text(entries[i]->first), style_.is_ascii_only);
      out += style_.key_separator;
      write(entries[i]->second, level + 1);
    }
    new_line(level);
    out += '}';
  }

  Runtime& runtime_;
  const JsonStyle& style_;
};

}  // namespace

void append_text(Runtime& runtime, std::string& out, const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined: break;
    case Kind::kNone: out += "None"; break;
    case Kind::kBool: out += value.as_bool() ? "True" : "False"; break;
    case Kind::kInt: out += text_of_integer(value.as_int()); break;
    case Kind::kFloat: out += repr_of_real(value.as_real()); break;
    case Kind::kString: out += value.text(); break;
    default: append_repr(runtime, out, value);
  }
  runtime.budget().check_text(out.size());
}

std::string text_of(Runtime& runtime, const Value& value) {
  std::string out;
  append_text(runtime, out, value);
  return out;
}

std::string repr_of(Runtime& runtime, const Value& value) {
  std::string out;
  append_repr(runtime, out, value);
  return out;
}

std::string ascii_of(Runtime& runtime, const Value& value) {
  std::string out;
  const std::string text = repr_of(runtime, value);
  for (std::size_t position = 0; position < text.size();) {
    const char32_t c = next_char(text, position);
    if (c < 0x80) {
      out += static_cast<char>(c);
      continue;
    }
    const int num_digits = c <= 0xFF ? 2 : c <= 0xFFFF ? 4 : 8;
    const std::string digits = text_of_integer(static_cast<Int>(c), 16);
    out += c <= 0xFF ? "\\x" : c <= 0xFFFF ? "\\u" : "\\U";
    out += std::string(static_cast<std::size_t>(num_digits) - digits.size(), '0') + digits;
  }
  return out;
}

std::string json_of(Runtime& runtime, const Value& value, const JsonStyle& style) {
  JsonWriter writer(runtime, style);
  writer.write(value, 0);
  return std::move(writer.out);
}

}  // namespace pajamas::jinja
