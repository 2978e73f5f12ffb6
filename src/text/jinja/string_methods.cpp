// The methods of Python's str (operations.h). Those of Markup give Markup and escape what they put in.
#include <algorithm>
#include <array>
#include <utility>

#include "text/jinja/numbers.h"
#include "text/jinja/operations.h"
#include "text/jinja/printing.h"
#include "text/jinja/python_text.h"
#include "text/jinja/runtime.h"
#include "text/unicode.h"

namespace pajamas::jinja {

namespace {

const std::string& text_argument(std::string_view method, const Value& value) {
  if (!value.is_string()) fail(std::string(method) + "() argument must be str, not " + value.type_name());
  return value.text();
}

Int integer_argument(const Value& value) {
  if (!value.is_integral()) fail(std::string("'") + value.type_name() + "' object cannot be interpreted as an integer");
  return value.as_int();
}

/// A text given to a method of `self`: escaped where self is Markup and it is not.
std::string escaped_for(const Value& self, std::string_view method, const Value& value) {
  const std::string& text = text_argument(method, value);
  return self.is_markup() && !value.is_markup() ? escape_html(text) : text;
}

template <std::string (*kMap)(std::string_view)>
Value mapped(Runtime& runtime, const Value& self, const Arguments& arguments) {
  bind_positional("this method", arguments, 0, 0);
  runtime.budget().step(self.text().size() / 8);
  return runtime.text_like(self, kMap(self.text()));
}

template <bool kAtStart, bool kAtEnd>
Value stripped(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Value* chars = bind_positional("strip", arguments, 0, 1)[0];
  std::optional<std::string_view> set;
  if (chars != nullptr && !chars->is_none()) set = text_argument("strip", *chars);
  return runtime.text_like(self, std::string(strip(self.text(), set, kAtStart, kAtEnd)));
}

/// The part of a text between two positions in code points, which may be negative or absent.
struct Window {
  std::size_t begin = 0;  // bytes
  std::size_t end = 0;
  bool is_valid = true;  // false where it begins behind the text's end or its own
};

Window window_of(const Value& self, const Value* start, const Value* stop) {
  const auto length = static_cast<Int>(self.num_chars());
  const auto resolve = [&](const Value* given, Int fallback) {
    if (given == nullptr || given->is_none()) return fallback;
    if (!given->is_integral()) fail("slice indices must be integers or None");
    const Int index = given->as_int();
    return index < 0 ? (index < -length ? Int{0} : index + length) : index;
  };
  const Int first = resolve(start, 0);
  const Int last = std::min(resolve(stop, length), length);
  Window window;
  window.is_valid = first <= last;
  if (!window.is_valid) return window;
  const bool is_ascii = self.num_chars() == self.text().size();
  const auto offset = [&](Int index) {
    return is_ascii ? static_cast<std::size_t>(index) : byte_offset(self.text(), static_cast<std::size_t>(index));
  };
  window.begin = offset(first);
  window.end = offset(last);
  return window;
}

template <bool kAtEnd>
Value has_affix(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const auto bound = bind_positional(kAtEnd ? "endswith" : "startswith", arguments, 1, 3);
  const Window window = window_of(self, bound[1], bound[2]);
  const auto matches = [&](const Value& affix) {
    if (!affix.is_string()) {
      fail(std::string(kAtEnd ? "endswith" : "startswith") + " first arg must be str or a tuple of str, not " +
           affix.type_name());
    }
    if (!window.is_valid) return false;
    const std::string_view part = std::string_view(self.text()).substr(window.begin, window.end - window.begin);
    return kAtEnd ? part.ends_with(affix.text()) : part.starts_with(affix.text());
  };
  if (bound[0]->kind() == Kind::kTuple) {
    runtime.budget().step(bound[0]->items().size());
    const auto& affixes = bound[0]->items();
    return Value::boolean(std::any_of(affixes.begin(), affixes.end(), matches));
  }
  return Value::boolean(matches(*bound[0]));
}

template <bool kFromEnd, bool kMustFind>
Value found_at(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const auto bound = bind_positional("find", arguments, 1, 3);
  const std::string& wanted = text_argument("find", *bound[0]);
  const Window window = window_of(self, bound[1], bound[2]);
  runtime.budget().step(self.text().size() / 64);
  std::size_t at = std::string::npos;
  if (window.is_valid) {
    const std::string_view part = std::string_view(self.text()).substr(window.begin, window.end - window.begin);
    at = kFromEnd ? part.rfind(wanted) : part.find(wanted);
  }
  if (at == std::string::npos) {
    if (kMustFind) fail("substring not found");
    return Value::integer(-1);
  }
  return Value::integer(static_cast<Int>(count_chars(std::string_view(self.text()).substr(0, window.begin + at))));
}

Value count_of(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const auto bound = bind_positional("count", arguments, 1, 3);
  const std::string& wanted = text_argument("count", *bound[0]);
  const Window window = window_of(self, bound[1], bound[2]);
  if (!window.is_valid) return Value::integer(0);
  runtime.budget().step(self.text().size() / 64);
  const std::string_view part = std::string_view(self.text()).substr(window.begin, window.end - window.begin);
  if (wanted.empty()) return Value::integer(static_cast<Int>(count_chars(part)) + 1);
  Int count = 0;
  for (std::size_t at = part.find(wanted); at != std::string_view::npos; at = part.find(wanted, at + wanted.size())) {
    ++count;
  }
  return Value::integer(count);
}

/// text.replace(from, to, count); a negative count is all.
std::string replaced(Runtime& runtime, const std::string& text, const std::string& from, const std::string& to,
                     Int count) {
  std::string out;
  std::size_t position = 0;
  runtime.budget().step(text.size() / 32);
  if (from.empty()) {  // before every character and at the end
    for (; count != 0; --count) {
      out += to;
      if (position >= text.size()) return out;
      const std::size_t start = position;
      next_char(text, position);
      out += text.substr(start, position - start);
      runtime.budget().check_text(out.size());
    }
    return out + text.substr(position);
  }
  for (; count != 0; --count) {
    const std::size_t found = text.find(from, position);
    if (found == std::string::npos) break;
    out.append(text, position, found - position);
    out += to;
    position = found + from.size();
    runtime.budget().check_text(out.size());
  }
  return out.append(text, position, std::string::npos);
}

Value replace_method(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const auto bound = bind_positional("replace", arguments, 2, 3);
  const Int count = bound[2] == nullptr ? -1 : integer_argument(*bound[2]);
  const std::string from = text_argument("replace", *bound[0]);
  return runtime.text_like(
      self, replaced(runtime, self.text(), self.is_markup() ? escaped_for(self, "replace", *bound[0]) : from,
                     escaped_for(self, "replace", *bound[1]), count));
}

/// Where white space separates, runs of it are one separator and none is at the ends.
std::vector<std::string_view> split_at_spaces(std::string_view text, Int max_splits, bool is_from_end) {
  std::vector<std::string_view> parts;
  text = strip(text, std::nullopt, true, true);
  while (!text.empty()) {
    if (max_splits == 0) {
      parts.push_back(text);
      break;
    }
    if (is_from_end) {
      std::size_t begin = text.size();
      while (begin > 0) {
        std::size_t previous = begin;
        if (is_space(previous_char(text, previous))) break;
        begin = previous;
      }
      parts.push_back(text.substr(begin));
      text = strip(text.substr(0, begin), std::nullopt, false, true);
    } else {
      std::size_t end = 0;
      while (end < text.size()) {
        std::size_t next = end;
        if (is_space(next_char(text, next))) break;
        end = next;
      }
      parts.push_back(text.substr(0, end));
      text = strip(text.substr(end), std::nullopt, true, false);
    }
    if (max_splits > 0) --max_splits;
  }
  if (is_from_end) std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<std::string_view> split_at(std::string_view text, std::string_view separator, Int max_splits,
                                       bool is_from_end) {
  std::vector<std::string_view> parts;
  while (max_splits != 0) {
    const std::size_t at = is_from_end ? text.rfind(separator) : text.find(separator);
    if (at == std::string_view::npos) break;
    const std::string_view before = text.substr(0, at);
    const std::string_view behind = text.substr(at + separator.size());
    parts.push_back(is_from_end ? behind : before);
    text = is_from_end ? before : behind;
    if (max_splits > 0) --max_splits;
  }
  parts.push_back(text);
  if (is_from_end) std::reverse(parts.begin(), parts.end());
  return parts;
}

Value list_of_parts(Runtime& runtime, const Value& self, const std::vector<std::string_view>& parts) {
  runtime.budget().step(parts.size());
  std::vector<Value> items;
  items.reserve(parts.size());
  for (const std::string_view part : parts) items.push_back(runtime.text_like(self, std::string(part)));
  return runtime.list(std::move(items));
}

template <bool kFromEnd>
Value split_method(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const auto bound = bind_arguments("split", arguments, {"sep", "maxsplit"}, 0);
  const Int max_splits = bound[1] == nullptr ? -1 : integer_argument(*bound[1]);
  runtime.budget().step(self.text().size() / 16);
  if (bound[0] == nullptr || bound[0]->is_none()) {
    if (max_splits == 0) {  // the white space at one end stays
      const std::string_view rest = strip(self.text(), std::nullopt, !kFromEnd, kFromEnd);
      return list_of_parts(runtime, self, rest.empty() ? std::vector<std::string_view>() : std::vector{rest});
    }
    std::vector<std::string_view> parts = split_at_spaces(self.text(), max_splits, kFromEnd);
    if (max_splits > 0 && static_cast<Int>(parts.size()) == max_splits + 1) {
      // What is left over keeps the white space at its far end.
      const std::string_view whole = self.text();
      std::string_view& rest = kFromEnd ? parts.front() : parts.back();
      if (kFromEnd) {
        rest = whole.substr(0, static_cast<std::size_t>(rest.data() - whole.data()) + rest.size());
      } else {
        rest = whole.substr(static_cast<std::size_t>(rest.data() - whole.data()));
      }
    }
    return list_of_parts(runtime, self, parts);
  }
  const std::string& separator = text_argument("split", *bound[0]);
  if (separator.empty()) fail("empty separator");
  return list_of_parts(runtime, self, split_at(self.text(), separator, max_splits, kFromEnd));
}

Value splitlines_method(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Value* keep = bind_arguments("splitlines", arguments, {"keepends"}, 0)[0];
  return list_of_parts(runtime, self, split_lines(self.text(), keep != nullptr && is_true(*keep)));
}

template <bool kFromEnd>
Value partition_method(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const std::string& separator = text_argument("partition", *bind_positional("partition", arguments, 1, 1)[0]);
  if (separator.empty()) fail("empty separator");
  const std::string& text = self.text();
  const std::size_t at = kFromEnd ? text.rfind(separator) : text.find(separator);
  const auto part = [&](std::string value) { return runtime.text_like(self, std::move(value)); };
  if (at == std::string::npos) {
    return kFromEnd ? runtime.tuple({part(""), part(""), self}) : runtime.tuple({self, part(""), part("")});
  }
  return runtime.tuple({part(text.substr(0, at)), part(separator), part(text.substr(at + separator.size()))});
}

Value join_method(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Value& parts = *bind_positional("join", arguments, 1, 1)[0];
  std::string out;
  std::size_t index = 0;
  const auto iterator = iterate(runtime, parts);
  for (Value part; iterator->next(runtime, part); ++index) {
    if (!part.is_string() && !self.is_markup()) {
      fail("sequence item " + std::to_string(index) + ": expected str instance, " + part.type_name() + " found");
    }
    if (index > 0) out += self.text();
    out += self.is_markup() && !part.is_markup() ? escape_html(text_of(runtime, part)) : part.text();
    runtime.budget().check_text(out.size());
  }
  return runtime.text_like(self, std::move(out));
}

enum class Side { kLeft, kRight, kCenter };

template <Side kSide>
Value justified(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const auto bound = bind_positional("this method", arguments, 1, 2);
  const Int width = integer_argument(*bound[0]);
  const std::string fill = bound[1] == nullptr ? " " : text_argument("fill", *bound[1]);
  if (count_chars(fill) != 1) fail("the fill character must be exactly one character long");
  const auto length = static_cast<Int>(self.num_chars());
  if (width <= length) return self;
  if (width > static_cast<Int>(runtime.budget().max_text_bytes() / 4)) fail("a text is made too wide");
  const auto room = static_cast<std::size_t>(width - length);
  std::size_t left = kSide == Side::kLeft ? 0 : room;
  // CPython's rule for an odd room: the extra one is left where the width is odd, too.
  if (kSide == Side::kCenter) left = room / 2 + (room & static_cast<std::size_t>(width) & 1);
  std::string out;
  for (std::size_t i = 0; i < left; ++i) out += fill;
  out += self.text();
  for (std::size_t i = left; i < room; ++i) out += fill;
  return runtime.text_like(self, std::move(out));
}

Value zfill_method(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Int width = integer_argument(*bind_positional("zfill", arguments, 1, 1)[0]);
  const auto length = static_cast<Int>(self.num_chars());
  if (width <= length) return self;
  if (width > static_cast<Int>(runtime.budget().max_text_bytes() / 4)) fail("a text is made too wide");
  std::string out = self.text();
  const bool has_sign = !out.empty() && (out[0] == '+' || out[0] == '-');
  out.insert(has_sign ? 1 : 0, static_cast<std::size_t>(width - length), '0');
  return runtime.text_like(self, std::move(out));
}

Value expandtabs_method(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const Value* given = bind_arguments("expandtabs", arguments, {"tabsize"}, 0)[0];
  const Int size = given == nullptr ? 8 : integer_argument(*given);
  if (size > 10'000) fail("expandtabs() of more than 10000 columns");
  std::string out;
  Int column = 0;
  for (const char c : self.text()) {
    if (c == '\t') {
      const Int room = size > 0 ? size - column % size : 0;
      out.append(static_cast<std::size_t>(room), ' ');
      column += room;
      runtime.budget().check_text(out.size());
      continue;
    }
    out += c;
    if ((static_cast<unsigned char>(c) & 0xC0) != 0x80) ++column;
    if (c == '\n' || c == '\r') column = 0;
  }
  return runtime.text_like(self, std::move(out));
}

template <bool kAtEnd>
Value affix_removed(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const std::string& affix = text_argument("removeprefix", *bind_positional("removeprefix", arguments, 1, 1)[0]);
  const std::string& text = self.text();
  if (kAtEnd ? !text.ends_with(affix) : !text.starts_with(affix)) return self;
  return runtime.text_like(self, kAtEnd ? text.substr(0, text.size() - affix.size()) : text.substr(affix.size()));
}

/// The name of a test is taken from the table, so each has a function of its own.
constexpr std::array<std::string_view, 12> kTests = {"isalnum",     "isalpha",      "isascii", "isdecimal",
                                                     "isdigit",     "isidentifier", "islower", "isnumeric",
                                                     "isprintable", "isspace",      "istitle", "isupper"};

template <std::size_t kIndex>
Value tested(Runtime& runtime, const Value& self, const Arguments& arguments) {
  bind_positional(kTests[kIndex], arguments, 0, 0);
  runtime.budget().step(self.text().size() / 8);
  return Value::boolean(has_class(self.text(), kTests[kIndex]));
}

Value unsupported(Runtime&, const Value&, const Arguments&) {
  fail("str.encode, str.maketrans and str.translate are not supported in templates");
}

/// str.format: replacement fields, which may hold fields themselves one level down.
class FieldFormatter {
 public:
  FieldFormatter(Runtime& runtime, const Arguments& arguments, const Value* mapping)
      : runtime_(runtime), arguments_(arguments), mapping_(mapping) {}

  std::string format(std::string_view pattern, int level) {
    if (level > 2) fail("Max string recursion exceeded");
    std::string out;
    for (std::size_t i = 0; i < pattern.size();) {
      const char c = pattern[i];
      if ((c == '{' || c == '}') && i + 1 < pattern.size() && pattern[i + 1] == c) {
        out += c;
        i += 2;
      } else if (c == '}') {
        fail("Single '}' encountered in format string");
      } else if (c == '{') {
        const std::size_t begin = ++i;
        int depth = 1;
        for (; i < pattern.size() && depth > 0; ++i) depth += pattern[i] == '{' ? 1 : pattern[i] == '}' ? -1 : 0;
        if (depth > 0)
          fail(begin == pattern.size() ? "Single '{' encountered in format string"
                                       : "expected '}' before end of string");
        out += field(pattern.substr(begin, i - 1 - begin), level);
      } else {
        out += c;
        ++i;
      }
      runtime_.budget().check_text(out.size());
    }
    return out;
  }

 private:
  std::string field(std::string_view text, int level) {
    std::size_t end = 0;  // of the name: brackets hold anything
    bool is_in_brackets = false;
    while (end < text.size() && (is_in_brackets || (text[end] != '!' && text[end] != ':'))) {
      if (text[end] == '[') is_in_brackets = true;
      if (text[end] == ']') is_in_brackets = false;
      ++end;
    }
    const std::string_view name = text.substr(0, end);
    char conversion = '\0';
    if (end < text.size() && text[end] == '!') {
      if (end + 1 >= text.size()) fail("end of string while looking for conversion specifier");
      conversion = text[end + 1];
      end += 2;
      if (end < text.size() && text[end] != ':') fail("expected ':' after conversion specifier");
    }
    Value value = lookup(name);
    const std::string spec = end < text.size() ? format(text.substr(end + 1), level + 1) : "";
    if (conversion == 's')
      value = runtime_.text(text_of(runtime_, value));
    else if (conversion == 'r')
      value = runtime_.text(repr_of(runtime_, value));
    else if (conversion == 'a')
      value = runtime_.text(ascii_of(runtime_, value));
    else if (conversion != '\0')
      fail("Unknown conversion specifier " + std::string(1, conversion));
    return formatted(runtime_, value, spec);
  }

  static bool is_number(std::string_view text) {
    return !text.empty() && text.size() < 10 &&
           std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
  }

  Value lookup(std::string_view name) {
    const std::size_t end = std::min(name.find_first_of(".["), name.size());
    Value value = first_value(name.substr(0, end));
    for (std::size_t i = end; i < name.size();) {
      if (name[i] == '.') {
        const std::size_t next = std::min(name.find_first_of(".[", i + 1), name.size());
        if (next == i + 1) fail("Empty attribute in format string");
        value = get_attribute(runtime_, value, name.substr(i + 1, next - i - 1));
        i = next;
      } else if (name[i] == '[') {
        const std::size_t next = name.find(']', i);
        if (next == std::string_view::npos) fail("Missing ']' in format string");
        const std::string_view key = name.substr(i + 1, next - i - 1);
        if (key.empty()) fail("Empty attribute in format string");
        value = get_item(runtime_, value,
                         is_number(key) ? Value::integer(*parse_integer(key, 10)) : runtime_.text(std::string(key)));
        i = next + 1;
      } else {
        fail("Only '.' or '[' may follow ']' in format field specifier");
      }
    }
    return value;
  }

  Value first_value(std::string_view name) {
    if (name.empty()) {
      if (next_index_ < 0) fail("cannot switch from manual field specification to automatic field numbering");
      return positional(next_index_++);
    }
    if (is_number(name)) {
      if (next_index_ > 0) fail("cannot switch from manual field specification to automatic field numbering");
      next_index_ = -1;
      return positional(static_cast<int>(*parse_integer(name, 10)));
    }
    if (mapping_ != nullptr) {
      const Value* found = mapping_->is_dict() ? mapping_->dict().find(name) : nullptr;
      if (found != nullptr) return *found;
    }
    for (const auto& [key, value] : arguments_.named) {
      if (key == name && mapping_ == nullptr) return value;
    }
    fail("KeyError: " + repr_of_text(name));
  }

  Value positional(int index) {
    const auto& values = arguments_.positional;
    if (mapping_ != nullptr || static_cast<std::size_t>(index) >= values.size()) {
      fail("Replacement index " + std::to_string(index) + " out of range for positional args tuple");
    }
    return values[static_cast<std::size_t>(index)];
  }

  Runtime& runtime_;
  const Arguments& arguments_;
  const Value* mapping_;
  int next_index_ = 0;
};

Value format_method(Runtime& runtime, const Value& self, const Arguments& arguments) {
  if (self.is_markup()) fail("format() of a text marked safe is not supported");
  return runtime.text(FieldFormatter(runtime, arguments, nullptr).format(self.text(), 1));
}

Value format_map_method(Runtime& runtime, const Value& self, const Arguments& arguments) {
  if (self.is_markup()) fail("format_map() of a text marked safe is not supported");
  const Value* mapping = bind_positional("format_map", arguments, 1, 1)[0];
  return runtime.text(FieldFormatter(runtime, arguments, mapping).format(self.text(), 1));
}

struct Method {
  std::string_view name;
  FunctionObject::Function function;
};

constexpr std::array kMethods = {
    Method{"capitalize", mapped<to_capitalized>},
    Method{"casefold", mapped<to_casefold>},
    Method{"center", justified<Side::kCenter>},
    Method{"count", count_of},
    Method{"encode", unsupported},
    Method{"endswith", has_affix<true>},
    Method{"expandtabs", expandtabs_method},
    Method{"find", found_at<false, false>},
    Method{"format", format_method},
    Method{"format_map", format_map_method},
    Method{"index", found_at<false, true>},
    Method{"isalnum", tested<0>},
    Method{"isalpha", tested<1>},
    Method{"isascii", tested<2>},
    Method{"isdecimal", tested<3>},
    Method{"isdigit", tested<4>},
    Method{"isidentifier", tested<5>},
    Method{"islower", tested<6>},
    Method{"isnumeric", tested<7>},
    Method{"isprintable", tested<8>},
    Method{"isspace", tested<9>},
    Method{"istitle", tested<10>},
    Method{"isupper", tested<11>},
    Method{"join", join_method},
    Method{"ljust", justified<Side::kLeft>},
    Method{"lower", mapped<to_lower>},
    Method{"lstrip", stripped<true, false>},
    Method{"maketrans", unsupported},
    Method{"partition", partition_method<false>},
    Method{"removeprefix", affix_removed<false>},
    Method{"removesuffix", affix_removed<true>},
    Method{"replace", replace_method},
    Method{"rfind", found_at<true, false>},
    Method{"rindex", found_at<true, true>},
    Method{"rjust", justified<Side::kRight>},
    Method{"rpartition", partition_method<true>},
    Method{"rsplit", split_method<true>},
    Method{"rstrip", stripped<false, true>},
    Method{"split", split_method<false>},
    Method{"splitlines", splitlines_method},
    Method{"startswith", has_affix<false>},
    Method{"strip", stripped<true, true>},
    Method{"swapcase", mapped<swap_case>},
    Method{"title", mapped<to_title>},
    Method{"translate", unsupported},
    Method{"upper", mapped<to_upper>},
    Method{"zfill", zfill_method},
};

}  // namespace

FunctionObject::Function find_string_method(std::string_view name) {
  const auto found = std::lower_bound(kMethods.begin(), kMethods.end(), name,
                                      [](const Method& method, std::string_view key) { return method.name < key; });
  return found != kMethods.end() && found->name == name ? found->function : nullptr;
}

}  // namespace pajamas::jinja
