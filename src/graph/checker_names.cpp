// Names in a model. See checker_names.h.
#include "graph/checker_names.h"

#include <algorithm>

#include "pajamas/error.h"

namespace pajamas {
namespace {

/// Well-formed UTF-8 by the table of the Unicode standard (no overlong forms, no surrogates, up to U+10FFFF).
bool is_utf8(std::string_view text) {
  const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U; };
  const auto is_tail = [&](std::size_t i) { return (byte(i) & 0xc0U) == 0x80U; };
  for (std::size_t i = 0; i < text.size();) {
    const unsigned first = byte(i);
    const unsigned second = byte(i + 1);
    if (first < 0x80U) {
      i += 1;
    } else if (first >= 0xc2U && first <= 0xdfU) {
      if (!is_tail(i + 1)) return false;
      i += 2;
    } else if (first >= 0xe0U && first <= 0xefU) {
      if (!is_tail(i + 1) || !is_tail(i + 2)) return false;
      if ((first == 0xe0U && second < 0xa0U) || (first == 0xedU && second > 0x9fU)) return false;
      i += 3;
    } else if (first >= 0xf0U && first <= 0xf4U) {
      if (!is_tail(i + 1) || !is_tail(i + 2) || !is_tail(i + 3)) return false;
      if ((first == 0xf0U && second < 0x90U) || (first == 0xf4U && second > 0x8fU)) return false;
      i += 4;
    } else {
      return false;
    }
  }
  return true;
}

}  // namespace

void check_name(std::string_view name, const char* what, const std::string& where) {
  const char* fault = nullptr;
  if (name.find('\0') != std::string_view::npos) {
    fault = "holds a NUL character";
  } else if (!is_utf8(name)) {
    fault = "is not valid UTF-8";
  }
  if (fault == nullptr) return;
  throw Error(ErrorKind::kBadInput, std::string("the name '") + printable(name) + "' of " + what + " " + fault, where,
              "export the model again with plain names");
}

std::string printable(std::string_view name) {
  std::string text(name);
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c < 0x20 || c > 0x7e; }, '?');
  return text;
}

}  // namespace pajamas
