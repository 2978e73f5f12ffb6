// Word error rate of a transcript: the fewest words to change, leave out and add, over the words that were said. The
// judgement of what rate is good enough is the caller's.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pajamas {

/// The words of a text as they are compared: lower case (ASCII letters), apostrophes of all kinds as one, every other
/// sign a blank, and "mr", "mrs", "dr", "st" in full, so that two spellings of one utterance are alike. Bytes of other
/// scripts stay as they are: a text without blanks is one word, so this is for languages that have them. Numbers stay
/// digits or words, as they are written.
std::vector<std::string> spoken_words(std::string_view text);

struct WordErrors {
  std::int64_t num_words = 0;  ///< Expected.
  std::int64_t num_substituted = 0, num_missing = 0, num_added = 0;

  std::int64_t num_errors() const { return num_substituted + num_missing + num_added; }
  /// Errors over expected words, in per cent; of no expected word 0 without errors, else 100 for each word added.
  double rate_percent() const;
  WordErrors& operator+=(const WordErrors& other);
};

/// Of the alignment with the fewest errors (Levenshtein over words); among equals the one with the most substitutions.
/// Memory grows with the words heard, time with the product.
WordErrors count_word_errors(std::string_view expected, std::string_view heard);

}  // namespace pajamas
