// See added_tokens.h.
#include "text/tokenizer/added_tokens.h"

#include <algorithm>
#include <cstring>

#include "text/tokenizer/character_classes.h"
#include "text/tokenizer/utf8.h"
#include "text/unicode.h"

namespace pajamas {

AddedTokenSearch::AddedTokenSearch(std::vector<AddedToken> tokens, const std::vector<std::string>& texts)
    : tokens_(std::move(tokens)), is_first_byte_(256, false) {
  for (std::size_t i = 0; i < tokens_.size(); ++i) {
    if (texts[i].empty()) continue;
    trie_.insert(texts[i], static_cast<std::int32_t>(i));
    is_first_byte_[static_cast<std::uint8_t>(texts[i][0])] = true;
  }
  if (std::count(is_first_byte_.begin(), is_first_byte_.end(), true) == 1) {
    only_first_byte_ =
        static_cast<int>(std::find(is_first_byte_.begin(), is_first_byte_.end(), true) - is_first_byte_.begin());
  }
}

bool AddedTokenSearch::find(std::string_view text, std::size_t position, std::size_t done, bool parses_special,
                            Match& match) const {
  for (; position < text.size(); ++position) {
    if (only_first_byte_ >= 0) {
      const void* found = std::memchr(text.data() + position, only_first_byte_, text.size() - position);
      if (found == nullptr) return false;
      position = static_cast<std::size_t>(static_cast<const char*>(found) - text.data());
    } else if (!is_first_byte_[static_cast<std::uint8_t>(text[position])]) {
      continue;
    }
    std::int32_t longest = Trie::kNone;
    std::size_t longest_end = position;
    std::uint32_t node = Trie::kRoot;
    for (std::size_t end = position; end < text.size();) {
      node = trie_.step(node, static_cast<std::uint8_t>(text[end]));
      if (node == Trie::kRoot) break;
      ++end;
      if (trie_.value(node) == Trie::kNone) continue;
      longest = trie_.value(node);
      longest_end = end;
    }
    if (longest == Trie::kNone) continue;
    const AddedToken& token = tokens_[static_cast<std::size_t>(longest)];
    std::size_t begin = position, end = longest_end;
    position = longest_end - 1;  // A match that is turned down is passed over as a whole.
    if (token.is_special && !parses_special) continue;
    if (token.is_single_word) {
      std::size_t left = begin == 0 ? 0 : previous_character(text, begin), right = end;
      if (begin > 0 && is_word_character(next_code_point(text, left))) continue;
      if (end < text.size() && is_word_character(next_code_point(text, right))) continue;
    }
    match.next = end;
    while (token.strips_left && begin > done) {
      const std::size_t left = previous_character(text, begin);
      std::size_t after = left;
      if (!is_whitespace(next_code_point(text, after))) break;
      begin = left;
    }
    while (token.strips_right && end < text.size()) {
      std::size_t after = end;
      if (!is_whitespace(next_code_point(text, after))) break;
      end = after;
    }
    match.token = &token;
    match.begin = std::max(begin, done);
    match.end = std::max(end, match.begin);
    return true;
  }
  return false;
}

}  // namespace pajamas
