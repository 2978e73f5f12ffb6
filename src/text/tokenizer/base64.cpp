// See base64.h.
#include "text/tokenizer/base64.h"

#include <array>
#include <cstdint>

#include "pajamas/error.h"

namespace pajamas {
namespace {

constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

std::array<std::int8_t, 256> make_values() {
  std::array<std::int8_t, 256> values{};
  values.fill(-1);
  for (std::size_t i = 0; i < kAlphabet.size(); ++i) {
    values[static_cast<std::uint8_t>(kAlphabet[i])] = static_cast<std::int8_t>(i);
  }
  return values;
}

}  // namespace

std::string decode_base64(std::string_view text, const std::string& where) {
  static const std::array<std::int8_t, 256> values = make_values();
  const auto fail = [&] { throw Error(ErrorKind::kBadInput, "has bytes that are no base64", where); };
  if (text.size() % 4 != 0) fail();
  std::size_t padding = 0;
  while (padding < 2 && padding < text.size() && text[text.size() - 1 - padding] == '=') ++padding;
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3);
  for (std::size_t i = 0; i < text.size(); i += 4) {
    std::uint32_t block = 0;
    for (std::size_t j = 0; j < 4; ++j) {
      const bool is_padding = i + j >= text.size() - padding;
      const int value = is_padding ? 0 : values[static_cast<std::uint8_t>(text[i + j])];
      if (value < 0) fail();
      block = block << 6 | static_cast<std::uint32_t>(value);
    }
    for (int shift = 16; shift >= 0; shift -= 8) bytes += static_cast<char>(block >> shift & 0xFF);
  }
  bytes.resize(bytes.size() - padding);
  return bytes;
}

std::string encode_base64(std::string_view bytes) {
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t block = 0;
    for (std::size_t j = 0; j < 3; ++j) {
      block = block << 8 | (i + j < bytes.size() ? static_cast<std::uint8_t>(bytes[i + j]) : 0U);
    }
    for (std::size_t j = 0; j < 4; ++j) {
      text += i + j > bytes.size() ? '=' : kAlphabet[block >> (18 - 6 * j) & 0x3F];
    }
  }
  return text;
}

}  // namespace pajamas
