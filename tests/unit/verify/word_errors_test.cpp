// Tests of verify/word_errors.h: what counts as a word, and errors counted by hand.
#include "verify/word_errors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace pajamas {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::vector<std::int64_t> errors(std::string_view expected, std::string_view heard) {
  const WordErrors counted = count_word_errors(expected, heard);
  return {counted.num_words, counted.num_substituted, counted.num_missing, counted.num_added};
}

TEST(WordErrors, words_are_compared_without_signs_and_case) {
  EXPECT_THAT(spoken_words(" Mr. Dashwood\tdidn\u2019t \u201cgo\u201d\u2014he stayed, at 10:30 "),
              ElementsAre("mister", "dashwood", "didn't", "go", "he", "stayed", "at", "10", "30"));
  EXPECT_THAT(spoken_words("ill-disposed 'quoted' rock'n'roll Mrs St"),
              ElementsAre("ill", "disposed", "quoted", "rock'n'roll", "misses", "saint"));
  EXPECT_THAT(spoken_words("Stra\u00dfe \u00c9t\u00e9"), ElementsAre("stra\u00dfe", "\u00c9t\u00e9"));
  EXPECT_THAT(spoken_words(" .,' - \n"), IsEmpty());
}

TEST(WordErrors, fewest_changes_are_counted) {
  EXPECT_THAT(errors("a b c", "A, b. C!"), ElementsAre(3, 0, 0, 0));
  EXPECT_THAT(errors("a b c", "a x c"), ElementsAre(3, 1, 0, 0));
  EXPECT_THAT(errors("a b c", "a c"), ElementsAre(3, 0, 1, 0));
  EXPECT_THAT(errors("a b c", "a b b c"), ElementsAre(3, 0, 0, 1));
  EXPECT_THAT(errors("a b c d", "b c d e"), ElementsAre(4, 0, 1, 1));
  EXPECT_THAT(errors("a b", ""), ElementsAre(2, 0, 2, 0));
  EXPECT_THAT(errors("", "a"), ElementsAre(0, 0, 0, 1));
  EXPECT_THAT(errors("", ""), ElementsAre(0, 0, 0, 0));
}

TEST(WordErrors, rates_are_over_what_was_said) {
  WordErrors all = count_word_errors("a b c d", "a b c");
  EXPECT_DOUBLE_EQ(all.rate_percent(), 25);
  all += count_word_errors("e", "e f g");
  EXPECT_DOUBLE_EQ(all.rate_percent(), 60);
  EXPECT_DOUBLE_EQ(count_word_errors("", "").rate_percent(), 0);
  EXPECT_DOUBLE_EQ(count_word_errors("", "a b").rate_percent(), 200);
}

/// The distance alone, by the definition without memory of what was done.
std::int64_t distance(const std::string& a, const std::string& b, std::size_t i, std::size_t j) {
  if (i == a.size()) return static_cast<std::int64_t>(b.size() - j);
  if (j == b.size()) return static_cast<std::int64_t>(a.size() - i);
  const std::int64_t same = distance(a, b, i + 1, j + 1) + (a[i] == b[j] ? 0 : 1);
  return std::min({same, distance(a, b, i + 1, j) + 1, distance(a, b, i, j + 1) + 1});
}

TEST(WordErrors, random_texts_have_the_distance_of_the_definition) {
  std::mt19937 random(7);
  for (int round = 0; round < 60; ++round) {
    std::string a, b, said, heard;
    for (std::size_t i = random() % 7; i > 0; --i) a += static_cast<char>('a' + random() % 3);
    for (std::size_t i = random() % 7; i > 0; --i) b += static_cast<char>('a' + random() % 3);
    for (const char word : a) said += std::string(1, word) + ' ';
    for (const char word : b) heard += std::string(1, word) + ' ';
    const WordErrors counted = count_word_errors(said, heard);
    EXPECT_EQ(counted.num_errors(), distance(a, b, 0, 0)) << a << " and " << b;
    EXPECT_EQ(counted.num_added - counted.num_missing,
              static_cast<std::int64_t>(b.size()) - static_cast<std::int64_t>(a.size()));
  }
}

}  // namespace
}  // namespace pajamas
