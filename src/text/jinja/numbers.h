// Numbers as Python reads and writes them: int(), float(), repr, the format mini-language and the % operator of texts.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "text/jinja/value.h"

namespace pajamas::jinja {

/// int(text, base): white space around, a sign, underscores, a prefix that fits the base (0: the prefix decides).
/// Nothing for other text or more than 127 bits.
std::optional<Int> parse_integer(std::string_view text, int base);
/// float(text): also inf, infinity and nan. Nothing for other text.
std::optional<double> parse_real(std::string_view text);

std::string text_of_integer(Int value, int base = 10, bool is_upper = false);
/// repr: the shortest digits that read back the same, as Python lays them out (1e-05, 1e+16, 3.0).
std::string repr_of_real(double value);
/// round(value, num_digits), halves to even, exact in decimal.
double rounded(double value, int num_digits);

/// format(value, spec) of a text or a number. Throws Failure for a spec Python refuses and for widths past 10^6.
std::string formatted(Runtime& runtime, const Value& value, std::string_view spec);
/// template % arguments: a tuple gives several, a dictionary named ones.
std::string percent_formatted(Runtime& runtime, std::string_view pattern, const Value& arguments);

}  // namespace pajamas::jinja
