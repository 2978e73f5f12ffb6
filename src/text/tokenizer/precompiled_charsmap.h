// The character map that SentencePiece models carry: a double-array trie of texts and what each becomes. Untrusted:
// every step is checked against the array.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pajamas {

/// Immutable; any thread.
class PrecompiledCharsmap {
 public:
  /// How the map is applied. Its two readers differ, and so do their tokens.
  enum class Style {
    kSentencePiece,  ///< At each place the longest text of the map is replaced.
    kHuggingFace,    ///< Each grapheme of under 6 bytes, by the shortest text it begins with; else each character.
  };

  /// `blob`: uint32 size of the trie in bytes, the trie (uint32 units, little-endian), NUL-terminated texts. Throws
  /// Error{kBadInput} naming `where`.
  PrecompiledCharsmap(std::string_view blob, Style style, const std::string& where);
  /// Replaces `text` by its normalised form.
  void apply(std::string& text) const;

 private:
  struct Found {
    std::size_t length;  ///< Bytes of the text that are replaced.
    std::string_view replacement;
  };
  std::optional<Found> find(std::string_view text, bool wants_longest) const;
  void append_character(std::string_view character, std::string& result) const;
  void apply_by_grapheme(std::string_view text, std::string& result) const;

  std::vector<std::uint32_t> units_;
  std::string replacements_;
  Style style_;
};

}  // namespace pajamas
