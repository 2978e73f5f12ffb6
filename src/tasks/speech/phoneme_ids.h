// From the phonemes of a sentence's clauses to the ids that a voice takes.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "bundle/speech_facts.h"
#include "tasks/speech/speech_text.h"

namespace pajamas {

/// IPA of one clause: Phonemizer::phonemes_of, or a stand-in.
using ClausePhonemes = std::function<std::string(std::string_view clause)>;

/// The phonemes of a sentence with the signs of its clauses, which are phonemes too, and a blank behind those within
/// it. A sentence without a sign ends as with a full stop. Canonically decomposed; empty where nothing is speakable.
std::u32string sentence_phonemes(const SpeechSentence& sentence, const ClausePhonemes& phonemes_of);

/// A voice's table. Use from one thread at a time.
class PhonemeIds {
 public:
  /// Throws Error{kBadInput} for a table without "_", "^" or "$".
  explicit PhonemeIds(const SpeechFacts& facts);
  /// "^", then "_" and each phoneme in turn, "_" and "$" last. Phonemes that the voice does not know are left out and
  /// logged once each. Empty when it knows none but blanks and signs.
  std::vector<std::int64_t> ids_of(std::u32string_view phonemes);

 private:
  std::map<char32_t, std::vector<std::int64_t>> ids_;
  std::vector<std::int64_t> pad_, begin_, end_;
  std::set<char32_t> unknown_;
};

}  // namespace pajamas
