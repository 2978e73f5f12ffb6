// The published regular expressions that cut a text into words before byte-level BPE (GPT-2, Llama 3, Qwen 2 and 3.5,
// GPT-4o, Tekken and their variants), by hand: one pass, no backtracking, any text is covered without gaps. Patterns of
// any other form go through text/tokenizer/regex.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "text/tokenizer/character_classes.h"

namespace pajamas {

/// Immutable; any thread.
class WordPattern {
 public:
  /// Reads a pattern by its alternatives; nothing when it is not one of these.
  static std::optional<WordPattern> recognise(std::string_view regex);
  /// The pattern of the ByteLevel pre-tokenizer.
  static WordPattern gpt2();

  /// End of the word that begins at `begin`, which is less than text.size(). `text` must be valid UTF-8.
  std::size_t word_end(std::string_view text, std::size_t begin) const;

 private:
  enum class Contractions : std::uint8_t { kNone, kLowerCase, kAnyCase };
  enum class NumberRun : std::uint8_t { kOne, kThree, kAll, kSpaceAndAll };
  WordPattern() : classes_(&CharacterClasses::instance()) {}

  /// Bytes of "'s" and the like at `begin`, or 0.
  static std::size_t contraction_length(std::string_view text, std::size_t begin, bool is_any_case);
  std::size_t run_end(std::string_view text, std::size_t position, unsigned mask, bool wants_mask) const;
  std::size_t number_end(std::string_view text, std::size_t position) const;
  /// A run of letters told apart by case, from `begin`; `begin` when there is none. The two alternatives of GPT-4o's
  /// pattern: with at least one lower-case letter, or with at least one upper-case letter.
  std::size_t ends_lower(std::string_view text, std::size_t begin) const;
  std::size_t ends_upper(std::string_view text, std::size_t begin) const;
  std::size_t cased_word_end(std::string_view text, std::size_t begin, unsigned first_class, std::size_t second) const;
  std::size_t space_end(std::string_view text, std::size_t begin) const;

  const CharacterClasses* classes_;
  Contractions leading_contractions_ = Contractions::kNone;
  Contractions trailing_contractions_ = Contractions::kNone;  ///< With is_cased_ only.
  bool is_cased_ = false;
  bool takes_any_prefix_ = false;  ///< [^\r\n\p{L}\p{N}]? before letters; otherwise a space.
  std::uint8_t letter_mask_ = kLetterClass;
  NumberRun number_run_ = NumberRun::kOne;
  bool other_takes_newlines_ = false;  ///< [\r\n]* after a run of other characters
  bool other_takes_slashes_ = false;   ///< [\r\n/]*
  bool cuts_after_newlines_ = false;   ///< \s*[\r\n]+
};

}  // namespace pajamas
