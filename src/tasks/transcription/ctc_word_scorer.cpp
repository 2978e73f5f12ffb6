// See ctc_word_scorer.h.
#include "tasks/transcription/ctc_word_scorer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <unordered_set>
#include <utility>

#include "pajamas/error.h"
#include "text/tokenizer/utf8.h"
#include "text/unicode.h"

namespace pajamas {
namespace {

/// Off for a word that the language model does not know, in ln: letters that sound like a word are mostly none.
constexpr double kUnknownWordPenalty = 10;
/// For a whole word that was said to be expected, in ln: as much as a word that is heard 3,000 times less clearly.
constexpr double kHotWordBonus = 8;
/// Words of the language model that are looked at to find its letter case.
constexpr std::size_t kMaxWordsLookedAt = 200'000;

std::string with_ascii_case(std::string_view text, bool is_upper) {
  std::string result(text);
  for (char& c : result) {
    if (is_upper && c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
    if (!is_upper && c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return result;
}

void check_range(double value, double low, double high, const char* option) {
  if (value >= low && value <= high) return;
  throw Error(
      ErrorKind::kUsage, "is " + std::to_string(value), option,
      "give a number from " + std::to_string(static_cast<int>(low)) + " to " + std::to_string(static_cast<int>(high)));
}

}  // namespace

CtcWordScorer::CtcWordScorer(const CtcFacts& facts, std::shared_ptr<const NgramModel> model, CtcScorerOptions options)
    : model_(std::move(model)), options_(std::move(options)) {
  check_range(options_.language_model_weight, 0, 100, "--lm-weight");
  check_range(options_.word_bonus, -100, 100, "--word-bonus");
  if (!facts.word_delimiter_id) {
    throw Error(ErrorKind::kUsage, "the model's vocabulary has no word delimiter, so there are no words to score",
                model_ ? "--lm" : "--hot-words", "leave it out");
  }
  if (model_) choose_case(facts);
}

std::string CtcWordScorer::in_case(std::string_view text) const {
  switch (letter_case_) {
    case LetterCase::kAsWritten: return std::string(text);
    case LetterCase::kLower:
      return is_ascii(text) ? with_ascii_case(text, false) : utf8_of(lower_case(code_points_of(text)));
    case LetterCase::kUpper: return with_ascii_case(text, true);
  }
  return std::string(text);
}

void CtcWordScorer::choose_case(const CtcFacts& facts) {
  std::size_t best = 0;
  for (const LetterCase candidate : {LetterCase::kAsWritten, LetterCase::kLower, LetterCase::kUpper}) {
    const LetterCase chosen = std::exchange(letter_case_, candidate);
    std::unordered_set<char32_t> letters;
    for (const std::string& token : facts.tokens) {
      for (const char32_t letter : code_points_of(in_case(token))) letters.insert(letter);
    }
    std::size_t count = 0;
    for (std::size_t id = 0; id < std::min(model_->vocab_size(), kMaxWordsLookedAt); ++id) {
      const std::string& word = model_->word(static_cast<NgramModel::WordId>(id));
      std::size_t at = 0;
      while (at < word.size() && letters.contains(next_code_point(word, at))) {
        if (at == word.size()) ++count;
      }
    }
    if (count > best) {
      best = count;
    } else {
      letter_case_ = chosen;
    }
  }
  if (best > 0) return;
  throw Error(ErrorKind::kUsage, "none of the language model's words can be spelled with the speech model's letters",
              "--lm", "give a language model of whole words in the language of the speech model");
}

double CtcWordScorer::score_word(State& state, std::string_view word) const {
  double score = 0;
  if (model_) {
    const auto id = model_->find(in_case(word));
    double language = id ? model_->score(state, *id) : model_->score_unknown(state) - kUnknownWordPenalty;
    score = options_.language_model_weight * language + options_.word_bonus;
  }
  for (const std::string& hot : options_.hot_words) {
    if (hot == word) return score + kHotWordBonus;
  }
  return score;
}

double CtcWordScorer::score_begun(std::string_view begun) const {
  if (begun.empty()) return 0;
  double score = 0;
  if (model_ && !model_->has_prefix(in_case(begun))) score = -options_.language_model_weight * kUnknownWordPenalty;
  double share = 0;
  for (const std::string& hot : options_.hot_words) {
    if (!hot.starts_with(begun)) continue;
    share = std::max(share, static_cast<double>(begun.size()) / static_cast<double>(hot.size()));
  }
  return score + share * kHotWordBonus;
}

double CtcWordScorer::score_end(const State& state) const {
  return model_ ? options_.language_model_weight * model_->score_end(state) : 0;
}

}  // namespace pajamas
