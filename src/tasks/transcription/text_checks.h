// Whether a decoded text is one that was heard: how well it compresses, and whether it turns in a loop; and its ends.
#pragma once

#include <string_view>

namespace pajamas {

/// The text without blanks, tabs and line feeds at its ends. Valid as long as `text`.
std::string_view trimmed(std::string_view text);

/// Bytes of the text over its bytes compressed by zlib, as the published program measures; 0 for an empty text.
float compression_ratio(std::string_view text);

/// Whether a text of one segment says the same words over and over: some run of 1 to 12 words stands there three times
/// and more in a row, and what is repeated is most of the segment. Words are what lies between blanks, without regard
/// to case; a text without blanks is taken by its characters.
bool is_loop(std::string_view text);

}  // namespace pajamas
