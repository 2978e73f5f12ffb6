// Numbers of JSON schema: decimal bounds compared exactly, and the automata of the digits between them.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "text/grammar/automaton.h"

namespace pajamas::grammar {

/// Without bounds numbers are held to what every reader takes: integers of at most 18 digits (they fit 64 bits),
/// fractions of at most 24 digits, exponents of at most two. Bounds may have more digits than that.
constexpr int kMaxWholeDigits = 18;
constexpr int kMaxFractionDigits = 24;

/// A decimal number as digits, so that bounds are compared as written.
struct Decimal {
  bool is_negative = false;  ///< Never for zero.
  std::string whole;         ///< Without leading zeros; empty for 0.
  std::string fraction;      ///< Without trailing zeros.

  /// Of a JSON number. Throws Error{kUnsupported} for more than 60 digits before or behind the point.
  static Decimal of(const nlohmann::ordered_json& number);
  bool is_zero() const { return whole.empty() && fraction.empty(); }
  bool is_integer() const { return fraction.empty(); }
};

int compare(const Decimal& a, const Decimal& b);

struct NumberBound {
  Decimal value;
  bool is_exclusive = false;
};

struct NumberRange {
  std::optional<NumberBound> low;
  std::optional<NumberBound> high;
  bool is_integer = false;
  /// Digits behind the point that a multipleOf of 0.1, 0.01, ... leaves; no bound: kMaxFractionDigits.
  std::optional<int> max_fraction_digits;

  bool contains(const Decimal& value) const;
  bool has_bounds() const { return low || high || max_fraction_digits; }
};

/// Appends the spellings of the numbers of the range. With bounds there are no exponents. Nothing leads to the state
/// returned where the range is empty.
std::int32_t append_number(Nfa& nfa, std::int32_t from, const NumberRange& range);
/// Decimal spellings of the integers that `divisor` (1 to 10,000) divides.
Dfa multiples_of(int divisor);

}  // namespace pajamas::grammar
