// Steps over text that is known to be valid UTF-8, inlined into the loops that encode. Text from outside goes through
// text/unicode.h or valid_utf8() first.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace pajamas {

/// Whether the byte continues a character that began before it.
inline bool is_continuation_byte(char byte) { return (static_cast<std::uint8_t>(byte) & 0xC0) == 0x80; }

/// Bytes of the character that begins with `lead`.
inline std::size_t utf8_length(char lead) {
  const auto byte = static_cast<std::uint8_t>(lead);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

/// The character at `position`, which is moved past it. `text` must be valid UTF-8 and `position` within it.
inline char32_t next_code_point(std::string_view text, std::size_t& position) {
  const auto at = [&](std::size_t i) { return static_cast<char32_t>(static_cast<std::uint8_t>(text[position + i])); };
  const char32_t lead = at(0);
  if (lead < 0x80) {
    ++position;
    return lead;
  }
  char32_t code_point = 0;
  if (lead < 0xE0) {
    code_point = (lead & 0x1F) << 6 | (at(1) & 0x3F);
    position += 2;
  } else if (lead < 0xF0) {
    code_point = (lead & 0x0F) << 12 | (at(1) & 0x3F) << 6 | (at(2) & 0x3F);
    position += 3;
  } else {
    code_point = (lead & 0x07) << 18 | (at(1) & 0x3F) << 12 | (at(2) & 0x3F) << 6 | (at(3) & 0x3F);
    position += 4;
  }
  return code_point;
}

/// Begin of the character before `position`, which is not 0.
inline std::size_t previous_character(std::string_view text, std::size_t position) {
  do --position;
  while (position > 0 && is_continuation_byte(text[position]));
  return position;
}

/// Number of characters of `text`, which need not be valid: bytes that continue none count as part of one.
std::size_t num_characters(std::string_view text);
/// Number of leading bytes that are valid UTF-8 (whole characters).
std::size_t valid_utf8_length(std::string_view text);
/// Number of bytes at the end of `text` that begin a character without finishing it, yet may become one: 0 to 3.
std::size_t unfinished_utf8_length(std::string_view text);
/// Appends `bytes` with everything that is no UTF-8 replaced by U+FFFD (one for each maximal part of a character).
void append_as_utf8(std::string& text, std::string_view bytes);
bool is_ascii(std::string_view text);

}  // namespace pajamas
