// Classes of characters as the published patterns ask for them, one byte a character, from ICU's Unicode data.
// text/unicode.h answers single questions; this answers all of a pattern's at once.
#pragma once

#include <array>
#include <cstdint>

namespace pajamas {

enum CharacterClass : std::uint8_t {
  kLetterClass = 1,         ///< \p{L}
  kNumberClass = 2,         ///< \p{N}
  kSpaceClass = 4,          ///< \s: White_Space.
  kMarkClass = 8,           ///< \p{M}
  kUpperSideClass = 16,     ///< [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]
  kLowerSideClass = 32,     ///< [\p{Ll}\p{Lm}\p{Lo}\p{M}]
  kNewlineClass = 64,       ///< [\r\n]
  kPunctuationClass = 128,  ///< \p{P}
};

/// Classes of a character from ICU, slow.
std::uint8_t compute_classes(char32_t code_point);

/// Made on first use (some 1 ms), then shared.
class CharacterClasses {
 public:
  static const CharacterClasses& instance();
  std::uint8_t operator[](char32_t code_point) const {
    return code_point < kTableSize ? table_[code_point] : compute_classes(code_point);
  }

 private:
  CharacterClasses();
  static constexpr char32_t kTableSize = 0x20000;  ///< Planes 0 and 1: scripts in use and emoji.
  std::array<std::uint8_t, kTableSize> table_;
};

/// \w of Rust's regular expressions: alphabetic, marks, decimal digits, connectors, joiners.
bool is_word_character(char32_t code_point);
bool is_mark(char32_t code_point);                  ///< General category M.
bool is_nonspacing_mark(char32_t code_point);       ///< General category Mn.
bool is_control_for_bert(char32_t code_point);      ///< General category C but tab, line feed and carriage return.
bool is_punctuation_for_bert(char32_t code_point);  ///< General category P, and all ASCII symbols.
bool is_chinese_for_bert(char32_t code_point);      ///< The CJK blocks that BERT puts spaces around.

}  // namespace pajamas
