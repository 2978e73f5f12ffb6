// CtcWordScorer: what a search over characters adds to the model's own probabilities, word by word: an n-gram language
// model and words that are expected. Formulas: docs/audio.md.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bundle/transcription_facts.h"
#include "text/ngram_model.h"

namespace pajamas {

struct CtcScorerOptions {
  double language_model_weight = 0.5;
  double word_bonus = 1.5;             ///< Natural logarithm, for each word; only with a language model.
  std::vector<std::string> hot_words;  ///< As the model writes them.
};

/// Immutable. Scores are natural logarithms.
class CtcWordScorer {
 public:
  /// `model` may be null. Throws Error{kUsage} for options out of range, and when the vocabulary has no word delimiter
  /// or its letters spell no word of the language model.
  CtcWordScorer(const CtcFacts& facts, std::shared_ptr<const NgramModel> model, CtcScorerOptions options);

  using State = NgramModel::State;
  State begin() const { return model_ ? model_->begin() : State{}; }
  /// Of a whole word, which joins the state.
  double score_word(State& state, std::string_view word) const;
  /// Of a word that has begun: taken back when it goes on.
  double score_begun(std::string_view begun) const;
  /// Of the end behind the last word.
  double score_end(const State& state) const;

 private:
  enum class LetterCase { kAsWritten, kLower, kUpper };
  std::string in_case(std::string_view text) const;
  void choose_case(const CtcFacts& facts);

  std::shared_ptr<const NgramModel> model_;
  CtcScorerOptions options_;
  LetterCase letter_case_ = LetterCase::kAsWritten;
};

}  // namespace pajamas
