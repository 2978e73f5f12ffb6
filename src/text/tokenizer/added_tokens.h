// Added tokens: tokens that are searched for in the text itself, before normalising or after it, and taken out of it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer/flat_tables.h"
#include "text/tokenizer/normalizer.h"

namespace pajamas {

/// Finds tokens in a text: at each place the longest. Immutable; any thread.
class AddedTokenSearch {
 public:
  /// `texts[i]` is what `tokens[i]` looks like in the text that is searched.
  AddedTokenSearch(std::vector<AddedToken> tokens, const std::vector<std::string>& texts);

  bool empty() const { return trie_.empty(); }

  /// Calls `take(text, token)` for the parts of a valid UTF-8 text in order: token is null for text between tokens
  /// (never empty). Special tokens are text with `parses_special` off.
  template <typename Take>
  void split(std::string_view text, bool parses_special, const Take& take) const {
    std::size_t done = 0, position = 0;
    while (position < text.size()) {
      Match match;
      if (!find(text, position, done, parses_special, match)) break;
      if (match.begin > done) take(text.substr(done, match.begin - done), nullptr);
      take(text.substr(match.begin, match.end - match.begin), match.token);
      done = match.end;
      position = match.next;
    }
    if (done < text.size()) take(text.substr(done), nullptr);
  }

 private:
  struct Match {
    const AddedToken* token = nullptr;
    std::size_t begin = 0, end = 0;  ///< With the white space that the token takes along.
    std::size_t next = 0;            ///< Where the search goes on.
  };
  /// The first match from `position` on. `done`: where the last one ended.
  bool find(std::string_view text, std::size_t position, std::size_t done, bool parses_special, Match& match) const;

  std::vector<AddedToken> tokens_;
  Trie trie_;
  std::vector<bool> is_first_byte_;
  int only_first_byte_ = -1;  ///< The one byte that all tokens begin with, or -1.
};

}  // namespace pajamas
