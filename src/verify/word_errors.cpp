// See word_errors.h.
#include "verify/word_errors.h"

#include <algorithm>
#include <array>
#include <utility>

namespace pajamas {
namespace {

/// Signs of several bytes that stand for an apostrophe, or for a blank between words.
constexpr std::array<std::string_view, 3> kApostrophes{"\u2019", "\u02bc", "\uff07"};
constexpr std::array<std::string_view, 10> kBlanks{"\u2010", "\u2011", "\u2012", "\u2013", "\u2014",
                                                   "\u2026", "\u201c", "\u201d", "\u2018", "\u00a0"};

/// What readers say where writers abbreviate.
constexpr std::array<std::pair<std::string_view, std::string_view>, 4> kInFull{
    {{"mr", "mister"}, {"mrs", "misses"}, {"dr", "doctor"}, {"st", "saint"}}};

template <std::size_t N>
std::size_t length_of_any(std::string_view text, const std::array<std::string_view, N>& signs) {
  for (const std::string_view sign : signs) {
    if (text.starts_with(sign)) return sign.size();
  }
  return 0;
}

void finish(std::string& word, std::vector<std::string>& words) {
  while (!word.empty() && word.back() == '\'') word.pop_back();
  if (word.empty()) return;
  for (const auto& pair : kInFull) {
    if (word == pair.first) word = pair.second;
  }
  words.push_back(std::exchange(word, {}));
}

}  // namespace

std::vector<std::string> spoken_words(std::string_view text) {
  std::vector<std::string> words;
  std::string word;
  while (!text.empty()) {
    const char letter = text.front();
    const std::size_t apostrophe = letter == '\'' ? 1 : length_of_any(text, kApostrophes);
    const std::size_t blank = length_of_any(text, kBlanks);
    if (apostrophe > 0) {
      if (!word.empty()) word += '\'';
    } else if (blank > 0) {
      finish(word, words);
    } else if (letter >= 'A' && letter <= 'Z') {
      word += static_cast<char>(letter - 'A' + 'a');
    } else if ((letter >= 'a' && letter <= 'z') || (letter >= '0' && letter <= '9') ||
               static_cast<unsigned char>(letter) >= 0x80) {
      word += letter;
    } else {
      finish(word, words);
    }
    text.remove_prefix(std::max<std::size_t>({apostrophe, blank, 1}));
  }
  finish(word, words);
  return words;
}

double WordErrors::rate_percent() const {
  return 100.0 * static_cast<double>(num_errors()) / static_cast<double>(std::max<std::int64_t>(num_words, 1));
}

WordErrors& WordErrors::operator+=(const WordErrors& other) {
  num_words += other.num_words;
  num_substituted += other.num_substituted;
  num_missing += other.num_missing;
  num_added += other.num_added;
  return *this;
}

WordErrors count_word_errors(std::string_view expected, std::string_view heard) {
  const std::vector<std::string> said = spoken_words(expected), found = spoken_words(heard);
  // Row by row: the errors of the words said so far against the first words found.
  std::vector<WordErrors> row(found.size() + 1);
  for (std::size_t j = 0; j <= found.size(); ++j) row[j].num_added = static_cast<std::int64_t>(j);
  const auto is_better = [](const WordErrors& a, const WordErrors& b) {
    return std::pair(a.num_errors(), -a.num_substituted) < std::pair(b.num_errors(), -b.num_substituted);
  };
  for (const std::string& word : said) {
    WordErrors diagonal = row[0];
    ++row[0].num_missing;
    for (std::size_t j = 1; j < row.size(); ++j) {
      WordErrors best = diagonal;
      best.num_substituted += word == found[j - 1] ? 0 : 1;
      WordErrors missing = row[j], added = row[j - 1];
      ++missing.num_missing;
      ++added.num_added;
      if (is_better(missing, best)) best = missing;
      if (is_better(added, best)) best = added;
      diagonal = std::exchange(row[j], best);
    }
  }
  WordErrors errors = row.back();
  errors.num_words = static_cast<std::int64_t>(said.size());
  return errors;
}

}  // namespace pajamas
