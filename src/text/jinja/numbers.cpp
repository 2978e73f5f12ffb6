// See numbers.h.
#include "text/jinja/numbers.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>

#include "text/jinja/operations.h"
#include "text/jinja/printing.h"
#include "text/jinja/python_text.h"
#include "text/jinja/runtime.h"
#include "text/unicode.h"

namespace pajamas::jinja {

namespace {

/// Wider or more exact than any prompt needs; a number of 10^6 digits takes milliseconds.
constexpr int kMaxWidth = 1'000'000;
constexpr int kMaxPrecision = 10'000;

int digit_of(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'z' ? lower - 'a' + 10 : 99;
}

/// Underscores taken out where each stands between two digits; nothing where one stands elsewhere.
std::optional<std::string> without_underscores(std::string_view text) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      result += text[i];
    } else if (i == 0 || i + 1 == text.size() || digit_of(text[i - 1]) > 35 || digit_of(text[i + 1]) > 35) {
      return std::nullopt;
    }
  }
  return result;
}

/// Digits of other scripts count as ASCII's in int() and float().
std::string with_ascii_digits(std::string_view text) {
  std::string result;
  for (std::size_t position = 0; position < text.size();) {
    const char32_t c = next_char(text, position);
    const int value = c < 0x80 ? -1 : decimal_value(c);
    if (value >= 0) {
      result += static_cast<char>('0' + value);
    } else {
      append_utf8(result, c);
    }
  }
  return result;
}

std::string printed(const char* pattern, int precision, double value) {
  const int size = std::snprintf(nullptr, 0, pattern, precision, value);
  std::string text(static_cast<std::size_t>(size) + 1, '\0');
  std::snprintf(text.data(), text.size(), pattern, precision, value);
  text.pop_back();
  return text;
}

/// The digits of `value` in C's forms e, f, g (without sign), infinities and NaN as Python has them.
std::string real_digits(double value, char type, int precision, bool is_alternate) {
  const bool is_upper = type == 'E' || type == 'F' || type == 'G';
  if (std::isnan(value)) return is_upper ? "NAN" : "nan";
  if (std::isinf(value)) return is_upper ? "INF" : "inf";
  std::string pattern = is_alternate ? "%#.*" : "%.*";
  pattern += type;
  return printed(pattern.c_str(), precision, std::fabs(value));
}

/// Type "" with a precision: as g, but never without a fraction, and scientific one digit earlier.
std::string general_digits(double value, int precision) {
  if (!std::isfinite(value)) return real_digits(value, 'g', precision, false);
  precision = std::max(precision, 1);
  const std::string scientific = printed("%.*e", precision - 1, std::fabs(value));
  const std::size_t e = scientific.find('e');
  const int exponent = std::atoi(scientific.c_str() + e + 1);
  if (exponent + 1 > -4 && exponent + 1 <= precision - 1) {
    std::string text = printed("%.*f", precision - 1 - exponent, std::fabs(value));
    while (text.back() == '0') text.pop_back();
    if (text.back() == '.') text += '0';
    return text;
  }
  std::string mantissa = scientific.substr(0, e);
  if (mantissa.find('.') != std::string::npos) {
    while (mantissa.back() == '0') mantissa.pop_back();
    if (mantissa.back() == '.') mantissa.pop_back();
  }
  return mantissa + scientific.substr(e);
}

std::string grouped(const std::string& digits, char separator, std::size_t group) {
  const std::size_t end = std::min(digits.find_first_not_of("0123456789abcdefABCDEF"), digits.size());
  std::string result;
  for (std::size_t i = 0; i < end; ++i) {
    if (i > 0 && (end - i) % group == 0) result += separator;
    result += digits[i];
  }
  return result + digits.substr(end);
}

struct Spec {
  std::string fill = " ";
  char align = '\0';
  char sign = '-';
  bool is_alternate = false;
  int width = 0;
  char grouping = '\0';
  int precision = -1;
  char type = '\0';
};

