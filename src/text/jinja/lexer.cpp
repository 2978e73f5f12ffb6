// See lexer.h. The rules are those of jinja2's lexer, restated without its regular expressions.
#include "text/jinja/lexer.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "text/jinja/numbers.h"
#include "text/jinja/python_text.h"
#include "text/unicode.h"

namespace pajamas::jinja {

namespace {

constexpr std::size_t kNotFound = std::string_view::npos;

/// Only \n ends a line from here on, and one at the very end does not count.
std::string normalized(std::string_view source) {
  std::string result;
  result.reserve(source.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      result += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      result += source[i];
    }
  }
  if (!result.empty() && result.back() == '\n') result.pop_back();
  return result;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(source) {}

  std::vector<Token> run() {
    while (position_ < source_.size()) lex_data();
    add(TokenKind::kEnd);
    return std::move(tokens_);
  }

 private:
  bool at(std::string_view text) const { return source_.substr(position_, text.size()) == text; }

  void add(TokenKind kind, std::string text = {}, Value number = {}) {
    tokens_.push_back({kind, line_, std::move(text), std::move(number)});
  }

  /// Moves on, counting lines.
  void advance_to(std::size_t position) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(position_),
                                         source_.begin() + static_cast<std::ptrdiff_t>(position), '\n'));
    is_line_start_ = position > position_ ? source_[position - 1] == '\n' : is_line_start_;
    position_ = position;
  }

  std::size_t after_spaces(std::size_t position) const {
    while (position < source_.size()) {
      std::size_t next = position;
      if (!is_space(next_char(source_, next))) break;
      position = next;
    }
    return position;
  }

  /// Text up to the tag at `tag`, cut as the tag's sign and lstrip_blocks ask.
  void add_data(std::size_t tag, char sign, bool is_variable) {
    std::string_view text = source_.substr(position_, tag - position_);
    if (sign == '-') {
      text = strip(text, std::nullopt, false, true);
    } else if (sign != '+' && !is_variable) {
      const std::size_t newline = text.rfind('\n');
      const std::size_t start = newline == kNotFound ? 0 : newline + 1;
      if ((start > 0 || is_line_start_) && strip(text.substr(start), std::nullopt, true, false).empty()) {
        text = text.substr(0, start);
      }
    }
    if (!text.empty()) add(TokenKind::kData, std::string(text));
  }

  char sign_at(std::size_t position) const {
    const char c = position < source_.size() ? source_[position] : '\0';
    return c == '-' || c == '+' ? c : '\0';
  }

  /// Past the end of a block-like tag whose closing mark may carry a sign: "-" eats white space behind, none eats one
  /// newline. Nothing where no such end is at `position`.
  std::optional<std::size_t> end_of_tag(std::size_t position, std::string_view mark) const {
    const char sign = sign_at(position);
    const std::size_t begin = position + (sign != '\0' ? 1 : 0);
    if (source_.substr(begin, mark.size()) != mark) return std::nullopt;
    const std::size_t end = begin + mark.size();
    if (sign == '-') return after_spaces(end);
    if (sign == '\0' && end < source_.size() && source_[end] == '\n') return end + 1;
    return end;
  }

  void lex_data() {
    std::size_t tag = position_;
    while (true) {
      tag = source_.find('{', tag);
      if (tag == kNotFound || tag + 1 >= source_.size()) {
        add(TokenKind::kData, std::string(source_.substr(position_)));
        advance_to(source_.size());
        return;
      }
      const char c = source_[tag + 1];
      if (c == '{' || c == '%' || c == '#') break;
      ++tag;
    }
    const char kind = source_[tag + 1];
    const char sign = sign_at(tag + 2);
    add_data(tag, sign, kind == '{');
    const std::size_t inside = tag + 2 + (sign != '\0' ? 1 : 0);
    if (kind == '#') {
      advance_to(inside);
      lex_comment();
    } else if (kind == '%' && lex_raw(inside)) {
      return;
    } else {
      advance_to(inside);
      lex_tag(kind == '%');
    }
  }

  void lex_comment() {
    for (std::size_t i = source_.find('#', position_); i != kNotFound; i = source_.find('#', i + 1)) {
      if (i + 1 >= source_.size() || source_[i + 1] != '}') continue;
      const bool has_sign = i > position_ && sign_at(i - 1) != '\0';
      advance_to(*end_of_tag(has_sign ? i - 1 : i, "#}"));
      return;
    }
    fail("missing end of comment tag", line_);
  }

  /// {% raw %} ... {% endraw %} where one begins; `inside` is behind "{%" and its sign.
  bool lex_raw(std::size_t inside) {
    std::size_t i = after_spaces(inside);
    if (source_.substr(i, 3) != "raw") return false;
    i = after_spaces(i + 3);
    if (source_.substr(i, 3) == "-%}") {
      i = after_spaces(i + 3);
    } else if (source_.substr(i, 2) == "%}") {
      i += 2;
    } else {
      return false;
    }
    advance_to(i);
    for (std::size_t tag = source_.find("{%", position_); tag != kNotFound; tag = source_.find("{%", tag + 1)) {
      const char sign = sign_at(tag + 2);
      std::size_t name = after_spaces(tag + 2 + (sign != '\0' ? 1 : 0));
      if (source_.substr(name, 6) != "endraw") continue;
      const auto end = end_of_tag(after_spaces(name + 6), "%}");
      if (!end) continue;
      add_data(tag, sign, false);
      advance_to(*end);
      return true;
    }
    fail("missing end of raw directive", line_);
  }

  /// The inside of {{ }} or {% %}.
  void lex_tag(bool is_block) {
    add(is_block ? TokenKind::kBlockBegin : TokenKind::kVariableBegin);
    std::string open;  // brackets waiting for their end
    while (true) {
      if (open.empty()) {
        if (is_block) {
          if (const auto end = end_of_tag(position_, "%}")) {
            add(TokenKind::kBlockEnd);
            advance_to(*end);
            return;
          }
        } else if (at("-}}") || at("}}")) {
          add(TokenKind::kVariableEnd);
          advance_to(at("}}") ? position_ + 2 : after_spaces(position_ + 3));
          return;
        }
      }
      if (position_ >= source_.size()) {
        // The parser says what it was waiting for.
        return;
      }
      lex_token(open);
    }
  }

  void lex_token(std::string& open) {
    const std::size_t spaces = after_spaces(position_);
    if (spaces > position_) return advance_to(spaces);
    const char c = source_[position_];
    if (is_digit(c)) return lex_number();
    if (c == '"' || c == '\'') return lex_string();
    std::size_t next = position_;
    if (is_word(next_char(source_, next))) {
      while (next < source_.size()) {
        std::size_t behind = next;
        if (!is_word(next_char(source_, behind))) break;
        next = behind;
      }
      std::string name(source_.substr(position_, next - position_));
      if (!is_identifier(name)) fail("invalid character in identifier " + repr_of_text(name), line_);
      add(TokenKind::kName, std::move(name));
      return advance_to(next);
    }
    static constexpr std::array kOperators = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
                                              "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
    for (const std::string_view op : kOperators) {
      if (!at(op)) continue;
      if (op == "(" || op == "[" || op == "{") {
        open += op == "(" ? ')' : op == "[" ? ']' : '}';
      } else if (op == ")" || op == "]" || op == "}") {
        if (open.empty()) fail("unexpected '" + std::string(op) + "'", line_);
        if (open.back() != c) {
          fail("unexpected '" + std::string(op) + "', expected '" + std::string(1, open.back()) + "'", line_);
        }
        open.pop_back();
      }
      add(TokenKind::kOperator, std::string(op));
      return advance_to(position_ + op.size());
    }
    std::size_t end = position_;
    next_char(source_, end);
    fail("unexpected char " + repr_of_text(source_.substr(position_, end - position_)), line_);
  }

  /// Digits with single underscores between them, from `i` on; where they end.
  template <typename IsDigit>
  std::size_t after_digits(std::size_t i, IsDigit is_in_base) const {
    while (i < source_.size()) {
      if (is_in_base(source_[i])) {
        ++i;
      } else if (source_[i] == '_' && i + 1 < source_.size() && is_in_base(source_[i + 1])) {
        i += 2;
      } else {
        break;
      }
    }
    return i;
  }

  void lex_number() {
    const auto char_at = [&](std::size_t i) { return i < source_.size() ? source_[i] : '\0'; };
    const bool is_after_dot = position_ > 0 && source_[position_ - 1] == '.';
    std::size_t end = after_digits(position_, is_digit);
    if (!is_after_dot) {
      std::size_t fraction = end;
      if (char_at(end) == '.' && is_digit(char_at(end + 1))) fraction = after_digits(end + 1, is_digit);
      std::size_t exponent = fraction;
      if (char_at(fraction) == 'e' || char_at(fraction) == 'E') {
        const char sign = char_at(fraction + 1);
        const std::size_t digits = fraction + (sign == '+' || sign == '-' ? 2 : 1);
        if (is_digit(char_at(digits))) exponent = after_digits(digits, is_digit);
      }
      if (exponent > end) {
        const auto value = parse_real(source_.substr(position_, exponent - position_));
        add(TokenKind::kNumber, {}, Value::real(*value));
        return advance_to(exponent);
      }
    }
    int base = 10;
    if (source_[position_] == '0') {
      const char prefix = static_cast<char>(char_at(position_ + 1) | 0x20);
      base = prefix == 'x' ? 16 : prefix == 'o' ? 8 : prefix == 'b' ? 2 : 10;
      const auto is_in_base = [base](char c) {
        if (base == 16) return is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
        return c >= '0' && c < '0' + base;
      };
      if (base != 10 && after_digits(position_ + 1, is_in_base) == position_ + 1) {
        const std::size_t first = position_ + 2 + (char_at(position_ + 2) == '_' ? 1 : 0);
        const std::size_t last = after_digits(first, is_in_base);
        if (last > first) {
          end = last;
        } else {
          base = 10;
        }
      }
      if (base == 10) end = after_digits(position_, [](char c) { return c == '0'; });
    }
    const auto value = parse_integer(source_.substr(position_, end - position_), base);
    if (!value)
      fail("the integer " + std::string(source_.substr(position_, end - position_)) + " has more than 127 bits", line_);
    add(TokenKind::kNumber, {}, Value::integer(*value));
    advance_to(end);
  }

  std::uint32_t hex_value(std::size_t begin, std::size_t num_digits) const {
    std::uint32_t value = 0;
    for (std::size_t i = begin; i < begin + num_digits; ++i) {
      const char c = i < source_.size() ? source_[i] : '\0';
      const char lower = static_cast<char>(c | 0x20);
      if (!is_digit(c) && !(lower >= 'a' && lower <= 'f')) fail("truncated escape in a string", line_);
      value = value << 4 | static_cast<std::uint32_t>(is_digit(c) ? c - '0' : lower - 'a' + 10);
    }
    return value;
  }

  /// A string literal; escapes are those of Python's str, unknown ones stay as written.
  void lex_string() {
    const char quote = source_[position_];
    std::string text;
    std::size_t i = position_ + 1;
    while (true) {
      if (i >= source_.size())
        fail("unexpected char " + repr_of_text(std::string(1, quote)) + ": a string has no end", line_);
      const char c = source_[i++];
      if (c == quote) break;
      if (c != '\\') {
        text += c;
        continue;
      }
      if (i >= source_.size()) continue;
      const char escaped = source_[i++];
      switch (escaped) {
        case '\n': break;  // the line goes on
        case 'n': text += '\n'; break;
        case 't': text += '\t'; break;
        case 'r': text += '\r'; break;
        case 'a': text += '\a'; break;
        case 'b': text += '\b'; break;
        case 'f': text += '\f'; break;
        case 'v': text += '\v'; break;
        case '\\':
        case '\'':
        case '"': text += escaped; break;
        case 'x':
        case 'u':
        case 'U': {
          const std::size_t num_digits = escaped == 'x' ? 2 : escaped == 'u' ? 4 : 8;
          const std::uint32_t value = hex_value(i, num_digits);
          if (value > 0x10FFFF) fail("illegal Unicode character in a string", line_);
          if (value >= 0xD800 && value <= 0xDFFF) fail("half a surrogate pair in a string has no UTF-8", line_);
          append_utf8(text, value);
          i += num_digits;
          break;
        }
        case 'N': fail("characters by their name (\\N{...}) are not supported", line_);
        default:
          if (escaped >= '0' && escaped <= '7') {
            std::uint32_t value = static_cast<std::uint32_t>(escaped - '0');
            for (int digit = 0; digit < 2 && i < source_.size() && source_[i] >= '0' && source_[i] <= '7'; ++digit) {
              value = value * 8 + static_cast<std::uint32_t>(source_[i++] - '0');
            }
            append_utf8(text, value);
          } else {
            text += '\\';
            text += escaped;
          }
      }
    }
    add(TokenKind::kString, std::move(text));
    advance_to(i);
  }

  std::string_view source_;
  std::size_t position_ = 0;
  int line_ = 1;
  bool is_line_start_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokens_of(std::string_view source) {
  const std::string text = normalized(source);
  return Lexer(text).run();
}

}  // namespace pajamas::jinja
