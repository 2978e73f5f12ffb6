// Digit automata. See schema_numbers.h.
#include "text/grammar/schema_numbers.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "pajamas/error.h"

namespace pajamas::grammar {
namespace {

constexpr int kMaxBoundDigits = 60;

int compare_magnitudes(const Decimal& a, const Decimal& b) {
  if (a.whole.size() != b.whole.size()) return a.whole.size() < b.whole.size() ? -1 : 1;
  if (const int order = a.whole.compare(b.whole); order != 0) return order < 0 ? -1 : 1;
  const int order = a.fraction.compare(b.fraction);  // A prefix is the smaller one, as with digits it should be.
  return order < 0 ? -1 : order > 0 ? 1 : 0;
}

/// Non-negative numbers from `low` to `high` (no upper bound: as many digits as kMaxWholeDigits), digit by digit. A
/// state knows how many digits were written and whether they are so far those of the bounds.
class Magnitudes {
 public:
  Magnitudes(Nfa& nfa, const NumberBound& low, const std::optional<NumberBound>& high, int max_fraction_digits)
      : nfa_(nfa), low_(low), high_(high), max_fraction_digits_(max_fraction_digits), to_(nfa.add_state()) {
    low_whole_ = low.value.whole.empty() ? "0" : low.value.whole;
    if (high) high_whole_ = high->value.whole.empty() ? "0" : high->value.whole;
  }

  std::int32_t append(std::int32_t from) {
    const auto shortest = static_cast<int>(low_whole_.size());
    const int longest = high_ ? static_cast<int>(high_whole_.size()) : std::max(shortest, kMaxWholeDigits);
    for (int length = shortest; length <= longest; ++length) {
      length_ = length;
      states_.clear();
      append_whole(from, 0, length == shortest, high_ && length == longest);
    }
    return to_;
  }

 private:
  void append_whole(std::int32_t state, int place, bool is_low, bool is_high) {
    if (place == length_) {
      nfa_.add_empty(state, fraction(0, is_low, is_high, false));
      return;
    }
    for (int digit = place == 0 && length_ > 1 ? 1 : 0; digit <= 9; ++digit) {
      const int low = is_low ? low_whole_[place] - '0' : 0;
      const int high = is_high ? high_whole_[place] - '0' : 9;
      if (digit < low || digit > high) continue;
      const bool stays_low = is_low && digit == low;
      const bool stays_high = is_high && digit == high;
      const auto [found, is_new] = states_.try_emplace({place + 1, stays_low, stays_high}, -1);
      if (is_new) found->second = nfa_.add_state();
      const std::int32_t next = found->second;
      nfa_.add_bytes(state, '0' + digit, '0' + digit, next);
      if (is_new) append_whole(next, place + 1, stays_low, stays_high);
    }
  }

  std::int32_t fraction(int place, bool is_low, bool is_high, bool has_point) {
    const auto [found, is_new] = fractions_.try_emplace({place, is_low, is_high, has_point}, -1);
    if (!is_new) return found->second;
    const std::int32_t state = nfa_.add_state();
    found->second = state;
    // What the bounds have left of digits decides whether stopping here is below, at or above them.
    const auto at = static_cast<std::size_t>(place);
    const bool is_below_low =
        is_low && (low_.value.fraction.size() > at || (low_.is_exclusive && low_.value.fraction.size() <= at));
    const bool is_above_high = is_high && high_->value.fraction.size() <= at && high_->is_exclusive;
    if ((place > 0 || !has_point) && !is_below_low && !is_above_high) nfa_.add_empty(state, to_);
    if (!has_point) {
      if (max_fraction_digits_ > 0) {
        const std::int32_t point = fraction(0, is_low, is_high, true);
        nfa_.add_bytes(state, '.', '.', point);
      }
      return state;
    }
    if (place == max_fraction_digits_) return state;
    for (int digit = 0; digit <= 9; ++digit) {
      const int low = is_low && at < low_.value.fraction.size() ? low_.value.fraction[at] - '0' : 0;
      int high = 9;
      if (is_high) high = at < high_->value.fraction.size() ? high_->value.fraction[at] - '0' : 0;
      if (digit < low || digit > high) continue;
      const std::int32_t next = fraction(place + 1, is_low && digit == low, is_high && digit == high, true);
      nfa_.add_bytes(state, '0' + digit, '0' + digit, next);
    }
    return state;
  }