int parse_count(std::string_view text, std::size_t& i) {
  int value = 0;
  while (i < text.size() && text[i] >= '0' && text[i] <= '9') {
    value = value * 10 + (text[i++] - '0');
    if (value > kMaxWidth) fail("a format is wider than " + std::to_string(kMaxWidth) + " characters");
  }
  return value;
}

Spec parse_spec(std::string_view text) {
  Spec spec;
  std::size_t i = 0;
  const auto is_align = [](char c) { return c == '<' || c == '>' || c == '=' || c == '^'; };
  if (!text.empty()) {
    std::size_t behind = 0;
    next_char(text, behind);
    if (behind < text.size() && is_align(text[behind])) {
      spec.fill = text.substr(0, behind);
      spec.align = text[behind];
      i = behind + 1;
    } else if (is_align(text[0])) {
      spec.align = text[0];
      i = 1;
    }
  }
  const auto at = [&](char c) { return i < text.size() && text[i] == c; };
  if (at('+') || at('-') || at(' ')) spec.sign = text[i++];
  if (at('#')) {
    spec.is_alternate = true;
    ++i;
  }
  if (at('0')) {
    if (spec.align == '\0') {
      spec.fill = "0";
      spec.align = '=';
    }
    ++i;
  }
  spec.width = parse_count(text, i);
  if (at(',') || at('_')) spec.grouping = text[i++];
  if (at('.')) {
    ++i;
    if (i >= text.size() || text[i] < '0' || text[i] > '9') fail("format specifier missing precision");
    spec.precision = parse_count(text, i);
    if (spec.precision > kMaxPrecision) fail("a format has a precision over " + std::to_string(kMaxPrecision));
  }
  if (i < text.size()) spec.type = text[i++];
  if (i < text.size()) fail("invalid format specifier " + repr_of_text(text));
  return spec;
}

/// `sign` and `digits` in the field's width. Centred texts lean left.
std::string padded(const Spec& spec, const std::string& sign, const std::string& body, char default_align) {
  const std::size_t size = count_chars(sign) + count_chars(body);
  const auto width = static_cast<std::size_t>(spec.width);
  if (size >= width) return sign + body;
  const auto filling = [&](std::size_t count) {
    std::string text;
    for (std::size_t i = 0; i < count; ++i) text += spec.fill;
    return text;
  };
  const std::size_t room = width - size;
  switch (spec.align == '\0' ? default_align : spec.align) {
    case '<': return sign + body + filling(room);
    case '^': return filling(room / 2) + sign + body + filling(room - room / 2);
    case '=': return sign + filling(room) + body;
    default: return filling(room) + sign + body;
  }
}

std::string sign_of(bool is_negative, char sign) {
  if (is_negative) return "-";
  return sign == '-' ? "" : std::string(1, sign);
}

[[noreturn]] void fail_type(char type, const Value& value) {
  fail("unknown format code '" + std::string(1, type) + "' for object of type '" + value.type_name() + "'");
}

std::string format_real(const Value& value, Spec spec) {
  double number = value.as_real();
  std::string digits;
  switch (spec.type) {
    case '\0':
      if (spec.precision >= 0) {
        digits = general_digits(number, spec.precision);
      } else {
        digits = repr_of_real(number);
        if (digits[0] == '-') digits.erase(0, 1);
      }
      break;
    case 'e':
    case 'E':
    case 'f':
    case 'F':
      digits = real_digits(number, spec.type, spec.precision < 0 ? 6 : spec.precision, spec.is_alternate);
      break;
    case 'g':
    case 'G':
    case 'n':
      digits = real_digits(number, spec.type == 'n' ? 'g' : spec.type, spec.precision < 0 ? 6 : spec.precision,
                           spec.is_alternate);
      break;
    case '%':
      digits = real_digits(number * 100, 'f', spec.precision < 0 ? 6 : spec.precision, spec.is_alternate) + "%";
      break;
    default: fail_type(spec.type, value);
  }
  if (spec.grouping != '\0') {
    if (spec.align == '=' && spec.fill == "0") fail("a format of grouped digits filled with zeros is not supported");
    digits = grouped(digits, spec.grouping, 3);
  }
  return padded(spec, sign_of(std::signbit(number) && !std::isnan(number), spec.sign), digits, '>');
}

