// See python_text.h. Case and classes of characters are ICU's.
#include "text/jinja/python_text.h"

#include <unicode/uchar.h>
#include <unicode/ustring.h>
#include <unicode/utf8.h>

#include <algorithm>
#include <cstdint>

#include "text/jinja/budget.h"
#include "text/unicode.h"

namespace pajamas::jinja {

namespace {

const std::uint8_t* bytes_of(std::string_view text) { return reinterpret_cast<const std::uint8_t*>(text.data()); }
bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

bool is_cased_upper(char32_t c) { return u_isUUppercase(static_cast<UChar32>(c)) != 0; }
bool is_cased_lower(char32_t c) { return u_isULowercase(static_cast<UChar32>(c)) != 0; }
bool is_title(char32_t c) { return u_charType(static_cast<UChar32>(c)) == U_TITLECASE_LETTER; }
bool is_cased(char32_t c) { return is_cased_upper(c) || is_cased_lower(c) || is_title(c); }

using CaseFunction = std::int32_t (*)(char16_t* to, std::int32_t capacity, const char16_t* from, std::int32_t length,
                                      UErrorCode* error);
std::int32_t upper16(char16_t* to, std::int32_t capacity, const char16_t* from, std::int32_t length,
                     UErrorCode* error) {
  return u_strToUpper(to, capacity, from, length, "", error);
}
std::int32_t lower16(char16_t* to, std::int32_t capacity, const char16_t* from, std::int32_t length,
                     UErrorCode* error) {
  return u_strToLower(to, capacity, from, length, "", error);
}
std::int32_t fold16(char16_t* to, std::int32_t capacity, const char16_t* from, std::int32_t length, UErrorCode* error) {
  return u_strFoldCase(to, capacity, from, length, U_FOLD_CASE_DEFAULT, error);
}

std::string map_case(std::string_view text, CaseFunction function) {
  if (text.size() > INT32_MAX / 8) fail("a text is too long to change its case");
  UErrorCode error = U_ZERO_ERROR;
  std::u16string wide(text.size(), u'\0');
  std::int32_t length = 0;
  u_strFromUTF8(wide.data(), static_cast<std::int32_t>(wide.size()), &length, text.data(),
                static_cast<std::int32_t>(text.size()), &error);
  wide.resize(static_cast<std::size_t>(length));
  std::u16string mapped(wide.size() * 3 + 1, u'\0');  // no character becomes more than three
  error = U_ZERO_ERROR;
  length = function(mapped.data(), static_cast<std::int32_t>(mapped.size()), wide.data(),
                    static_cast<std::int32_t>(wide.size()), &error);
  if (U_FAILURE(error)) fail("cannot change the case of a text");
  std::string result(static_cast<std::size_t>(length) * 3, '\0');
  std::int32_t size = 0;
  error = U_ZERO_ERROR;
  u_strToUTF8(result.data(), static_cast<std::int32_t>(result.size()), &size, mapped.data(), length, &error);
  if (U_FAILURE(error)) fail("cannot change the case of a text");
  result.resize(static_cast<std::size_t>(size));
  return result;
}

/// One character in title case. Where it has a mapping to several (sharp s to "Ss"), the first of the upper case ones
/// stays and the others go to lower case, which holds for all of Unicode's but the titles of their own.
std::string title_of(char32_t c) {
  std::string result;
  const auto single = static_cast<char32_t>(u_totitle(static_cast<UChar32>(c)));
  append_utf8(result, single);
  if (single != c || c < 0x80) return result;
  const std::string upper = to_upper(result);
  if (count_chars(upper) < 2) return result;
  std::size_t position = 0;
  std::string title;
  append_utf8(title, next_char(upper, position));
  while (position < upper.size()) {
    // Combining characters (the iota of Greek) have a lower case of their own, which the title keeps.
    append_utf8(title, static_cast<char32_t>(u_tolower(static_cast<UChar32>(next_char(upper, position)))));
  }
  return title;
}

bool is_line_break(char32_t c) {
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

void append_hex(std::string& out, std::uint32_t value, int num_digits) {
  for (int shift = 4 * (num_digits - 1); shift >= 0; shift -= 4) out += "0123456789abcdef"[(value >> shift) & 0xF];
}

}  // namespace

bool is_valid_utf8(std::string_view text) {
  const std::uint8_t* bytes = bytes_of(text);
  const auto length = static_cast<std::int64_t>(text.size());
  std::int64_t position = 0;
  while (position < length) {
    if (bytes[position] < 0x80) {
      ++position;
      continue;
    }
    UChar32 c = 0;
    U8_NEXT(bytes, position, length, c);
    if (c < 0) return false;
  }
  return true;
}

std::size_t count_chars(std::string_view text) {
  std::size_t count = 0;
  for (const char c : text) count += (static_cast<unsigned char>(c) & 0xC0) != 0x80 ? 1 : 0;
  return count;
}

char32_t next_char(std::string_view text, std::size_t& position) {
  const auto first = static_cast<unsigned char>(text[position++]);
  if (first < 0x80) return first;
  const auto next = [&] { return static_cast<char32_t>(static_cast<unsigned char>(text[position++]) & 0x3F); };
  if (first < 0xE0) {
    const char32_t a = next();
    return (first & 0x1FU) << 6 | a;
  }
  const char32_t a = next();
  const char32_t b = next();
  if (first < 0xF0) return (first & 0x0FU) << 12 | a << 6 | b;
  const char32_t c = next();
  return (first & 0x07U) << 18 | a << 12 | b << 6 | c;
}

char32_t previous_char(std::string_view text, std::size_t& position) {
  do {
    --position;
  } while ((static_cast<unsigned char>(text[position]) & 0xC0) == 0x80);
  std::size_t from = position;
  return next_char(text, from);
}

std::size_t byte_offset(std::string_view text, std::size_t index) {
  std::size_t position = 0;
  for (; position < text.size(); ++position) {
    if ((static_cast<unsigned char>(text[position]) & 0xC0) == 0x80) continue;
    if (index-- == 0) return position;
  }
  return text.size();
}

bool is_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_printable(char32_t c) {
  if (c == ' ') return true;
  switch (u_charType(static_cast<UChar32>(c))) {
    case U_CONTROL_CHAR:
    case U_FORMAT_CHAR:
    case U_SURROGATE:
    case U_PRIVATE_USE_CHAR:
    case U_UNASSIGNED:
    case U_LINE_SEPARATOR:
    case U_PARAGRAPH_SEPARATOR:
    case U_SPACE_SEPARATOR: return false;
    default: return true;
  }
}

namespace {
bool is_alpha(char32_t c) { return is_letter(c); }
int numeric_type(char32_t c) { return u_getIntPropertyValue(static_cast<UChar32>(c), UCHAR_NUMERIC_TYPE); }
/// Han digits have a value in Python's table (Unihan) as in ICU's.
bool is_numeric(char32_t c) { return numeric_type(c) != U_NT_NONE; }
bool is_decimal(char32_t c) { return u_charType(static_cast<UChar32>(c)) == U_DECIMAL_DIGIT_NUMBER; }
bool is_digit(char32_t c) { return numeric_type(c) == U_NT_DECIMAL || numeric_type(c) == U_NT_DIGIT; }
}  // namespace

bool is_word(char32_t c) { return c == '_' || is_alpha(c) || is_numeric(c); }

int decimal_value(char32_t c) { return is_decimal(c) ? u_charDigitValue(static_cast<UChar32>(c)) : -1; }

bool is_identifier(std::string_view text) {
  if (text.empty()) return false;
  std::size_t position = 0;
  const char32_t first = next_char(text, position);
  if (first != '_' && u_hasBinaryProperty(static_cast<UChar32>(first), UCHAR_XID_START) == 0) return false;
  while (position < text.size()) {
    if (u_hasBinaryProperty(static_cast<UChar32>(next_char(text, position)), UCHAR_XID_CONTINUE) == 0) return false;
  }
  return true;
}

std::string to_upper(std::string_view text) {
  if (!is_ascii(text)) return map_case(text, upper16);
  std::string result(text);
  for (char& c : result) c = static_cast<char>(c >= 'a' && c <= 'z' ? c - 32 : c);
  return result;
}

std::string to_lower(std::string_view text) {
  if (!is_ascii(text)) return map_case(text, lower16);
  std::string result(text);
  for (char& c : result) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  return result;
}

std::string to_casefold(std::string_view text) { return map_case(text, fold16); }

std::string to_capitalized(std::string_view text) {
  if (text.empty()) return {};
  std::size_t position = 0;
  const char32_t first = next_char(text, position);
  // Lower case looks at neighbours (the sigma at the end of a word), so the whole text is mapped, not only the rest.
  const std::string lower = to_lower(text);
  std::string first_lower;
  append_utf8(first_lower, first);
  return title_of(first) + lower.substr(to_lower(first_lower).size());
}

std::string to_title(std::string_view text) {
  const std::string lower = to_lower(text);
  std::string result;
  bool is_after_cased = false;
  std::size_t lower_position = 0;
  for (std::size_t position = 0; position < text.size();) {
    const char32_t c = next_char(text, position);
    std::string single;
    append_utf8(single, c);
    const std::size_t lower_size = to_lower(single).size();
    result += is_after_cased ? lower.substr(lower_position, lower_size) : title_of(c);
    lower_position += lower_size;
    is_after_cased = is_cased(c);
  }
  return result;
}

std::string swap_case(std::string_view text) {
  const std::string lower = to_lower(text);
  std::string result;
  std::size_t lower_position = 0;
  for (std::size_t position = 0; position < text.size();) {
    const char32_t c = next_char(text, position);
    std::string single;
    append_utf8(single, c);
    const std::size_t lower_size = to_lower(single).size();
    if (is_cased_upper(c)) {
      result += lower.substr(lower_position, lower_size);
    } else {
      result += is_cased_lower(c) ? to_upper(single) : single;
    }
    lower_position += lower_size;
  }
  return result;
}

std::string_view strip(std::string_view text, std::optional<std::string_view> chars, bool at_start, bool at_end) {
  std::u32string set;
  if (chars) set = code_points_of(*chars);
  std::sort(set.begin(), set.end());
  const auto is_stripped = [&](char32_t c) {
    return chars ? std::binary_search(set.begin(), set.end(), c) : is_space(c);
  };
  std::size_t begin = 0;
  std::size_t end = text.size();
  while (at_start && begin < end) {
    std::size_t position = begin;
    if (!is_stripped(next_char(text, position))) break;
    begin = position;
  }
  while (at_end && end > begin) {
    std::size_t position = end;
    if (!is_stripped(previous_char(text, position))) break;
    end = position;
  }
  return text.substr(begin, end - begin);
}

std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string_view> lines;
  std::size_t start = 0;
  for (std::size_t position = 0; position < text.size();) {
    const std::size_t end = position;
    const char32_t c = next_char(text, position);
    if (!is_line_break(c)) continue;
    if (c == '\r' && position < text.size() && text[position] == '\n') ++position;
    lines.push_back(text.substr(start, (keep_ends ? position : end) - start));
    start = position;
  }
  if (start < text.size()) lines.push_back(text.substr(start));
  return lines;
}

bool has_class(std::string_view text, std::string_view test) {
  if (test == "isascii") return is_ascii(text);
  if (test == "isidentifier") return is_identifier(text);
  const auto all = [&](auto predicate) {
    for (std::size_t position = 0; position < text.size();) {
      if (!predicate(next_char(text, position))) return false;
    }
    return true;
  };
  if (test == "isprintable") return all(is_printable);
  if (text.empty()) return false;
  if (test == "isspace") return all(is_space);
  if (test == "isalpha") return all(is_alpha);
  if (test == "isdecimal") return all(is_decimal);
  if (test == "isdigit") return all(is_digit);
  if (test == "isnumeric") return all(is_numeric);
  if (test == "isalnum") return all([](char32_t c) { return is_alpha(c) || is_numeric(c); });
  bool has_cased = false;
  if (test == "isupper" || test == "islower") {
    const bool is_upper = test == "isupper";
    return all([&](char32_t c) {
             if (is_title(c) || (is_upper ? is_cased_lower(c) : is_cased_upper(c))) return false;
             has_cased = has_cased || (is_upper ? is_cased_upper(c) : is_cased_lower(c));
             return true;
           }) &&
           has_cased;
  }
  bool is_after_cased = false;  // istitle
  return all([&](char32_t c) {
           const bool is_head = is_cased_upper(c) || is_title(c);
           const bool is_tail = !is_head && is_cased_lower(c);
           if ((is_head && is_after_cased) || (is_tail && !is_after_cased)) return false;
           is_after_cased = is_head || is_tail;
           has_cased = has_cased || is_after_cased;
           return true;
         }) &&
         has_cased;
}

std::string repr_of_text(std::string_view text) {
  const bool has_single = text.find('\'') != std::string_view::npos;
  const char quote = has_single && text.find('"') == std::string_view::npos ? '"' : '\'';
  std::string out(1, quote);
  for (std::size_t position = 0; position < text.size();) {
    const char32_t c = next_char(text, position);
    if (c == static_cast<char32_t>(quote) || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (is_printable(c)) {
      append_utf8(out, c);
    } else {
      const auto value = static_cast<std::uint32_t>(c);
      out += value <= 0xFF ? "\\x" : value <= 0xFFFF ? "\\u" : "\\U";
      append_hex(out, value, value <= 0xFF ? 2 : value <= 0xFFFF ? 4 : 8);
    }
  }
  return out + quote;
}

void append_json_text(std::string& out, std::string_view text, bool is_ascii_only) {
  out += '"';
  for (std::size_t position = 0; position < text.size();) {
    const std::size_t start = position;
    const char32_t c = next_char(text, position);
    switch (c) {
      case '"': out += "\\\""; continue;
      case '\\': out += "\\\\"; continue;
      case '\n': out += "\\n"; continue;
      case '\r': out += "\\r"; continue;
      case '\t': out += "\\t"; continue;
      case '\f': out += "\\f"; continue;
      case '\b': out += "\\b"; continue;
      default: break;
    }
    if (c >= 0x20 && (c < 0x7F || !is_ascii_only)) {
      out += text.substr(start, position - start);
    } else if (c <= 0xFFFF) {
      out += "\\u";
      append_hex(out, static_cast<std::uint32_t>(c), 4);
    } else {
      const std::uint32_t rest = static_cast<std::uint32_t>(c) - 0x10000;
      out += "\\u";
      append_hex(out, 0xD800 + (rest >> 10), 4);
      out += "\\u";
      append_hex(out, 0xDC00 + (rest & 0x3FF), 4);
    }
  }
  out += '"';
}

std::string escape_html(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '\'': out += "&#39;"; break;
      case '"': out += "&#34;"; break;
      default: out += c;
    }
  }
  return out;
}

}  // namespace pajamas::jinja
