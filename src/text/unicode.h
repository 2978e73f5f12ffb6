// The Unicode facts that tokenizers ask for, from ICU: decoding, classes of characters, composition, lower case.
// Not a text library: strings stay UTF-8, and code points are only a step between.
#pragma once

#include <string>
#include <string_view>

namespace pajamas {

/// UTF-8 to code points. Bytes that are no UTF-8 become U+FFFD, as decoders elsewhere do, so that any input has tokens.
std::u32string code_points_of(std::string_view utf8);
std::string utf8_of(std::u32string_view code_points);
void append_utf8(std::string& text, char32_t code_point);

bool is_letter(char32_t code_point);      ///< General category L.
bool is_number(char32_t code_point);      ///< General category N.
bool is_whitespace(char32_t code_point);  ///< Property White_Space.

/// Canonical composition (NFC). Throws Error{kInternal} when ICU has no data.
std::u32string composed(std::u32string_view text);
/// Canonical decomposition (NFD). Throws as composed().
std::u32string decomposed(std::u32string_view text);
/// Each code point by itself to lower case, in full (U+0130 becomes two), without regard to language or place in a
/// word.
std::u32string lower_case(std::u32string_view text);

}  // namespace pajamas