std::string format_integer(const Value& value, Spec spec) {
  const Int number = value.as_int();
  int base = 10;
  switch (spec.type) {
    case '\0':
    case 'd':
    case 'n': break;
    case 'b': base = 2; break;
    case 'o': base = 8; break;
    case 'x':
    case 'X': base = 16; break;
    case 'c': {
      if (number < 0 || number > 0x10FFFF || (number >= 0xD800 && number <= 0xDFFF))
        fail("%c arg not in range(0x110000)");
      std::string text;
      append_utf8(text, static_cast<char32_t>(number));
      return padded(spec, "", text, '<');
    }
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G':
    case '%': return format_real(Value::real(static_cast<double>(number)), spec);
    default: fail_type(spec.type, value);
  }
  if (spec.precision >= 0) fail("precision not allowed in integer format specifier");
  std::string digits = text_of_integer(number, base, spec.type == 'X');
  if (number < 0) digits.erase(0, 1);
  if (spec.grouping != '\0') {
    if (spec.align == '=' && spec.fill == "0") fail("a format of grouped digits filled with zeros is not supported");
    digits = grouped(digits, spec.grouping, base == 10 ? 3 : 4);
  }
  std::string sign = sign_of(number < 0, spec.sign);
  if (spec.is_alternate && base != 10) sign += base == 2 ? "0b" : base == 8 ? "0o" : spec.type == 'X' ? "0X" : "0x";
  return padded(spec, sign, digits, '>');
}

/// The arguments of a % format, taken one after another or by name.
class PercentArguments {
 public:
  explicit PercentArguments(const Value& arguments) : arguments_(arguments) {}

  Value next() {
    if (arguments_.kind() == Kind::kTuple) {
      if (position_ >= arguments_.items().size()) fail("not enough arguments for format string");
      return arguments_.items()[position_++];
    }
    if (position_++ > 0) fail("not enough arguments for format string");
    return arguments_;
  }
  Value named(std::string_view key) {
    if (!arguments_.is_dict()) fail("format requires a mapping");
    is_mapping_used_ = true;
    const Value* found = arguments_.dict().find(key);
    if (found == nullptr) fail("KeyError: " + repr_of_text(key));
    return *found;
  }
  void check_all_used() const {
    const bool is_tuple = arguments_.kind() == Kind::kTuple;
    // Python takes everything with [] but tuples and texts for a mapping, of which any part may be used.
    const bool is_mapping = arguments_.is_dict() || arguments_.kind() == Kind::kList || arguments_.is_undefined() ||
                            object_as<RangeObject>(arguments_) != nullptr;
    if (is_mapping_used_ || is_mapping) return;
    if (position_ < (is_tuple ? arguments_.items().size() : 1)) {
      fail("not all arguments converted during string formatting");
    }
  }

 private:
  const Value& arguments_;
  std::size_t position_ = 0;
  bool is_mapping_used_ = false;
};

