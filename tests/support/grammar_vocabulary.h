// Vocabularies for tests of structured output: single bytes with longer tokens of the awkward kinds, and the steps that
// the tests have in common. Header-only test support.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "text/token_grammar.h"

namespace pajamas::test {

/// The texts of a small vocabulary; the last token ends the text, the one before it is special with text of its own.
inline std::vector<std::string> small_vocabulary(bool has_all_bytes = true) {
  std::vector<std::string> tokens;
  for (int byte = has_all_bytes ? 0 : 32; byte < (has_all_bytes ? 256 : 127); ++byte) {
    tokens.emplace_back(1, static_cast<char>(byte));
  }
  for (const char* const token :
       {"{\"", "\":",      "\": ", "\",\"", "\", \"", "\"},{\"",  "\"}",     "\"]",     "\"],", "}}",    "}]",
        "]}",  "[[",       "[{\"", "{}",    "[]",     "true",     "false",   "null",    "tr",   "ue",    "alse",
        ",\"", " \"",      "  ",   "    ",  "\n",     "\n  ",     "\r\n",    "12",      "00",   "1.",    ".5",
        "e1",  "E+",       "-1",   "100",   "2024",   "-0",       "ab",      "abc",     "abcd", "ba",    "aa",
        "aaa", "aaaaaaaa", "a\"",  "b\":",  "name",   "\"name\"", "age",     "id",      "foo",  "foo\"", "\\\"",
        "\\n", "\\u",      "u00",  "\\\\",  "00e9",   "d83d",     "\\ud83d", "\\ude00", "()",   "((",    "))",
        "+1",  "x",        "xx",   "://",   "@a.",    "T1",       ":0",      "Z\""}) {
    tokens.emplace_back(token);
  }
  if (has_all_bytes) {
    // Characters cut in two, and tokens that end one character and begin another.
    for (const char* const token :
         {"\xC3", "\xA9", "\xC3\xA9", "\xE2\x82", "\xAC", "\xE2\x82\xAC", "\xF0\x9F", "\x98\x80", "\xF0\x9F\x98\x80",
          "\xA9\xC3", "a\xC3", "\xA9\"", "\x80\x80", "\xED\xA0\x80"}) {
      tokens.emplace_back(token);
    }
  }
  tokens.emplace_back("ab");  // A second token of the same bytes.
  tokens.emplace_back("");
  tokens.emplace_back("[INST]");
  tokens.emplace_back("</s>");
  return tokens;
}

inline TokenVocabulary vocabulary_of(const std::vector<std::string>& tokens) {
  const std::vector<std::string_view> views(tokens.begin(), tokens.end());
  const std::int64_t end = static_cast<std::int64_t>(tokens.size()) - 1;
  const std::int64_t special = end - 1;
  return TokenVocabulary(views, std::span(&end, 1), std::span(&special, 1));
}

inline bool has_bit(const std::vector<std::uint32_t>& bits, std::size_t id) {
  return (bits[id / 32] >> (id % 32) & 1) != 0;
}

inline std::vector<std::int64_t> allowed_tokens(const GrammarState& state, const TokenVocabulary& vocabulary) {
  std::vector<std::uint32_t> bits(vocabulary.num_mask_words(), 0xFFFFFFFF);
  state.fill_mask(bits);
  std::vector<std::int64_t> ids;
  for (std::int64_t id = 0; id < vocabulary.vocab_size(); ++id) {
    if (has_bit(bits, static_cast<std::size_t>(id))) ids.push_back(id);
  }
  return ids;
}

/// A text of the language by taking allowed tokens at random, ending as soon as it may once `target_tokens` were taken.
/// Empty optional-like: `is_whole` says whether the end was reached within `max_tokens`.
struct RandomText {
  std::string text;
  bool is_whole = false;
};

inline RandomText random_text(const TokenGrammar& grammar, const TokenVocabulary& vocabulary, std::mt19937& random,
                              int target_tokens, int max_tokens) {
  GrammarState state(grammar);
  RandomText result;
  for (int step = 0; step < max_tokens; ++step) {
    if (state.is_complete() && step >= target_tokens) {
      result.is_whole = true;
      return result;
    }
    std::vector<std::int64_t> ids = allowed_tokens(state, vocabulary);
    if (ids.empty()) return result;
    std::int64_t id = ids[random() % ids.size()];
    // Past the target, what closes is preferred, so that texts end.
    if (step >= target_tokens) {
      for (const std::int64_t other : ids) {
        const std::string_view text = vocabulary.token_bytes(other);
        if (text == "\"" || text == "}" || text == "]" || text == ")") {
          if (random() % 2 == 0) id = other;
        }
      }
    }
    if (!state.accept(id)) return result;
    if (state.is_ended()) {
      result.is_whole = true;
      return result;
    }
    result.text += vocabulary.token_bytes(id);
  }
  return result;
}

}  // namespace pajamas::test
