// CTC decoding: greedy and times against transformers (tools/goldens/make_ctc_models.py), prefix beam search against
// the sum over all paths, alignment against the best of all paths, and what language models and hot words change.
#include "tasks/transcription/ctc_decoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <random>

#include "base/files.h"
#include "pajamas/error.h"
#include "tasks/transcription/ctc_alignment.h"

namespace pajamas {
namespace {

using testing::HasSubstr;

/// Blank, delimiter, a, b.
CtcFacts small_facts(bool has_delimiter = true) {
  CtcFacts facts;
  facts.tokens = {"", " ", "a", "b"};
  if (has_delimiter) {
    facts.word_delimiter_id = 1;
  } else {
    facts.tokens[1] = "c";
  }
  return facts;
}

std::vector<float> random_frames(std::size_t num_frames, std::size_t vocab, std::uint32_t seed, double sharpness = 2) {
  std::mt19937 random(seed);
  std::vector<float> logprobs;
  for (std::size_t frame = 0; frame < num_frames; ++frame) {
    std::vector<double> values(vocab);
    double sum = 0;
    for (double& value : values) {
      value = sharpness * (static_cast<double>(random()) / 2147483648.0 - 1);
      sum += std::exp(value);
    }
    for (const double value : values) logprobs.push_back(static_cast<float>(value - std::log(sum)));
  }
  return logprobs;
}

/// Repetitions and blanks dropped; of delimiters one between words.
std::vector<std::int32_t> collapsed(const CtcFacts& facts, const std::vector<std::int32_t>& path) {
  std::vector<std::int32_t> tokens;
  std::int32_t last = -1;
  for (const std::int32_t token : path) {
    if (token != last && token != facts.blank_id) {
      const bool is_delimiter = token == facts.word_delimiter_id;
      if (!is_delimiter || (!tokens.empty() && tokens.back() != token)) tokens.push_back(token);
    }
    last = token;
  }
  if (!tokens.empty() && tokens.back() == facts.word_delimiter_id) tokens.pop_back();
  return tokens;
}

struct Text {
  double probability = 0;  ///< Of all its paths.
  double best = 0;         ///< Of its likeliest path,
  std::vector<std::int32_t> path;
};

/// All texts by all paths, one after another.
std::map<std::vector<std::int32_t>, Text> all_texts(const CtcFacts& facts, const std::vector<float>& logprobs) {
  const std::size_t vocab = facts.tokens.size(), num_frames = logprobs.size() / vocab;
  std::size_t num_paths = 1;
  for (std::size_t i = 0; i < num_frames; ++i) num_paths *= vocab;
  std::map<std::vector<std::int32_t>, Text> texts;
  for (std::size_t number = 0; number < num_paths; ++number) {
    std::vector<std::int32_t> path;
    double logprob = 0;
    std::size_t rest = number;
    for (std::size_t frame = 0; frame < num_frames; ++frame, rest /= vocab) {
      path.push_back(static_cast<std::int32_t>(rest % vocab));
      logprob += static_cast<double>(logprobs[frame * vocab + rest % vocab]);
    }
    Text& text = texts[collapsed(facts, path)];
    text.probability += std::exp(logprob);
    if (std::exp(logprob) > text.best) {
      text.best = std::exp(logprob);
      text.path = path;
    }
  }
  return texts;
}

TEST(CtcDecoderTest, WideBeamsSumAllPathsOfEachText) {
  for (const bool has_delimiter : {true, false}) {
    const CtcFacts facts = small_facts(has_delimiter);
    for (std::uint32_t seed = 0; seed < 12; ++seed) {
      SCOPED_TRACE(seed);
      const std::vector<float> logprobs = random_frames(seed % 7, 4, seed);
      const auto texts = all_texts(facts, logprobs);
      const auto found = search_prefixes(facts, logprobs, {100'000, -1e9, nullptr});
      ASSERT_EQ(found.size(), texts.size());
      double sum = 0;
      for (const CtcHypothesis& one : found) {
        ASSERT_TRUE(texts.contains(one.tokens));
        EXPECT_NEAR(std::exp(one.logprob), texts.at(one.tokens).probability, 1e-6);
        EXPECT_EQ(one.score, one.logprob);
        sum += std::exp(one.logprob);
      }
      EXPECT_NEAR(sum, 1, 1e-6);
      EXPECT_TRUE(
          std::is_sorted(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.score > b.score; }));
    }
  }
}

TEST(CtcDecoderTest, NarrowBeamsFindTheBestTextOfClearSpeech) {
  const CtcFacts facts = small_facts();
  int num_better = 0;
  for (std::uint32_t seed = 100; seed < 130; ++seed) {
    const std::vector<float> logprobs = random_frames(6, 4, seed, 3);
    const auto texts = all_texts(facts, logprobs);
    const auto best = std::max_element(texts.begin(), texts.end(), [](const auto& a, const auto& b) {
      return a.second.probability < b.second.probability;
    });
    const auto found = search_prefixes(facts, logprobs, {12, -12, nullptr});
    EXPECT_LE(found.size(), 12U);
    EXPECT_EQ(found[0].tokens, best->first) << seed;
    if (decode_greedy(facts, logprobs) != best->first) ++num_better;
  }
  // Else the search would have shown nothing.
  EXPECT_GT(num_better, 0);
}

TEST(CtcDecoderTest, GreedyIsTheTextOfTheBestPath) {
  const CtcFacts facts = small_facts();
  for (std::uint32_t seed = 0; seed < 20; ++seed) {
    const std::vector<float> logprobs = random_frames(6, 4, seed, 3);
    const auto texts = all_texts(facts, logprobs);
    const auto best = std::max_element(texts.begin(), texts.end(),
                                       [](const auto& a, const auto& b) { return a.second.best < b.second.best; });
    EXPECT_EQ(decode_greedy(facts, logprobs), best->first) << seed;
  }
  EXPECT_TRUE(decode_greedy(facts, {}).empty());
  EXPECT_TRUE(search_prefixes(facts, {}, {4, -12, nullptr})[0].tokens.empty());
}

TEST(CtcAlignmentTest, SpansAreThoseOfTheBestPathOfTheText) {
  for (const bool has_delimiter : {true, false}) {
    const CtcFacts facts = small_facts(has_delimiter);
    const std::vector<float> logprobs = random_frames(6, 4, 7);
    for (const auto& [tokens, text] : all_texts(facts, logprobs)) {
      const auto spans = align_tokens(facts, logprobs, tokens);
      std::size_t num_texts = 0;
      for (const std::int32_t token : tokens) num_texts += token == facts.word_delimiter_id ? 0 : 1;
      ASSERT_EQ(spans.size(), num_texts);
      if (tokens.empty()) continue;
      // The path that the spans stand for, gaps as they are likeliest, is no other than the best one.
      double logprob = 0;
      std::size_t next = 0;
      for (std::size_t frame = 0; frame < 6; ++frame) {
        const float* row = logprobs.data() + frame * 4;
        if (next < spans.size() && frame >= spans[next].end_frame) ++next;
        if (next < spans.size() && frame >= spans[next].begin_frame) {
          logprob += static_cast<double>(row[spans[next].token]);
          continue;
        }
        const bool is_in_word =
            has_delimiter && next > 0 && next < spans.size() &&
            !std::count(text.path.begin() + static_cast<std::ptrdiff_t>(spans[next - 1].end_frame),
                        text.path.begin() + static_cast<std::ptrdiff_t>(spans[next].begin_frame), 1);
        logprob += static_cast<double>(has_delimiter && !is_in_word ? std::max(row[0], row[1]) : row[0]);
      }
      EXPECT_GE(std::exp(logprob), text.best - 1e-6);
    }
  }
}

TEST(CtcAlignmentTest, TooManyTokensAreRefused) {
  const CtcFacts facts = small_facts();
  const std::vector<float> logprobs = random_frames(2, 4, 1);
  const std::vector<std::int32_t> tokens{2, 2};  // Which needs a blank between.
  EXPECT_THROW((void)align_tokens(facts, logprobs, tokens), Error);
  EXPECT_THROW((void)align_tokens(facts, {}, tokens), Error);
}

/// Frames in which one token is all but certain.
std::vector<float> frames_of(const std::vector<std::int64_t>& ids, std::size_t vocab) {
  std::vector<float> logprobs;
  for (const std::int64_t id : ids) {
    for (std::size_t token = 0; token < vocab; ++token) {
      logprobs.push_back(static_cast<std::int64_t>(token) == id ? -0.01F : -8.0F);
    }
  }
  return logprobs;
}

TEST(CtcDecoderTest, TextAndWordsAreThoseOfTransformers) {
  const auto golden =
      nlohmann::json::parse(read_file(std::filesystem::path(PAJAMAS_TEST_DATA) / "ctc" / "decode.json"));
  CtcFacts facts;
  facts.tokens = golden["tokens"].get<std::vector<std::string>>();
  facts.tokens[4] = " ";
  facts.word_delimiter_id = 4;
  for (std::size_t id = 0; id < 4; ++id) facts.tokens[id].clear();
  for (const auto& row : golden["rows"]) {
    const auto logprobs = frames_of(row["ids"], facts.tokens.size());
    for (const bool is_search : {false, true}) {
      const auto tokens =
          is_search ? search_prefixes(facts, logprobs, {4, -12, nullptr})[0].tokens : decode_greedy(facts, logprobs);
      const auto words = words_of(facts, tokens, align_tokens(facts, logprobs, tokens), 0.5);
      ASSERT_EQ(words.size(), row["words"].size()) << row["text"];
      for (std::size_t i = 0; i < words.size(); ++i) {
        EXPECT_EQ(words[i].text, " " + row["words"][i][0].get<std::string>());
        EXPECT_EQ(words[i].begin_s, 0.5 * row["words"][i][1].get<double>());
        EXPECT_EQ(words[i].end_s, 0.5 * row["words"][i][2].get<double>());
        EXPECT_NEAR(words[i].probability, std::exp(-0.01), 1e-5);
      }
    }
  }
}

TEST(CtcAlignmentTest, WithoutDelimiterEachTokenIsAWord) {
  CtcFacts facts = small_facts(false);
  const auto logprobs = frames_of({0, 2, 2, 0, 2, 3, 1}, 4);
  const auto tokens = decode_greedy(facts, logprobs);
  const auto words = words_of(facts, tokens, align_tokens(facts, logprobs, tokens), 1);
  ASSERT_EQ(words.size(), 4U);
  EXPECT_EQ(words[0].text + words[1].text + words[2].text + words[3].text, "aabc");
  EXPECT_EQ(words[0].end_s, 3);
  EXPECT_EQ(words[1].begin_s, 4);
}

class CtcScorerTest : public testing::Test {
 protected:
  /// Letters a, b, c of which b and c sound the same.
  CtcScorerTest() {
    facts_.tokens = {"", " ", "A", "B", "C"};
    facts_.word_delimiter_id = 1;
  }
  static std::shared_ptr<const NgramModel> model(const std::string& text) {
    return std::make_shared<const NgramModel>(NgramModel::parse(text, "test.arpa"));
  }
  std::string text_of(const std::vector<std::int32_t>& tokens) const {
    std::string text;
    for (const std::int32_t token : tokens) text += facts_.tokens[static_cast<std::size_t>(token)];
    return text;
  }
  /// "A?" once and again, where ? is B with `share` and else C.
  std::string decode(const CtcWordScorer* scorer, double share = 0.55) const {
    std::vector<float> logprobs;
    const auto add = [&](std::int64_t id) {
      const auto frame = frames_of({id}, 5);
      logprobs.insert(logprobs.end(), frame.begin(), frame.end());
    };
    const auto add_unclear = [&] {
      logprobs.insert(logprobs.end(),
                      {-8, -8, -8, static_cast<float>(std::log(share)), static_cast<float>(std::log(1 - share))});
    };
    add(2), add_unclear(), add(1), add(2), add_unclear();
    return text_of(search_prefixes(facts_, logprobs, {16, -12, scorer})[0].tokens);
  }
  std::string error_of(const std::string& arpa, CtcScorerOptions options = {}) const {
    try {
      const CtcWordScorer scorer(facts_, arpa.empty() ? nullptr : model(arpa), std::move(options));
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kUsage);
      return error.what();
    }
    return "no error";
  }

  CtcFacts facts_;
  /// "ac" is likely, and "ab" behind "ac" more so.
  const std::string arpa_ =
      "\\data\\\nngram 1=4\nngram 2=2\n\\1-grams:\n-99 <s> 0\n-1 </s>\n-2 ab -0.5\n-0.5 ac -0.5\n\\2-grams:\n-0.1 ac "
      "ab\n"
      "-0.2 ab </s>\n\\end\\\n";
};

TEST_F(CtcScorerTest, ALanguageModelDecidesBetweenWordsThatSoundTheSame) {
  EXPECT_EQ(decode(nullptr), "AB AB");
  const CtcWordScorer scorer(facts_, model(arpa_), {});
  EXPECT_EQ(decode(&scorer), "AC AB");
  // Where the sound is clear, it is heard.
  EXPECT_EQ(decode(&scorer, 0.9999), "AB AB");
  const CtcWordScorer none(facts_, model(arpa_), {0, 0, {}});
  EXPECT_EQ(decode(&none), "AB AB");
}

TEST_F(CtcScorerTest, ScoresAreTheFormulas) {
  const CtcWordScorer scorer(facts_, model(arpa_), {0.25, 2, {"ABBA"}});
  const double ln10 = std::log(10.0);
  auto state = scorer.begin();
  EXPECT_NEAR(scorer.score_word(state, "AC"), 0.25 * -0.5 * ln10 + 2, 1e-6);
  EXPECT_NEAR(scorer.score_word(state, "AB"), 0.25 * -0.1 * ln10 + 2, 1e-6);
  EXPECT_NEAR(scorer.score_end(state), 0.25 * -0.2 * ln10, 1e-6);
  EXPECT_NEAR(scorer.score_word(state, "BB"), 0.25 * (-7 * ln10 - 10) + 2, 1e-6);
  EXPECT_NEAR(scorer.score_word(state, "ABBA"), 0.25 * (-7 * ln10 - 10) + 2 + 8, 1e-6);
  EXPECT_EQ(scorer.score_begun(""), 0);
  EXPECT_NEAR(scorer.score_begun("A"), 2, 1e-9);          // A quarter of ABBA.
  EXPECT_NEAR(scorer.score_begun("ABB"), 6 - 2.5, 1e-9);  // No word of the language model begins so.
  EXPECT_NEAR(scorer.score_begun("B"), -2.5, 1e-9);
}

TEST_F(CtcScorerTest, HotWordsArePreferred) {
  const CtcWordScorer scorer(facts_, nullptr, {0.5, 1.5, {"AC"}});
  EXPECT_EQ(decode(&scorer), "AC AC");
  const CtcWordScorer other(facts_, nullptr, {0.5, 1.5, {"CCC"}});
  EXPECT_EQ(decode(&other), "AB AB");
}

TEST_F(CtcScorerTest, WhatCannotBeIsRefused) {
  EXPECT_EQ(error_of(arpa_), "no error");
  EXPECT_THAT(error_of("\\data\\\nngram 1=1\n\\1-grams:\n-1 zebra\n\\end\\\n"), HasSubstr("can be spelled"));
  EXPECT_THAT(error_of(arpa_, {-1, 0, {}}), HasSubstr("--lm-weight"));
  EXPECT_THAT(error_of(arpa_, {NAN, 0, {}}), HasSubstr("--lm-weight"));
  EXPECT_THAT(error_of(arpa_, {1, 1e9, {}}), HasSubstr("--word-bonus"));
  facts_.word_delimiter_id.reset();
  EXPECT_THAT(error_of(arpa_), HasSubstr("no word delimiter"));
  EXPECT_THAT(error_of("", {0, 0, {"A"}}), HasSubstr("--hot-words"));
}

}  // namespace
}  // namespace pajamas
