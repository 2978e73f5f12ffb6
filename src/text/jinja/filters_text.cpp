// Filters on texts and numbers, and tojson (filters.h).
#include <array>
#include <cmath>
#include <utility>

#include "text/jinja/ast.h"
#include "text/jinja/filters.h"
#include "text/jinja/numbers.h"
#include "text/jinja/operations.h"
#include "text/jinja/printing.h"
#include "text/jinja/python_text.h"
#include "text/unicode.h"

namespace pajamas::jinja {

namespace {

/// markupsafe's soft_str: texts as they are, others by str().
Value soft_text(Runtime& runtime, const Value& value) {
  return value.is_string() ? value : runtime.text(text_of(runtime, value));
}

Int integer_of(const Value& value) {
  if (value.is_undefined()) fail_undefined(value);
  if (!value.is_integral()) fail(std::string("'") + value.type_name() + "' object cannot be interpreted as an integer");
  return value.as_int();
}

/// A method of str as a filter without arguments of its own.
template <std::string (*kMap)(std::string_view)>
Value mapped(Runtime& runtime, const Value& value, const Arguments& arguments) {
  bind_arguments("this filter", arguments, {}, 0);
  const Value text = soft_text(runtime, value);
  runtime.budget().step(text.text().size() / 8);
  return runtime.text_like(text, kMap(text.text()));
}

/// jinja2's own title: a word begins behind a hyphen, white space and opening brackets.
std::string title_words(std::string_view text) {
  std::string out;
  const auto is_break = [](char32_t c) {
    return c == '-' || is_space(c) || c == '(' || c == '{' || c == '[' || c == '<';
  };
  for (std::size_t position = 0; position < text.size();) {
    const std::size_t begin = position;
    std::size_t first_end = position;
    const bool is_breaking = is_break(next_char(text, first_end));
    position = first_end;
    while (position < text.size()) {
      std::size_t next = position;
      if (is_break(next_char(text, next)) != is_breaking) break;
      position = next;
    }
    out += to_upper(text.substr(begin, first_end - begin));
    out += to_lower(text.substr(first_end, position - first_end));
  }
  return out;
}

Value trim_filter(Runtime& runtime, const Value& value, const Arguments& arguments) {
  const Value* chars = bind_arguments("trim", arguments, {"chars"}, 0)[0];
  const Value text = soft_text(runtime, value);
  std::optional<std::string_view> set;
  if (chars != nullptr && !chars->is_none()) {
    if (!chars->is_string()) fail("strip arg must be None or str");
    set = chars->text();
  }
  return runtime.text_like(text, std::string(strip(text.text(), set, true, true)));
}

Value string_filter(Runtime& runtime, const Value& value, const Arguments& arguments) {
  bind_arguments("string", arguments, {}, 0);
  return soft_text(runtime, value);
}

Value safe_filter(Runtime& runtime, const Value& value, const Arguments& arguments) {
  bind_arguments("safe", arguments, {}, 0);
  return runtime.text(text_of(runtime, value), true);
}

Value escape_filter(Runtime& runtime, const Value& value, const Arguments& arguments) {
  bind_arguments("escape", arguments, {}, 0);
  return value.is_markup() ? value : runtime.text(escape_html(text_of(runtime, value)), true);
}

Value forceescape_filter(Runtime& runtime, const Value& value, const Arguments& arguments) {
  bind_arguments("forceescape", arguments, {}, 0);
  return runtime.text(escape_html(text_of(runtime, value)), true);
}

Value replace_filter(Runtime& runtime, const Value& value, const Arguments& arguments) {
  const auto bound = bind_arguments("replace", arguments, {"old", "new", "count"}, 2);
  Arguments plain;
  plain.positional = {runtime.text(text_of(runtime, *bound[0])), runtime.text(text_of(runtime, *bound[1]))};
  if (bound[2] != nullptr && !bound[2]->is_none()) plain.positional.push_back(Value::integer(integer_of(*bound[2])));
  return find_string_method("replace")(runtime, runtime.text(text_of(runtime, value)), plain);
}

Value center_filter(Runtime& runtime, const Value& value, const Arguments& arguments) {
  const Value* width = bind_arguments("center", arguments, {"width"}, 0)[0];
  Arguments plain;
  plain.positional = {width == nullptr ? Value::integer(80) : *width};
  return find_string_method("center")(runtime, soft_text(runtime, value), plain);
}

Value format_filter(Runtime& runtime, const Value& value, const Arguments& arguments) {
  if (!arguments.positional.empty() && !arguments.named.empty()) {
    fail("can't handle positional and keyword arguments at the same time");
  }
  const Value text = soft_text(runtime, value);
  if (arguments.named.empty()) {
    return calculate(runtime, Operator::kModulo, text, runtime.tuple(arguments.positional));
  }
  Dict named;
  for (const auto& [name, argument] : arguments.named) named.set(runtime.text(name), argument);
  return calculate(runtime, Operator::kModulo, text, runtime.dict(std::move(named)));
}

Value indent_filter(Runtime& runtime, const Value& value, const Arguments& arguments) {
  const auto bound = bind_arguments("indent", arguments, {"width", "first", "blank"}, 0);
  std::string indention = "    ";
  if (bound[0] != nullptr) {
    if (bound[0]->is_string()) {
      indention = bound[0]->text();
    } else {
      const Int width = integer_of(*bound[0]);
      if (width > 10'000) fail("an indent of more than 10000 columns");
      indention = std::string(static_cast<std::size_t>(std::max<Int>(width, 0)), ' ');
    }
  }
  const bool is_first_indented = bound[1] != nullptr && is_true(*bound[1]);
  const bool are_blanks_indented = bound[2] != nullptr && is_true(*bound[2]);
  if (value.is_undefined()) fail_undefined(value);
  if (!value.is_string()) {
    fail(std::string("unsupported operand type(s) for +=: '") + value.type_name() + "' and 'str'");
  }
  const std::string text = value.text() + "\n";  // so that a last empty line counts
  std::string out = is_first_indented ? indention : "";
  bool is_first = true;
  for (const std::string_view line : split_lines(text, false)) {
    if (!is_first) {
      out += '\n';
      if (are_blanks_indented || !line.empty()) out += indention;
    }
    is_first = false;
    out += line;
    runtime.budget().check_text(out.size());
  }
  return runtime.text_like(value, std::move(out));
}

Value truncate_filter(Runtime& runtime, const Value& value, const Arguments& arguments) {
  const auto bound = bind_arguments("truncate", arguments, {"length", "killwords", "end", "leeway"}, 0);
  const Int length = bound[0] == nullptr ? 255 : integer_of(*bound[0]);
  const std::string end = bound[2] == nullptr ? "..." : text_of(runtime, *bound[2]);
  const Int leeway = bound[3] == nullptr || bound[3]->is_none() ? 5 : integer_of(*bound[3]);
  const auto end_length = static_cast<Int>(count_chars(end));
  if (length < end_length)
    fail("expected length >= " + text_of_integer(end_length) + ", got " + text_of_integer(length));
  if (leeway < 0) fail("expected leeway >= 0, got " + text_of_integer(leeway));
  const auto size = length_of(runtime, value);
  if (!size) fail(std::string("object of type '") + value.type_name() + "' has no len()");
  if (static_cast<Int>(*size) <= length + leeway) return value;
  if (!value.is_string()) fail("truncate needs a text");
  std::string text = value.text().substr(0, byte_offset(value.text(), static_cast<std::size_t>(length - end_length)));
  if (bound[1] == nullptr || !is_true(*bound[1])) text = text.substr(0, text.rfind(' '));
  return runtime.text_like(value, text + end);
}

Value wordcount_filter(Runtime& runtime, const Value& value, const Arguments& arguments) {
  bind_arguments("wordcount", arguments, {}, 0);
  const Value text = soft_text(runtime, value);
  Int count = 0;
  bool is_in_word = false;
  for (std::size_t position = 0; position < text.text().size();) {
    const bool is_part = is_word(next_char(text.text(), position));
    if (is_part && !is_in_word) ++count;
    is_in_word = is_part;
  }
  return Value::integer(count);
}

/// Markup.striptags without the entities, which no chat template has.
Value striptags_filter(Runtime& runtime, const Value& value, const Arguments& arguments) {
  bind_arguments("striptags", arguments, {}, 0);
  std::string text = text_of(runtime, value);
  if (text.find('&') != std::string::npos) fail("striptags of a text with entities is not supported");
  const auto remove = [&](std::string_view begin, std::string_view end) {
    std::string rest;
    std::size_t position = 0;
    while (true) {
      const std::size_t from = text.find(begin, position);
      const std::size_t to = from == std::string::npos ? from : text.find(end, from);
      if (to == std::string::npos) break;
      rest.append(text, position, from - position);
      position = to + end.size();
    }
    text = rest.append(text, position, std::string::npos);
  };
  remove("<!--", "-->");
  remove("<", ">");
  std::string out;
  bool is_after_space = false;
  for (std::size_t position = 0; position < text.size();) {
    const char32_t c = next_char(text, position);
    if (is_space(c)) {
      is_after_space = true;
      continue;
    }
    if (is_after_space && !out.empty()) out += ' ';
    is_after_space = false;
    append_utf8(out, c);
  }
  return runtime.text(std::move(out));
}

std::string url_quoted(std::string_view text, bool is_query) {
  std::string out;
  for (const char c : text) {
    const bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                          std::string_view("_.-~").find(c) != std::string_view::npos || (c == '/' && !is_query);
    if (is_plain) {
      out += c;
    } else if (c == ' ' && is_query) {
      out += '+';
    } else {
      const auto byte = static_cast<unsigned char>(c);
      out += {'%', "0123456789ABCDEF"[byte >> 4], "0123456789ABCDEF"[byte & 0xF]};
    }
  }
  return out;
}

Value urlencode_filter(Runtime& runtime, const Value& value, const Arguments& arguments) {
  bind_arguments("urlencode", arguments, {}, 0);
  if (value.is_string() || !is_iterable(value)) return runtime.text(url_quoted(text_of(runtime, value), false));
  std::string out;
  const auto add = [&](const Value& key, const Value& item) {
    if (!out.empty()) out += '&';
    out += url_quoted(text_of(runtime, key), true) + "=" + url_quoted(text_of(runtime, item), true);
  };
  if (value.is_dict()) {
    for (const auto& entry : value.dict().entries()) add(entry.first, entry.second);
  } else {
    for (const Value& pair : items_of(runtime, value)) {
      const std::vector<Value> parts = items_of(runtime, pair);
      if (parts.size() != 2) fail("urlencode needs pairs");
      add(parts[0], parts[1]);
    }
  }
  return runtime.text(std::move(out));
}

Value filesizeformat_filter(Runtime& runtime, const Value& value, const Arguments& arguments) {
  const Value* binary = bind_arguments("filesizeformat", arguments, {"binary"}, 0)[0];
  const bool is_binary = binary != nullptr && is_true(*binary);
  double size = 0;
  if (value.is_number()) {
    size = value.as_real();
  } else {
    const auto parsed = value.is_string() ? parse_real(value.text()) : std::nullopt;
    if (!parsed) fail("could not convert to float: " + repr_of(runtime, value));
    size = *parsed;
  }
  const double base = is_binary ? 1024 : 1000;
  if (size == 1) return runtime.text("1 Byte");
  if (size < base) return runtime.text(text_of_integer(integer_of_real(size)) + " Bytes");
  static constexpr std::string_view kPrefixes = "kMGTPEZY";
  double unit = base;
  for (std::size_t i = 0;; ++i) {
    unit *= base;
    if (size >= unit && i + 1 < kPrefixes.size()) continue;
    const char prefix = i == 0 && is_binary ? 'K' : kPrefixes[i];
    return runtime.text(formatted(runtime, Value::real(base * size / unit), ".1f") + " " + prefix +
                        (is_binary ? "iB" : "B"));
  }
}

Value int_filter(Runtime& runtime, const Value& value, const Arguments& arguments) {
  const auto bound = bind_arguments("int", arguments, {"default", "base"}, 0);
  const Value fallback = bound[0] == nullptr ? Value::integer(0) : *bound[0];
  if (value.is_undefined()) fail_undefined(value);
  if (value.is_integral()) return Value::integer(value.as_int());
  if (value.is_number()) {
    if (std::isinf(value.as_real())) fail("cannot convert float infinity to integer");
    return std::isfinite(value.as_real()) ? Value::integer(integer_of_real(value.as_real())) : fallback;
  }
  if (!value.is_string()) return fallback;
  runtime.budget().step(value.text().size() / 8);
  const Int base = bound[1] == nullptr ? 10 : integer_of(*bound[1]);
  if (base == 0 || (base >= 2 && base <= 36)) {
    if (const auto parsed = parse_integer(value.text(), static_cast<int>(base))) return Value::integer(*parsed);
  }
  const auto real = parse_real(value.text());
  if (!real || !std::isfinite(*real)) return fallback;
  return Value::integer(integer_of_real(*real));
}

Value float_filter(Runtime& runtime, const Value& value, const Arguments& arguments) {
  const Value* fallback = bind_arguments("float", arguments, {"default"}, 0)[0];
  if (value.is_undefined()) fail_undefined(value);
  if (value.is_number()) return Value::real(value.as_real());
  if (value.is_string()) {
    runtime.budget().step(value.text().size() / 8);
    if (const auto parsed = parse_real(value.text())) return Value::real(*parsed);
  }
  return fallback == nullptr ? Value::real(0) : *fallback;
}

Value abs_filter(Runtime&, const Value& value, const Arguments& arguments) {
  bind_arguments("abs", arguments, {}, 0);
  if (value.is_undefined()) fail_undefined(value);
  if (!value.is_number()) fail(std::string("bad operand type for abs(): '") + value.type_name() + "'");
  if (!value.is_integral()) return Value::real(std::fabs(value.as_real()));
  return value.as_int() < 0 ? negated(value) : Value::integer(value.as_int());
}

/// round() of an integer to tens, hundreds ...: halves to even.
Int rounded_integer(Int value, Int precision) {
  if (precision >= 0) return value;
  if (precision < -38) return 0;
  Int unit = 1;
  for (Int i = 0; i < -precision; ++i) unit *= 10;
  Int rest = value % unit;
  if (rest < 0) rest += unit;
  const Int below = value - rest;
  const bool is_up = rest > unit / 2 || (rest == unit / 2 && (below / unit) % 2 != 0);
  return is_up ? below + unit : below;
}

Value round_filter(Runtime& runtime, const Value& value, const Arguments& arguments) {
  const auto bound = bind_arguments("round", arguments, {"precision", "method"}, 0);
  const Int precision = bound[0] == nullptr ? 0 : integer_of(*bound[0]);
  const std::string method = bound[1] == nullptr ? "common" : text_of(runtime, *bound[1]);
  if (method != "common" && method != "ceil" && method != "floor") fail("method must be common, ceil or floor");
  if (value.is_undefined()) fail_undefined(value);
  if (!value.is_number()) fail(std::string("type ") + value.type_name() + " doesn't define __round__ method");
  if (precision > 1000 || precision < -1000) fail("round to more than 1000 digits");
  if (method == "common") {
    if (value.is_integral()) return Value::integer(rounded_integer(value.as_int(), precision));
    return Value::real(rounded(value.as_real(), static_cast<int>(precision)));
  }
  const Value unit = calculate(runtime, Operator::kPower, Value::integer(10), Value::integer(precision));
  const Value scaled = calculate(runtime, Operator::kMultiply, value, unit);
  Value whole = scaled;
  if (!scaled.is_integral()) {
    whole =
        Value::integer(integer_of_real(method == "ceil" ? std::ceil(scaled.as_real()) : std::floor(scaled.as_real())));
  }
  return calculate(runtime, Operator::kDivide, whole, unit);
}

Value tojson_filter(Runtime& runtime, const Value& value, const Arguments& arguments) {
  const auto bound = bind_arguments("tojson", arguments, {"ensure_ascii", "indent", "separators", "sort_keys"}, 0);
  JsonStyle style;
  style.is_ascii_only = bound[0] != nullptr && is_true(*bound[0]);
  if (bound[1] != nullptr && !bound[1]->is_none()) {
    style.has_indent = true;
    style.item_separator = ",";
    if (bound[1]->is_string()) {
      style.indent = bound[1]->text();
    } else {
      const Int width = integer_of(*bound[1]);
      if (width > 1000) fail("an indent of more than 1000 columns");
      style.indent = std::string(static_cast<std::size_t>(std::max<Int>(width, 0)), ' ');
    }
  }
  if (bound[2] != nullptr && !bound[2]->is_none()) {
    const std::vector<Value> separators = items_of(runtime, *bound[2]);
    if (separators.size() != 2 || !separators[0].is_string() || !separators[1].is_string()) {
      fail("separators must be two texts");
    }
    style.item_separator = separators[0].text();
    style.key_separator = separators[1].text();
  }
  style.sorts_keys = bound[3] != nullptr && is_true(*bound[3]);
  return runtime.text(json_of(runtime, value, style));
}

struct Row {
  std::string_view name;
  Filter filter;
};

constexpr std::array kFilters = {
    Row{"abs", abs_filter},
    Row{"capitalize", mapped<to_capitalized>},
    Row{"center", center_filter},
    Row{"e", escape_filter},
    Row{"escape", escape_filter},
    Row{"filesizeformat", filesizeformat_filter},
    Row{"float", float_filter},
    Row{"forceescape", forceescape_filter},
    Row{"format", format_filter},
    Row{"indent", indent_filter},
    Row{"int", int_filter},
    Row{"lower", mapped<to_lower>},
    Row{"replace", replace_filter},
    Row{"round", round_filter},
    Row{"safe", safe_filter},
    Row{"string", string_filter},
    Row{"striptags", striptags_filter},
    Row{"title", mapped<title_words>},
    Row{"tojson", tojson_filter},
    Row{"trim", trim_filter},
    Row{"truncate", truncate_filter},
    Row{"upper", mapped<to_upper>},
    Row{"urlencode", urlencode_filter},
    Row{"wordcount", wordcount_filter},
};

}  // namespace

Filter find_text_filter(std::string_view name) {
  for (const Row& row : kFilters) {
    if (row.name == name) return row.filter;
  }
  return nullptr;
}

Filter find_filter(std::string_view name) {
  const Filter filter = find_text_filter(name);
  return filter != nullptr ? filter : find_collection_filter(name);
}

bool is_filter(std::string_view name) { return find_filter(name) != nullptr; }

}  // namespace pajamas::jinja
