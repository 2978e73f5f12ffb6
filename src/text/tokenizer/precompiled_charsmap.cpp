// See precompiled_charsmap.h. The layout of the trie's units is that of the darts-clone library, which SentencePiece
// writes them with: bits 0-7 label, bit 8 "has a leaf", bit 9 scale of the offset, bits 10-30 offset, bit 31 leaf.
#include "text/tokenizer/precompiled_charsmap.h"

#include <unicode/brkiter.h>
#include <unicode/utext.h>

#include <cstring>

#include "pajamas/error.h"
#include "text/tokenizer/utf8.h"

namespace pajamas {
namespace {

bool has_leaf(std::uint32_t unit) { return (unit >> 8 & 1) != 0; }
std::uint32_t value_of(std::uint32_t unit) { return unit & 0x7FFFFFFF; }
std::uint32_t label_of(std::uint32_t unit) { return unit & (0x80000000 | 0xFF); }
std::uint32_t offset_of(std::uint32_t unit) { return unit >> 10 << ((unit & (1U << 9)) >> 6); }

/// Longest grapheme that is looked up as a whole, in bytes.
constexpr std::size_t kMaxGraphemeBytes = 5;

}  // namespace

PrecompiledCharsmap::PrecompiledCharsmap(std::string_view blob, Style style, const std::string& where) : style_(style) {
  std::uint32_t trie_bytes = 0;
  if (blob.size() >= sizeof(trie_bytes)) std::memcpy(&trie_bytes, blob.data(), sizeof(trie_bytes));
  if (blob.size() < sizeof(trie_bytes) || trie_bytes > blob.size() - sizeof(trie_bytes) || trie_bytes % 4 != 0 ||
      trie_bytes == 0) {
    throw Error(ErrorKind::kBadInput, "has a precompiled_charsmap that is cut off", where);
  }
  units_.resize(trie_bytes / 4);
  std::memcpy(units_.data(), blob.data() + 4, trie_bytes);
  replacements_ = blob.substr(4 + trie_bytes);
  if (valid_utf8_length(replacements_) != replacements_.size()) {
    throw Error(ErrorKind::kBadInput, "has a precompiled_charsmap whose texts are no UTF-8", where);
  }
}

std::optional<PrecompiledCharsmap::Found> PrecompiledCharsmap::find(std::string_view text, bool wants_longest) const {
  std::optional<Found> found;
  std::size_t position = offset_of(units_[0]);
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<std::uint8_t>(text[i]);
    if (byte == 0) break;
    position ^= byte;
    if (position >= units_.size()) break;
    const std::uint32_t unit = units_[position];
    if (label_of(unit) != byte) break;
    position ^= offset_of(unit);
    if (position >= units_.size()) break;
    if (has_leaf(unit)) {
      const std::size_t begin = value_of(units_[position]);
      if (begin > replacements_.size()) break;
      const std::size_t end = std::min(replacements_.find('\0', begin), replacements_.size());
      const std::string_view replacement(replacements_.data() + begin, end - begin);
      // A forged value may point into a character.
      if (!replacement.empty() && (static_cast<std::uint8_t>(replacement[0]) & 0xC0) == 0x80) break;
      found = Found{i + 1, replacement};
      if (!wants_longest) break;
    }
  }
  return found;
}

void PrecompiledCharsmap::append_character(std::string_view character, std::string& result) const {
  const auto found = find(character, false);
  result += found ? found->replacement : character;
}

void PrecompiledCharsmap::apply_by_grapheme(std::string_view text, std::string& result) const {
  UErrorCode status = U_ZERO_ERROR;
  const std::unique_ptr<icu::BreakIterator> graphemes(
      icu::BreakIterator::createCharacterInstance(icu::Locale::getRoot(), status));
  UText source = UTEXT_INITIALIZER;
  utext_openUTF8(&source, text.data(), static_cast<std::int64_t>(text.size()), &status);
  if (U_SUCCESS(status)) graphemes->setText(&source, status);
  if (U_FAILURE(status)) {
    utext_close(&source);
    throw Error(ErrorKind::kInternal, std::string("ICU has no data for graphemes: ") + u_errorName(status));
  }
  std::size_t begin = 0;
  for (std::int32_t end = graphemes->next(); end != icu::BreakIterator::DONE; end = graphemes->next()) {
    const std::string_view grapheme = text.substr(begin, static_cast<std::size_t>(end) - begin);
    begin = static_cast<std::size_t>(end);
    if (grapheme.size() <= kMaxGraphemeBytes) {
      if (const auto found = find(grapheme, false)) {
        result += found->replacement;
        continue;
      }
    }
    for (std::size_t i = 0; i < grapheme.size();) {
      const std::size_t length = utf8_length(grapheme[i]);
      append_character(grapheme.substr(i, length), result);
      i += length;
    }
  }
  utext_close(&source);
}

void PrecompiledCharsmap::apply(std::string& text) const {
  std::string result;
  result.reserve(text.size());
  if (style_ == Style::kHuggingFace) {
    // Runs of ASCII letters and spaces are graphemes of one byte each, but for the two of "\r\n" and a last one that a
    // mark may follow.
    std::size_t position = 0;
    while (position < text.size()) {
      std::size_t end = position;
      while (end < text.size() && static_cast<std::uint8_t>(text[end]) < 0x80 && text[end] != '\r') ++end;
      if (end < text.size() && end > position) --end;
      for (; position < end; ++position) append_character(std::string_view(text).substr(position, 1), result);
      if (position == text.size()) break;
      // To the next place that surely begins a grapheme: between two ASCII characters.
      end = position + 1;
      while (end < text.size() && !(static_cast<std::uint8_t>(text[end]) < 0x80 && text[end] != '\n' &&
                                    static_cast<std::uint8_t>(text[end - 1]) < 0x80)) {
        ++end;
      }
      apply_by_grapheme(std::string_view(text).substr(position, end - position), result);
      position = end;
    }
  } else {
    for (std::size_t position = 0; position < text.size();) {
      const std::string_view rest = std::string_view(text).substr(position);
      if (const auto found = find(rest, true)) {
        // A forged map may end within a character; then that character stays.
        const std::size_t end = position + found->length;
        if (end == text.size() || (static_cast<std::uint8_t>(text[end]) & 0xC0) != 0x80) {
          result += found->replacement;
          position = end;
          continue;
        }
      }
      const std::size_t length = utf8_length(rest[0]);
      result += rest.substr(0, length);
      position += length;
    }
  }
  text = std::move(result);
}

}  // namespace pajamas