  Nfa& nfa_;
  const NumberBound& low_;
  const std::optional<NumberBound>& high_;
  int max_fraction_digits_;
  std::int32_t to_;
  int length_ = 0;
  std::string low_whole_;
  std::string high_whole_;
  std::map<std::tuple<int, bool, bool>, std::int32_t> states_;
  std::map<std::tuple<int, bool, bool, bool>, std::int32_t> fractions_;
};

std::int32_t append_digits(Nfa& nfa, std::int32_t from, int min_digits, int max_digits) {
  const std::int32_t to = nfa.add_state();
  for (int i = 0; i < max_digits; ++i) {
    if (i >= min_digits) nfa.add_empty(from, to);
    const std::int32_t next = nfa.add_state();
    nfa.add_bytes(from, '0', '9', next);
    from = next;
  }
  nfa.add_empty(from, to);
  return to;
}

}  // namespace

Decimal Decimal::of(const nlohmann::ordered_json& number) {
  const std::string text = number.dump();  // The shortest digits that give the number back.
  Decimal result;
  std::size_t at = 0;
  if (text[at] == '-') {
    result.is_negative = true;
    ++at;
  }
  int exponent = 0;
  bool has_point = false;
  std::string digits;
  int num_whole = 0;
  for (; at < text.size() && text[at] != 'e' && text[at] != 'E'; ++at) {
    if (text[at] == '.') {
      has_point = true;
    } else {
      digits += text[at];
      if (!has_point) ++num_whole;
    }
  }
  if (at < text.size()) exponent = std::stoi(text.substr(at + 1));
  const int point = num_whole + exponent;
  if (point > kMaxBoundDigits || point < -kMaxBoundDigits) {
    throw Error(ErrorKind::kUnsupported, "the number " + text + " is too large or too small for a bound");
  }
  if (point < 0) digits.insert(0, static_cast<std::size_t>(-point), '0');
  const auto split = static_cast<std::size_t>(std::max(point, 0));
  if (digits.size() < split) digits.append(split - digits.size(), '0');
  result.whole = digits.substr(0, split);
  result.fraction = digits.substr(split);
  result.whole.erase(0, std::min(result.whole.find_first_not_of('0'), result.whole.size()));
  while (!result.fraction.empty() && result.fraction.back() == '0') result.fraction.pop_back();
  if (result.is_zero()) result.is_negative = false;
  return result;
}

int compare(const Decimal& a, const Decimal& b) {
  if (a.is_negative != b.is_negative) return a.is_negative ? -1 : 1;
  return a.is_negative ? compare_magnitudes(b, a) : compare_magnitudes(a, b);
}

bool NumberRange::contains(const Decimal& value) const {
  if (is_integer && !value.is_integer()) return false;
  if (low) {
    const int order = compare(value, low->value);
    if (order < 0 || (order == 0 && low->is_exclusive)) return false;
  }
  if (high) {
    const int order = compare(value, high->value);
    if (order > 0 || (order == 0 && high->is_exclusive)) return false;
  }
  return !max_fraction_digits || static_cast<int>(value.fraction.size()) <= *max_fraction_digits;
}

std::int32_t append_number(Nfa& nfa, std::int32_t from, const NumberRange& range) {
  const std::int32_t to = nfa.add_state();
  const int max_fraction_digits = range.is_integer ? 0 : range.max_fraction_digits.value_or(kMaxFractionDigits);
  if (!range.has_bounds()) {
    const std::int32_t whole = nfa.add_state();
    nfa.add_empty(from, whole);
    nfa.add_bytes(from, '-', '-', whole);
    const std::int32_t rest = nfa.add_state();
    const std::int32_t digits = nfa.add_state();
    nfa.add_bytes(whole, '0', '0', rest);
    nfa.add_bytes(whole, '1', '9', digits);
    nfa.add_empty(append_digits(nfa, digits, 0, kMaxWholeDigits - 1), rest);
    nfa.add_empty(rest, to);
    if (range.is_integer) return to;
    const std::int32_t exponent = nfa.add_state();
    nfa.add_empty(rest, exponent);
    const std::int32_t fraction = append_digits(nfa, nfa.append_text(rest, "."), 1, kMaxFractionDigits);
    nfa.add_empty(fraction, exponent);
    nfa.add_empty(fraction, to);
    const std::int32_t sign = nfa.add_state();
    const std::int32_t power = nfa.add_state();
    nfa.add_bytes(exponent, 'e', 'e', sign);
    nfa.add_bytes(exponent, 'E', 'E', sign);
    nfa.add_empty(sign, power);
    nfa.add_bytes(sign, '+', '+', power);
    nfa.add_bytes(sign, '-', '-', power);
    nfa.add_empty(append_digits(nfa, power, 1, 2), to);
    return to;
  }
  const Decimal zero;
  if (range.low && range.high && compare(range.low->value, range.high->value) > 0) return to;
  if (!range.high || !range.high->value.is_negative) {
    const bool has_low = range.low && !range.low->value.is_negative;
    const NumberBound low = has_low ? *range.low : NumberBound{zero, false};
    nfa.add_empty(Magnitudes(nfa, low, range.high, max_fraction_digits).append(from), to);
  }
  if (!range.low || range.low->value.is_negative) {
    // The other way round behind a minus sign, and without -0.
    NumberBound low{zero, true};
    if (range.high && range.high->value.is_negative) low = *range.high;
    std::optional<NumberBound> high = range.low;
    low.value.is_negative = false;
    if (high) high->value.is_negative = false;
    const std::int32_t minus = nfa.append_text(from, "-");
    nfa.add_empty(Magnitudes(nfa, low, high, max_fraction_digits).append(minus), to);
  }
  return to;
}

Dfa multiples_of(int divisor) {
  // State 0: nothing yet; 1: a minus sign; 2 + r: digits whose number leaves r. Leading zeros do not matter here.
  Dfa dfa;
  dfa.states.resize(static_cast<std::size_t>(divisor) + 2);
  for (int state = 0; state < divisor + 2; ++state) {
    const int rest = std::max(state - 2, 0);
    if (state == 0) dfa.states[0].edges.push_back({'-', '-', 1});
    for (int digit = 0; digit <= 9; ++digit) {
      const auto byte = static_cast<std::uint8_t>('0' + digit);
      dfa.states[static_cast<std::size_t>(state)].edges.push_back({byte, byte, 2 + (rest * 10 + digit) % divisor});
    }
  }
  dfa.states[2].is_final = true;
  return dfa;
}

}  // namespace pajamas::grammar
