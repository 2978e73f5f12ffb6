// See utf8.h. What is no UTF-8 is decided by ICU, as in text/unicode.cpp.
#include "text/tokenizer/utf8.h"

#include <unicode/utf8.h>

#include <algorithm>
#include <cstring>

namespace pajamas {
namespace {

constexpr std::uint64_t kHighBits = 0x8080808080808080ULL;

/// Leading bytes below 0x80.
std::size_t ascii_length(std::string_view text, std::size_t position) {
  std::uint64_t block = 0;
  while (position + sizeof(block) <= text.size()) {
    std::memcpy(&block, text.data() + position, sizeof(block));
    if ((block & kHighBits) != 0) break;
    position += sizeof(block);
  }
  while (position < text.size() && static_cast<std::uint8_t>(text[position]) < 0x80) ++position;
  return position;
}

/// The end of the character at `position`, or of the maximal part of one; `is_valid` says which.
std::size_t next_character(std::string_view text, std::size_t position, bool& is_valid) {
  // ICU counts in 32 bits, so it sees no more than the longest character.
  const std::string_view character = text.substr(position, U8_MAX_LENGTH);
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(character.data());
  const auto length = static_cast<std::int32_t>(character.size());
  std::int32_t next = 0;
  UChar32 code_point = 0;
  U8_NEXT(bytes, next, length, code_point);
  is_valid = code_point >= 0;
  return position + static_cast<std::size_t>(next);
}

}  // namespace

std::size_t num_characters(std::string_view text) {
  return text.size() - static_cast<std::size_t>(std::count_if(text.begin(), text.end(), is_continuation_byte));
}

bool is_ascii(std::string_view text) { return ascii_length(text, 0) == text.size(); }

std::size_t valid_utf8_length(std::string_view text) {
  std::size_t position = ascii_length(text, 0);
  while (position < text.size()) {
    bool is_valid = false;
    const std::size_t next = next_character(text, position, is_valid);
    if (!is_valid) return position;
    position = next;
    if (position < text.size() && static_cast<std::uint8_t>(text[position]) < 0x80)
      position = ascii_length(text, position);
  }
  return position;
}

std::size_t unfinished_utf8_length(std::string_view text) {
  for (std::size_t length = 1; length <= std::min<std::size_t>(3, text.size()); ++length) {
    const char lead = text[text.size() - length];
    if ((static_cast<std::uint8_t>(lead) & 0xC0) == 0x80) continue;  // Inside a character.
    if (static_cast<std::uint8_t>(lead) < 0xC2 || static_cast<std::uint8_t>(lead) > 0xF4) return 0;
    if (utf8_length(lead) <= length) return 0;
    // A second byte out of range (surrogates, overlong forms) already ended the part.
    bool is_valid = false;
    const std::size_t begin = text.size() - length;
    return next_character(text, begin, is_valid) == text.size() ? length : 0;
  }
  return 0;
}

void append_as_utf8(std::string& text, std::string_view bytes) {
  std::size_t position = 0;
  while (position < bytes.size()) {
    const std::size_t length = valid_utf8_length(bytes.substr(position));
    text += bytes.substr(position, length);
    position += length;
    if (position == bytes.size()) break;
    bool is_valid = false;
    position = next_character(bytes, position, is_valid);
    text += "\xEF\xBF\xBD";
  }
}

}  // namespace pajamas
