// NgramModel: scores worked out by hand from the ARPA definition, and what is said to text that is no ARPA model.
#include "text/ngram_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <numbers>

#include "pajamas/error.h"
#include "support/temporary_folder.h"

namespace pajamas {
namespace {

using testing::HasSubstr;

constexpr const char* kTrigrams = R"(made by hand

\data\
ngram 1=6
ngram 2=4
ngram 3=2

\1-grams:
-1.5	<unk>
-99	<s>	-0.5
-1.25	</s>
-0.75	the	-0.25
-1	cat	-0.125
-2	Größe	0.0625

\2-grams:
-0.5	<s> the	-0.1
-0.25	the cat	-0.2
-0.375 cat </s>
-0.875	cat the	0

\3-grams:
-0.03125	<s> the cat
-0.0625	the cat </s>

\end\
)";

NgramModel parsed(const std::string& text) { return NgramModel::parse(text, "test.arpa"); }

std::string error_of(const std::string& text) {
  try {
    (void)parsed(text);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
    return error.what();
  }
  return "no error";
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

/// log10 of the words, one after another, with the end.
std::vector<double> scores(const NgramModel& model, const std::vector<std::string>& words) {
  NgramModel::State state = model.begin();
  std::vector<double> result;
  for (const std::string& word : words) {
    const auto id = model.find(word);
    result.push_back((id ? model.score(state, *id) : model.score_unknown(state)) / std::numbers::ln10);
  }
  result.push_back(model.score_end(state) / std::numbers::ln10);
  return result;
}

void expect_scores(const std::vector<double>& actual, const std::vector<double>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) EXPECT_NEAR(actual[i], expected[i], 1e-6) << "word " << i;
}

TEST(NgramModelTest, ScoresAreThoseWorkedOutByHand) {
  const NgramModel model = parsed(kTrigrams);
  EXPECT_EQ(model.order(), 3U);
  EXPECT_EQ(model.vocab_size(), 6U);
  // Whole n-grams: <s> the; <s> the cat; the cat </s>.
  expect_scores(scores(model, {"the", "cat"}), {-0.5, -0.03125, -0.0625});
  // No word: <s> </s> is not there, so the back-off of <s> and the unigram.
  expect_scores(scores(model, {}), {-0.5 - 1.25});
  // <s> cat: back-off of <s>; then cat the; then (cat the) cat by the cat, as "cat the" backs off with 0;
  // then the end by "the cat </s>".
  expect_scores(scores(model, {"cat", "the", "cat"}), {-0.5 - 1, -0.875, -0.25, -0.0625});
  // <s> the the: "<s> the" backs off with -0.1, "the" with -0.25, unigram the; then no context "the the", so "the".
  expect_scores(scores(model, {"the", "the"}), {-0.5, -0.1 - 0.25 - 0.75, -0.25 - 1.25});
  // A positive back-off, and text that is not ASCII.
  expect_scores(scores(model, {"Größe", "cat"}), {-0.5 - 2, 0.0625 - 1, -0.375});
  // An unknown word is <unk>, behind which nothing is known.
  expect_scores(scores(model, {"dog", "cat"}), {-0.5 - 1.5, -1, -0.375});
}

TEST(NgramModelTest, UnknownWordsWithoutTheirTokenBeginAgain) {
  const NgramModel model =
      parsed("\\data\\\nngram 1=2\nngram 2=1\n\\1-grams:\n-1\ta\t-0.5\n-2\tb\n\\2-grams:\n-0.25\ta b\n\\end\\\n");
  expect_scores(scores(model, {"a", "x", "b"}), {-1, NgramModel::kUnknownLog10, -2, 0});
  expect_scores(scores(model, {"a", "b"}), {-1, -0.25, 0});
  const NgramModel unigrams = parsed("\\data\\\nngram 1=1\n\\1-grams:\n-0.5 a\n\\end\\");
  expect_scores(scores(unigrams, {"a", "a"}), {-0.5, -0.5, 0});
}

TEST(NgramModelTest, ContextsThatPruningTookOutAreBridged) {
  // "a b c" without "a b": no back-off of it, and no probability.
  const NgramModel model = parsed(
      "\\data\\\nngram 1=3\nngram 2=0\nngram 3=1\n\\1-grams:\n-1 a -0.5\n-2 b -0.25\n-3 c\n\\2-grams:\n\\3-grams:\n"
      "-0.125 a b c\n\\end\\\n");
  expect_scores(scores(model, {"a", "b", "c"}), {-1, -0.5 - 2, -0.125, 0});
  expect_scores(scores(model, {"a", "b", "a"}), {-1, -2.5, -0.25 - 1, 0});
}

TEST(NgramModelTest, PrefixesAreFound) {
  const NgramModel model = parsed(kTrigrams);
  EXPECT_TRUE(model.has_prefix("Gr"));
  EXPECT_TRUE(model.has_prefix("cat"));
  EXPECT_FALSE(model.has_prefix("cats"));
  EXPECT_FALSE(model.has_prefix("z"));
  EXPECT_FALSE(model.find("ca").has_value());
  EXPECT_EQ(model.word(*model.find("Größe")), "Größe");
}

TEST(NgramModelTest, ManyNgramsAreFoundAgain) {
  constexpr int kNumWords = 300;
  std::string text = "\\data\\\nngram 1=300\nngram 2=90000\n\\1-grams:\n";
  for (int i = 0; i < kNumWords; ++i) text += "-1\tw" + std::to_string(i) + "\t-0.5\n";
  text += "\\2-grams:\n";
  for (int i = 0; i < kNumWords * kNumWords; ++i) {
    text += "-" + std::to_string(i) + "e-5\tw" + std::to_string(i / kNumWords) + " w" + std::to_string(i % kNumWords) +
            "\n";
  }
  const NgramModel model = parsed(text + "\\end\\\n");
  for (int i = 0; i < kNumWords * kNumWords; i += 7) {
    NgramModel::State state;
    state.words[0] = *model.find("w" + std::to_string(i / kNumWords));
    state.length = 1;
    EXPECT_NEAR(model.score(state, *model.find("w" + std::to_string(i % kNumWords))), -i * 1e-5 * std::numbers::ln10,
                1e-6);
  }
}

TEST(NgramModelTest, WhatIsNoModelIsNamedWithItsLine) {
  const std::string good = kTrigrams;
  EXPECT_EQ(error_of(good), "no error");
  EXPECT_EQ(error_of(replaced(good, "\\end\\\n", "\\end\\")), "no error");
  EXPECT_THAT(error_of(""), HasSubstr("\\data\\"));
  EXPECT_THAT(error_of("words\nand more"), HasSubstr("no ARPA"));
  EXPECT_THAT(error_of(std::string("\x1f\x8b\x08", 3)), HasSubstr("gunzip"));
  EXPECT_THAT(error_of("\\data\\\n"), HasSubstr("line 2"));
  EXPECT_THAT(error_of("\\data\\\n\\1-grams:\n"), HasSubstr("before any count"));
  EXPECT_THAT(error_of("\\data\\\nngram 1=0\n\\1-grams:\n\\end\\\n"), HasSubstr("before any count"));
  EXPECT_THAT(error_of(replaced(good, "ngram 2=4", "ngram 3=4")), HasSubstr("out of turn"));
  EXPECT_THAT(error_of(replaced(good, "ngram 2=4", "ngram 2=four")), HasSubstr("'four'"));
  EXPECT_THAT(error_of(replaced(good, "ngram 2=4", "ngram 2=99999999999")), HasSubstr("cannot hold"));
  EXPECT_THAT(error_of(replaced(good, "ngram 2=4", "ngram 2=99999999999999999999999")),
              HasSubstr("a number should be"));
  EXPECT_THAT(error_of(replaced(good, "ngram 2=4", "ngram 2=3")), HasSubstr("\\3-grams:"));
  EXPECT_THAT(error_of(replaced(good, "ngram 2=4", "ngram 2=5")), HasSubstr("no n-gram of 2 words"));
  EXPECT_THAT(error_of(replaced(good, "\\2-grams:", "\\4-grams:")), HasSubstr("where \\2-grams: should be"));
  EXPECT_THAT(error_of(replaced(good, "the cat\t-0.2", "the dog\t-0.2")), HasSubstr("'dog', which is no unigram"));
  EXPECT_THAT(error_of(replaced(good, "cat the\t0", "the cat\t0")), HasSubstr("there twice"));
  EXPECT_THAT(error_of(replaced(good, "-1\tcat", "-1\tthe")), HasSubstr("'the' twice"));
  EXPECT_THAT(error_of(replaced(good, "-1\tcat", "nan\tcat")), HasSubstr("a logarithm should be"));
  EXPECT_THAT(error_of(replaced(good, "-1\tcat", "0.5\tcat")), HasSubstr("above 1"));
  EXPECT_THAT(error_of(replaced(good, "-1\tcat", "-1\tc\xFFt")), HasSubstr("no UTF-8"));
  EXPECT_THAT(error_of(replaced(good, "-1\tcat\t-0.125", "-1\tcat\t-0.125\t3")), HasSubstr("no n-gram of 1 word"));
  EXPECT_THAT(error_of(replaced(good, "\\end\\", "")), HasSubstr("should follow"));
  EXPECT_THAT(error_of(good.substr(0, good.size() / 2)), HasSubstr("line"));
  std::string orders = "\\data\\\n";
  for (int i = 1; i <= 11; ++i) orders += "ngram " + std::to_string(i) + "=1\n";
  EXPECT_THAT(error_of(orders), HasSubstr("at most 10"));
}

TEST(NgramModelTest, FilesAreRead) {
  const test::TemporaryFolder folder;
  std::ofstream(folder.path() / "lm.arpa") << kTrigrams;
  EXPECT_EQ(NgramModel::read(folder.path() / "lm.arpa").vocab_size(), 6U);
  EXPECT_THROW((void)NgramModel::read(folder.path() / "none.arpa"), Error);
  std::ofstream(folder.path() / "empty.arpa") << "";
  EXPECT_THROW((void)NgramModel::read(folder.path() / "empty.arpa"), Error);
}

}  // namespace
}  // namespace pajamas
