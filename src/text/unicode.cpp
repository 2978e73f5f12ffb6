// ICU behind the few questions of unicode.h.
#include "text/unicode.h"

#include <unicode/uchar.h>
#include <unicode/unorm2.h>
#include <unicode/utf16.h>
#include <unicode/utf8.h>

#include "pajamas/error.h"

namespace pajamas {
namespace {

constexpr char32_t kReplacement = 0xFFFD;

std::u16string utf16_of(std::u32string_view text) {
  std::u16string result;
  result.reserve(text.size());
  for (const char32_t code_point : text) {
    if (code_point <= 0xFFFF) {
      result += static_cast<char16_t>(code_point);
    } else {
      result += static_cast<char16_t>(U16_LEAD(code_point));
      result += static_cast<char16_t>(U16_TRAIL(code_point));
    }
  }
  return result;
}

std::u32string code_points_of_utf16(std::u16string_view text) {
  std::u32string result;
  result.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    char32_t code_point = text[i];
    if (U16_IS_LEAD(code_point) && i + 1 < text.size()) code_point = U16_GET_SUPPLEMENTARY(code_point, text[++i]);
    result += code_point;
  }
  return result;
}

/// ICU counts in 32 bits; longer texts are worked on in pieces by nobody, so they are refused.
std::int32_t icu_length(std::size_t size) {
  if (size > static_cast<std::size_t>(INT32_MAX / 4)) {
    throw Error(ErrorKind::kBadInput, "the text is too long (" + std::to_string(size) + " characters)");
  }
  return static_cast<std::int32_t>(size);
}

/// `growth`: most UTF-16 units that one becomes. `status`: of getting the normaliser.
std::u32string normalised(std::u32string_view text, const UNormalizer2* normaliser, UErrorCode status,
                          std::size_t growth, const char* form) {
  if (U_FAILURE(status)) {
    throw Error(ErrorKind::kInternal, std::string("ICU has no data for ") + form + ": " + u_errorName(status));
  }
  const std::u16string source = utf16_of(text);
  std::u16string result(static_cast<std::size_t>(icu_length(source.size())) * growth + 1, u'\0');
  const std::int32_t length = unorm2_normalize(normaliser, source.data(), icu_length(source.size()), result.data(),
                                               static_cast<std::int32_t>(result.size()), &status);
  if (U_FAILURE(status)) throw Error(ErrorKind::kInternal, std::string(form) + " failed: " + u_errorName(status));
  result.resize(static_cast<std::size_t>(length));
  return code_points_of_utf16(result);
}

}  // namespace

std::u32string code_points_of(std::string_view utf8) {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(utf8.data());
  const std::int32_t length = icu_length(utf8.size());
  std::u32string result;
  result.reserve(utf8.size());
  std::int32_t position = 0;
  while (position < length) {
    UChar32 code_point = 0;
    U8_NEXT(bytes, position, length, code_point);
    result += code_point < 0 ? kReplacement : static_cast<char32_t>(code_point);
  }
  return result;
}

void append_utf8(std::string& text, char32_t code_point) {
  std::uint8_t bytes[U8_MAX_LENGTH];
  std::int32_t length = 0;
  U8_APPEND_UNSAFE(bytes, length, static_cast<UChar32>(code_point));
  text.append(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(length));
}

std::string utf8_of(std::u32string_view code_points) {
  std::string result;
  result.reserve(code_points.size());
  for (const char32_t code_point : code_points) append_utf8(result, code_point);
  return result;
}

bool is_letter(char32_t code_point) { return (U_GET_GC_MASK(static_cast<UChar32>(code_point)) & U_GC_L_MASK) != 0; }
bool is_number(char32_t code_point) { return (U_GET_GC_MASK(static_cast<UChar32>(code_point)) & U_GC_N_MASK) != 0; }
bool is_whitespace(char32_t code_point) { return u_isUWhiteSpace(static_cast<UChar32>(code_point)) != 0; }

std::u32string composed(std::u32string_view text) {
  UErrorCode status = U_ZERO_ERROR;
  const UNormalizer2* normaliser = unorm2_getNFCInstance(&status);
  // NFC never needs more than three times the UTF-16 units.
  return normalised(text, normaliser, status, 3, "NFC");
}

std::u32string decomposed(std::u32string_view text) {
  UErrorCode status = U_ZERO_ERROR;
  const UNormalizer2* normaliser = unorm2_getNFDInstance(&status);
  // NFD never needs more than four times the UTF-16 units.
  return normalised(text, normaliser, status, 4, "NFD");
}

std::u32string lower_case(std::u32string_view text) {
  std::u32string result;
  result.reserve(text.size());
  for (const char32_t code_point : text) {
    result += static_cast<char32_t>(u_tolower(static_cast<UChar32>(code_point)));
    // The one code point whose full lower case is longer: a dotted capital I keeps its dot.
    if (code_point == 0x130) result += char32_t{0x307};
  }
  return result;
}

}  // namespace pajamas
