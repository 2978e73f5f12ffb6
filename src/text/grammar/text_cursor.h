// The place in a text that a parser of a grammar or a regular expression has reached. Characters only: what they mean
// is the parsers' (regex_parser.cpp, ebnf_parser.cpp).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "pajamas/error.h"
#include "text/unicode.h"

namespace pajamas::grammar {

/// Base of a parser; nothing here moves past the end of the text.
class TextCursor {
 protected:
  /// Throws Error{kBadInput} for text that is no UTF-8.
  explicit TextCursor(std::string_view text) : text_(code_points_of(text)) {
    if (utf8_of(text_) != text) throw Error(ErrorKind::kBadInput, "is not valid UTF-8", {}, "give the text as UTF-8");
  }
  ~TextCursor() = default;

  bool is_at_end() const { return at_ >= text_.size(); }
  bool has(char32_t c) const { return at_ < text_.size() && text_[at_] == c; }
  bool has_digit() const { return at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; }
  bool take(char32_t c) {
    if (!has(c)) return false;
    ++at_;
    return true;
  }
  bool looking_at(std::u32string_view what) const { return text_.compare(at_, what.size(), what) == 0; }

  /// Takes the digits here. Nothing where there are none; kTooLarge where they make more than `max`.
  static constexpr std::uint32_t kTooLarge = UINT32_MAX;
  std::optional<std::uint32_t> take_number(std::uint32_t max) {
    if (!has_digit()) return std::nullopt;
    std::uint64_t value = 0;
    for (; has_digit(); ++at_) {
      value = value * 10 + (text_[at_] - U'0');
      if (value > max) return kTooLarge;
    }
    return static_cast<std::uint32_t>(value);
  }
  /// Takes exactly `num_digits` hexadecimal digits (at most 8); nothing where a character is none.
  std::optional<std::uint32_t> take_hexadecimal(int num_digits) {
    std::uint32_t value = 0;
    for (int i = 0; i < num_digits; ++i, ++at_) {
      const char32_t c = at_ < text_.size() ? text_[at_] : 0;
      if (c >= '0' && c <= '9') {
        value = value * 16 + (c - U'0');
      } else if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F')) {
        value = value * 16 + ((c | 32U) - U'a' + 10);
      } else {
        return std::nullopt;
      }
    }
    return value;
  }

  std::u32string text_;
  std::size_t at_ = 0;
};

}  // namespace pajamas::grammar