/// One conversion of a % format. `spec` holds flags in the terms of the mini-language; `is_zero` and `is_left` are %'s.
std::string percent_conversion(Runtime& runtime, const Value& value, Spec spec, bool is_zero, bool is_left) {
  const auto place = [&](const std::string& sign, const std::string& body, bool may_fill_zeros) {
    spec.align = is_left ? '<' : is_zero && may_fill_zeros ? '=' : '>';
    spec.fill = spec.align == '=' ? "0" : " ";
    return padded(spec, sign, body, '>');
  };
  switch (spec.type) {
    case 's':
    case 'r':
    case 'a': {
      std::string text = spec.type == 's'   ? text_of(runtime, value)
                         : spec.type == 'r' ? repr_of(runtime, value)
                                            : ascii_of(runtime, value);
      if (spec.precision >= 0) text.resize(byte_offset(text, static_cast<std::size_t>(spec.precision)));
      return place("", text, false);
    }
    case 'c': {
      if (value.is_string() && value.num_chars() == 1) return place("", value.text(), false);
      if (!value.is_integral()) fail("%c requires int or char");
      Spec character;
      character.type = 'c';
      return place("", format_integer(Value::integer(value.as_int()), character), false);
    }
    case 'd':
    case 'i':
    case 'u':
    case 'o':
    case 'x':
    case 'X': {
      const bool is_decimal = spec.type == 'd' || spec.type == 'i' || spec.type == 'u';
      if (!value.is_number() || (!is_decimal && !value.is_integral())) {
        fail("%" + std::string(1, spec.type) + " format: " + (is_decimal ? "a real number" : "an integer") +
             " is required, not " + value.type_name());
      }
      const Int number = value.is_integral() ? value.as_int() : integer_of_real(value.as_real());
      const int base = is_decimal ? 10 : spec.type == 'o' ? 8 : 16;
      std::string digits = text_of_integer(number, base, spec.type == 'X');
      if (number < 0) digits.erase(0, 1);
      const auto precision = static_cast<std::size_t>(std::max(spec.precision, 0));
      if (digits.size() < precision) digits.insert(0, precision - digits.size(), '0');
      std::string sign = sign_of(number < 0, spec.sign);
      if (spec.is_alternate && base != 10) sign += base == 8 ? "0o" : spec.type == 'X' ? "0X" : "0x";
      return place(sign, digits, true);
    }
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G': {
      if (!value.is_number()) fail(std::string("must be real number, not ") + value.type_name());
      const double number = value.as_real();
      const std::string digits =
          real_digits(number, spec.type, spec.precision < 0 ? 6 : spec.precision, spec.is_alternate);
      return place(sign_of(std::signbit(number) && !std::isnan(number), spec.sign), digits, true);
    }
    default: fail("unsupported format character '" + std::string(1, spec.type) + "'");
  }
}

}  // namespace

std::optional<Int> parse_integer(std::string_view text, int base) {
  const std::string digits_text = with_ascii_digits(strip(text, std::nullopt, true, true));
  std::string_view digits = digits_text;
  bool is_negative = false;
  if (!digits.empty() && (digits[0] == '+' || digits[0] == '-')) {
    is_negative = digits[0] == '-';
    digits.remove_prefix(1);
  }
  if (digits.size() > 1 && digits[0] == '0') {
    const char prefix = static_cast<char>(digits[1] | 0x20);
    const int named = prefix == 'x' ? 16 : prefix == 'o' ? 8 : prefix == 'b' ? 2 : 0;
    if (named != 0 && (base == 0 || base == named)) {
      base = named;
      digits.remove_prefix(2);
      if (!digits.empty() && digits[0] == '_') digits.remove_prefix(1);
    } else if (base == 0 && digits.find_first_not_of("0_") != std::string_view::npos) {
      return std::nullopt;  // 010 is no decimal literal
    }
  }
  if (base == 0) base = 10;
  const auto plain = without_underscores(digits);
  if (!plain || plain->empty()) return std::nullopt;
  Int value = 0;
  for (const char c : *plain) {
    const int digit = digit_of(c);
    if (digit >= base) return std::nullopt;
    if (__builtin_mul_overflow(value, Int{base}, &value) || __builtin_add_overflow(value, Int{digit}, &value)) {
      return std::nullopt;
    }
  }
  return is_negative ? -value : value;
}

