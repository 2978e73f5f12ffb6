// What Python's str knows of text, for UTF-8: counting and cutting by code points, white space, case, classes of
// characters. All texts given here are valid UTF-8 (checked where they come in). Not about templates.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pajamas::jinja {

bool is_valid_utf8(std::string_view text);
std::size_t count_chars(std::string_view text);
/// The code point at `position`, which moves past it.
char32_t next_char(std::string_view text, std::size_t& position);
/// The code point before `position`, which moves to its start.
char32_t previous_char(std::string_view text, std::size_t& position);
/// Byte where the code point number `index` begins; the size of the text for an index past its end.
std::size_t byte_offset(std::string_view text, std::size_t index);

bool is_space(char32_t c);      ///< str.isspace
bool is_printable(char32_t c);  ///< str.isprintable
bool is_word(char32_t c);       ///< \w of Python's re: alphanumeric or underscore.
/// 0 to 9 of a decimal digit of any script, else -1.
int decimal_value(char32_t c);
bool is_identifier(std::string_view text);

std::string to_upper(std::string_view text);
std::string to_lower(std::string_view text);
std::string to_casefold(std::string_view text);
/// str.capitalize: the first character in title case, the others lower.
std::string to_capitalized(std::string_view text);
/// str.title: title case after every character without case.
std::string to_title(std::string_view text);
std::string swap_case(std::string_view text);

/// Without the characters of `chars` (white space where absent) at the ends asked for.
std::string_view strip(std::string_view text, std::optional<std::string_view> chars, bool at_start, bool at_end);

/// str.splitlines: also at \v, \f, \x1c to \x1e, U+0085, U+2028, U+2029.
std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends);

/// The tests of str: "isalnum", "isalpha", "isascii", "isdecimal", "isdigit", "isidentifier", "islower", "isnumeric",
/// "isprintable", "isspace", "istitle", "isupper".
bool has_class(std::string_view text, std::string_view test);

/// repr() of a text: quotes chosen as Python does, what does not print escaped.
std::string repr_of_text(std::string_view text);

/// A JSON string with its quotes, as json.dumps writes it.
void append_json_text(std::string& out, std::string_view text, bool is_ascii_only);

/// markupsafe.escape
std::string escape_html(std::string_view text);

}  // namespace pajamas::jinja
