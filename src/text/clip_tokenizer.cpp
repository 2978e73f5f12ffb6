// Words of a text by CLIP's pattern, and their ids. See clip_tokenizer.h.
#include "text/clip_tokenizer.h"

#include <algorithm>
#include <array>

#include "pajamas/error.h"
#include "text/unicode.h"

namespace pajamas {
namespace {

/// The pattern's fixed alternatives, tried in this order before the classes of characters.
constexpr std::array<std::u32string_view, 7> kContractions{U"'s", U"'t", U"'re", U"'ve", U"'m", U"'ll", U"'d"};

enum class CharacterClass { kSpace, kLetter, kNumber, kOther };

CharacterClass class_of(char32_t code_point) {
  if (is_letter(code_point)) return CharacterClass::kLetter;
  if (is_number(code_point)) return CharacterClass::kNumber;
  return is_whitespace(code_point) ? CharacterClass::kSpace : CharacterClass::kOther;
}

/// Length of the word at the start of `text`, which is not white space: a contraction's end, a run of letters, one
/// digit, or a run of anything else.
std::size_t word_length(std::u32string_view text) {
  for (const std::u32string_view contraction : kContractions) {
    if (text.starts_with(contraction)) return contraction.size();
  }
  const CharacterClass first = class_of(text.front());
  if (first == CharacterClass::kNumber) return 1;
  std::size_t length = 1;
  while (length < text.size() && class_of(text[length]) == first) ++length;
  return length;
}

std::int64_t require_token(const BytePairEncoding& encoding, const char* token, const std::filesystem::path& file) {
  const auto id = encoding.find_token(token);
  if (!id) {
    throw Error(ErrorKind::kBadInput, std::string("has no token ") + token, file.string(),
                "this is not the vocabulary of a CLIP model");
  }
  return *id;
}

}  // namespace

ClipTokenizer::ClipTokenizer(const std::filesystem::path& vocab_json, const std::filesystem::path& merges_txt)
    : encoding_(vocab_json, merges_txt),
      start_of_text_id_(require_token(encoding_, kStartOfText, vocab_json)),
      end_of_text_id_(require_token(encoding_, kEndOfText, vocab_json)) {}

void ClipTokenizer::encode_plain(std::string_view text, std::size_t max_ids, std::vector<std::int64_t>& ids) const {
  const std::u32string clean = lower_case(composed(code_points_of(text)));
  std::vector<std::string> symbols;
  std::u32string_view rest = clean;
  while (!rest.empty() && ids.size() < max_ids) {
    if (class_of(rest.front()) == CharacterClass::kSpace) {
      rest.remove_prefix(1);
      continue;
    }
    const std::size_t length = word_length(rest);
    symbols.clear();
    for (const char byte : utf8_of(rest.substr(0, length))) {
      symbols.push_back(printable_byte(static_cast<std::uint8_t>(byte)));
    }
    symbols.back() += "</w>";
    encoding_.encode(symbols, end_of_text_id_, ids);
    rest.remove_prefix(length);
  }
}

std::vector<std::int64_t> ClipTokenizer::encode(std::string_view text, std::int64_t max_tokens) const {
  if (max_tokens < 2) throw Error(ErrorKind::kUsage, "a text needs at least 2 tokens, its start and end");
  const auto limit = static_cast<std::size_t>(max_tokens) - 1;  // room for the end token
  const std::string_view start = kStartOfText, end = kEndOfText;
  std::vector<std::int64_t> ids{start_of_text_id_};
  // The special tokens written out in a text stand for themselves, as transformers has it; only as they are spelled.
  while (!text.empty() && ids.size() < limit) {
    const std::size_t next_start = text.find(start), next_end = text.find(end);
    const std::size_t next = std::min(next_start, next_end);
    encode_plain(text.substr(0, next), limit, ids);
    if (next == std::string_view::npos) break;
    ids.push_back(next == next_start ? start_of_text_id_ : end_of_text_id_);
    text.remove_prefix(next + (next == next_start ? start.size() : end.size()));
  }
  if (ids.size() > limit) ids.resize(limit);
  ids.push_back(end_of_text_id_);
  return ids;
}

std::vector<std::int64_t> ClipTokenizer::encode_padded(std::string_view text, std::int64_t max_tokens,
                                                       std::int64_t pad_token_id) const {
  std::vector<std::int64_t> ids = encode(text, max_tokens);
  ids.resize(static_cast<std::size_t>(max_tokens), pad_token_id);
  return ids;
}

}  // namespace pajamas