std::optional<double> parse_real(std::string_view text) {
  const std::string ascii = with_ascii_digits(strip(text, std::nullopt, true, true));
  std::string_view digits = ascii;
  bool is_negative = false;
  if (!digits.empty() && (digits[0] == '+' || digits[0] == '-')) {
    is_negative = digits[0] == '-';
    digits.remove_prefix(1);
  }
  const double sign = is_negative ? -1.0 : 1.0;
  const std::string lower = to_lower(digits);
  if (lower == "inf" || lower == "infinity") return sign * std::numeric_limits<double>::infinity();
  if (lower == "nan") return std::numeric_limits<double>::quiet_NaN();
  const auto plain = without_underscores(digits);
  if (!plain || plain->empty()) return std::nullopt;
  const char first = (*plain)[0];
  if (!(first >= '0' && first <= '9') && first != '.') return std::nullopt;
  double value = 0;
  const char* end = plain->data() + plain->size();
  const auto result = std::from_chars(plain->data(), end, value);
  if (result.ptr != end) return std::nullopt;
  if (result.ec == std::errc::result_out_of_range)
    value = std::strtod(plain->c_str(), nullptr);  // 0 or infinity
  else if (result.ec != std::errc())
    return std::nullopt;
  return sign * value;
}

std::string text_of_integer(Int value, int base, bool is_upper) {
  const bool is_negative = value < 0;
  UnsignedInt rest = is_negative ? UnsignedInt{0} - static_cast<UnsignedInt>(value) : static_cast<UnsignedInt>(value);
  const char* digits = is_upper ? "0123456789ABCDEF" : "0123456789abcdef";
  std::string text;
  do {
    text += digits[static_cast<std::size_t>(rest % static_cast<unsigned>(base))];
    rest /= static_cast<unsigned>(base);
  } while (rest != 0);
  if (is_negative) text += '-';
  std::reverse(text.begin(), text.end());
  return text;
}

std::string repr_of_real(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  std::array<char, 32> buffer{};
  const auto end =
      std::to_chars(buffer.data(), buffer.data() + buffer.size(), std::fabs(value), std::chars_format::scientific);
  const std::string_view scientific(buffer.data(), static_cast<std::size_t>(end.ptr - buffer.data()));
  const std::size_t e = scientific.find('e');
  const int exponent = std::atoi(std::string(scientific.substr(e + 1)).c_str());
  std::string digits(scientific.substr(0, 1));
  if (e > 2) digits += scientific.substr(2, e - 2);
  const std::string sign = std::signbit(value) ? "-" : "";
  const int num_digits = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {  // float_repr_style of Python: 'r'
    const int size = std::abs(exponent);
    return sign + digits.substr(0, 1) + (num_digits > 1 ? "." + digits.substr(1) : "") + (exponent < 0 ? "e-" : "e+") +
           (size < 10 ? "0" : "") + std::to_string(size);
  }
  if (exponent < 0) return sign + "0." + std::string(static_cast<std::size_t>(-exponent - 1), '0') + digits;
  if (num_digits <= exponent + 1) {
    return sign + digits + std::string(static_cast<std::size_t>(exponent + 1 - num_digits), '0') + ".0";
  }
  const auto point = static_cast<std::size_t>(exponent + 1);
  return sign + digits.substr(0, point) + "." + digits.substr(point);
}

double rounded(double value, int num_digits) {
  if (!std::isfinite(value) || num_digits > 323) return value;
  if (num_digits < -308) return std::copysign(0.0, value);
  if (num_digits >= 0) return std::strtod(printed("%.*f", num_digits, value).c_str(), nullptr);
  // Tens, hundreds ...: halves to even of the exact value, by the digits of the integer part.
  const std::string exact = printed("%.*f", 0, std::trunc(std::fabs(value)));
  const int kept = static_cast<int>(exact.size()) + num_digits;
  if (kept < 0) return std::copysign(0.0, value);
  const std::string scientific = kept == 0 ? "" : printed("%.*e", kept - 1, value);
  if (kept > 0) return std::strtod(scientific.c_str(), nullptr);
  const double unit = std::pow(10.0, -num_digits);
  return std::copysign(std::fabs(value) > unit / 2 ? unit : 0.0, value);
}

