// See text_checks.h.
#include "tasks/transcription/text_checks.h"

#include <zlib.h>

#include <algorithm>
#include <cctype>
#include <string>
#include <vector>

#include "text/tokenizer/utf8.h"

namespace pajamas {
namespace {

constexpr std::size_t kMaxLoopWords = 12;
constexpr std::size_t kMinRepeats = 3;
/// Below this many words "no, no, no" is something that people say.
constexpr std::size_t kMinLoopLength = 8;

std::vector<std::string> pieces_of(std::string_view text) {
  std::vector<std::string> pieces;
  std::string piece;
  const auto finish = [&] {
    if (!piece.empty()) pieces.push_back(std::move(piece));
    piece.clear();
  };
  for (const char c : text) {
    if (c == ' ' || c == '\n' || c == '\t') {
      finish();
    } else if (static_cast<unsigned char>(c) >= 0x80 || std::isalnum(static_cast<unsigned char>(c)) != 0) {
      piece +=
          static_cast<char>(static_cast<unsigned char>(c) < 0x80 ? std::tolower(static_cast<unsigned char>(c)) : c);
    }
  }
  finish();
  if (pieces.size() > 2) return pieces;
  // No blanks between words: characters, a leading byte and those that continue it.
  std::vector<std::string> characters;
  for (const char c : text) {
    if (is_continuation_byte(c) && !characters.empty()) {
      characters.back() += c;
    } else if (c != ' ') {
      characters.emplace_back(1, c);
    }
  }
  return characters;
}

}  // namespace

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\n";
  const std::size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

float compression_ratio(std::string_view text) {
  if (text.empty()) return 0;
  uLongf size = compressBound(static_cast<uLong>(text.size()));
  std::vector<Bytef> compressed(size);
  if (compress(compressed.data(), &size, reinterpret_cast<const Bytef*>(text.data()),
               static_cast<uLong>(text.size())) != Z_OK) {
    return 0;
  }
  return static_cast<float>(text.size()) / static_cast<float>(size);
}

bool is_loop(std::string_view text) {
  const std::vector<std::string> pieces = pieces_of(text);
  if (pieces.size() < kMinLoopLength) return false;
  for (std::size_t length = 1; length <= std::min(kMaxLoopWords, pieces.size() / kMinRepeats); ++length) {
    std::size_t run = 0;  // pieces that equal those `length` before them
    for (std::size_t i = length; i < pieces.size(); ++i) {
      run = pieces[i] == pieces[i - length] ? run + 1 : 0;
      const std::size_t covered = run + length;
      if (covered >= kMinRepeats * length && covered >= kMinLoopLength && 2 * covered > pieces.size()) return true;
    }
  }
  return false;
}

}  // namespace pajamas