std::string formatted(Runtime& runtime, const Value& value, std::string_view spec_text) {
  if (spec_text.empty()) return text_of(runtime, value);
  if (!value.is_string() && !value.is_number()) {
    fail(std::string("unsupported format string passed to ") + value.type_name() + ".__format__");
  }
  Spec spec = parse_spec(spec_text);
  if (value.kind() == Kind::kFloat) return format_real(value, spec);
  if (value.is_integral()) return format_integer(value, spec);
  if (spec.type != '\0' && spec.type != 's') fail_type(spec.type, value);
  if (spec.sign != '-' || spec.is_alternate || spec.grouping != '\0')
    fail("sign, '#' and ',' not allowed in string format");
  if (spec.align == '=') {
    if (spec.fill != "0") fail("'=' alignment not allowed in string format specifier");
    spec.align = '<';  // the zero before a width
  }
  std::string text = value.text();
  if (spec.precision >= 0) text.resize(byte_offset(text, static_cast<std::size_t>(spec.precision)));
  return padded(spec, "", text, '<');
}

std::string percent_formatted(Runtime& runtime, std::string_view pattern, const Value& arguments_value) {
  PercentArguments arguments(arguments_value);
  std::string out;
  for (std::size_t i = 0; i < pattern.size();) {
    const std::size_t percent = std::min(pattern.find('%', i), pattern.size());
    out += pattern.substr(i, percent - i);
    if (percent == pattern.size()) break;
    i = percent + 1;
    const auto at = [&](char c) { return i < pattern.size() && pattern[i] == c; };
    std::optional<std::string_view> key;
    if (at('(')) {
      int depth = 1;
      const std::size_t begin = ++i;
      for (; i < pattern.size() && depth > 0; ++i) depth += pattern[i] == '(' ? 1 : pattern[i] == ')' ? -1 : 0;
      if (depth > 0) fail("incomplete format key");
      key = pattern.substr(begin, i - 1 - begin);
    }
    Spec spec;
    bool is_zero = false;
    bool is_left = false;
    for (; i < pattern.size() && std::string_view("-+ #0").find(pattern[i]) != std::string_view::npos; ++i) {
      if (pattern[i] == '-') is_left = true;
      if (pattern[i] == '0') is_zero = true;
      if (pattern[i] == '#') spec.is_alternate = true;
      if (pattern[i] == '+' || (pattern[i] == ' ' && spec.sign != '+')) spec.sign = pattern[i];
    }
    const auto count = [&]() -> int {
      if (!at('*')) return parse_count(pattern, i);
      ++i;
      const Value given = arguments.next();
      if (!given.is_integral()) fail("* wants int");
      if (given.as_int() > kMaxWidth || given.as_int() < -kMaxWidth) fail("a format is wider than 1000000 characters");
      return static_cast<int>(given.as_int());
    };
    spec.width = count();
    if (spec.width < 0) {
      is_left = true;
      spec.width = -spec.width;
    }
    if (at('.')) {
      ++i;
      spec.precision = std::max(0, count());
      if (spec.precision > kMaxPrecision) fail("a format has a precision over " + std::to_string(kMaxPrecision));
    }
    if (at('h') || at('l') || at('L')) ++i;
    if (i >= pattern.size()) fail("incomplete format");
    spec.type = pattern[i++];
    if (spec.type == '%') {
      out += '%';
      continue;
    }
    out += percent_conversion(runtime, key ? arguments.named(*key) : arguments.next(), spec, is_zero, is_left);
    runtime.budget().check_text(out.size());
  }
  arguments.check_all_used();
  return out;
}

}  // namespace pajamas::jinja
