// Tests of tasks/transcription: rules, search and segments, on a model whose probabilities are written down.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <random>

#include "pajamas/error.h"
#include "tasks/transcription/chunk_decoder.h"
#include "tasks/transcription/segments.h"
#include "text/logit_kernels.h"

namespace pajamas {
namespace {

using testing::ElementsAre;

constexpr float kNever = -std::numeric_limits<float>::infinity();
// Text 0..9 (9: blank), end 10, special tokens 11..19, timestamps 20..70 (0 s to 1 s).
constexpr std::int32_t kBlank = 9, kEnd = 10, kTime = 20, kVocabulary = 71;

WhisperFacts facts() {
  WhisperFacts facts;
  facts.vocab_size = kVocabulary;
  facts.context_length = 64;
  facts.num_positions = 50;
  facts.tokens = {.end_of_text = kEnd,
                  .start_of_transcript = 11,
                  .transcribe = 12,
                  .translate = 13,
                  .start_of_lm = 14,
                  .start_of_previous = 15,
                  .no_speech = 16,
                  .no_timestamps = 17,
                  .first_timestamp = kTime};
  facts.languages = {{"en", 18}, {"de", 19}};
  facts.suppressed_token_ids = {7};
  facts.begin_suppressed_token_ids = {kBlank, kEnd};
  return facts;
}

std::vector<std::int32_t> allowed(const DecodingRules& rules, const std::vector<std::int32_t>& tokens,
                                  std::vector<float> logits = std::vector<float>(kVocabulary, 0.0F)) {
  rules.apply(tokens, logits);
  std::vector<std::int32_t> ids;
  for (std::int32_t i = 0; i < kVocabulary; ++i) {
    if (logits[static_cast<std::size_t>(i)] != kNever) ids.push_back(i);
  }
  return ids;
}

std::vector<std::int32_t> range(std::int32_t begin, std::int32_t end) {
  std::vector<std::int32_t> ids;
  for (std::int32_t i = begin; i < end; ++i) ids.push_back(i);
  return ids;
}

/// Logits that make text likelier than all timestamps together.
std::vector<float> likely_text() {
  std::vector<float> logits(kVocabulary, 0.0F);
  for (std::int32_t i = 0; i <= kEnd; ++i) logits[static_cast<std::size_t>(i)] = 20.0F;
  return logits;
}

TEST(DecodingRules, begin_with_a_timestamp_that_is_not_late) {
  const DecodingRules rules(facts(), {.max_initial_timestamp_s = 0.1});
  EXPECT_EQ(allowed(rules, {}), range(kTime, kTime + 6));
}

TEST(DecodingRules, text_follows_the_first_timestamp_and_pairs_stay_pairs) {
  const DecodingRules rules(facts(), {});
  // One timestamp at the beginning counts as a pair: text or the end.
  EXPECT_THAT(allowed(rules, {kTime}, likely_text()), ElementsAre(0, 1, 2, 3, 4, 5, 6, 8, 9, kEnd));
  // Behind text: text, the end, or a time that is later.
  auto ids = range(0, kEnd + 1);
  std::erase(ids, 7);
  const auto times = range(kTime + 4, kVocabulary);
  ids.insert(ids.end(), times.begin(), times.end());
  EXPECT_EQ(allowed(rules, {kTime + 3, 1}, likely_text()), ids);
  // The end of a segment: its pair, which may be the same time, or the end of all.
  ids = {kEnd};
  const auto same = range(kTime + 5, kVocabulary);
  ids.insert(ids.end(), same.begin(), same.end());
  EXPECT_EQ(allowed(rules, {kTime + 3, 1, kTime + 5}, likely_text()), ids);
  // The pair is complete.
  EXPECT_THAT(allowed(rules, {kTime + 3, 1, kTime + 5, kTime + 5}, likely_text()),
              ElementsAre(0, 1, 2, 3, 4, 5, 6, 8, 9, kEnd));
}

TEST(DecodingRules, a_timestamp_comes_where_timestamps_together_are_likelier_than_any_text) {
  const DecodingRules rules(facts(), {});
  std::vector<float> logits(kVocabulary, 0.0F);
  logits[1] = 3.0F;  // e^3 = 20 against 46 timestamps of e^0
  EXPECT_EQ(allowed(rules, {kTime + 4, 1}, logits), range(kTime + 5, kVocabulary));
  logits[1] = 4.0F;  // e^4 = 55
  EXPECT_GT(allowed(rules, {kTime + 4, 1}, logits).size(), 46U);
}

TEST(DecodingRules, no_time_lies_behind_the_chunk) {
  const DecodingRules rules(facts(), {.chunk_length_s = 0.21});
  const auto ids = allowed(rules, {kTime, 1}, likely_text());
  EXPECT_EQ(ids.back(), kTime + 11);
  EXPECT_EQ(allowed(rules, {}), range(kTime, kTime + 12));
}

TEST(DecodingRules, without_timestamps_there_are_none_and_no_blank_begins) {
  const DecodingRules rules(facts(), {.has_timestamps = false});
  EXPECT_THAT(allowed(rules, {}), ElementsAre(0, 1, 2, 3, 4, 5, 6, 8, 17));
}

TEST(DecodingRules, refuses_ids_outside_the_vocabulary) {
  WhisperFacts wrong = facts();
  wrong.suppressed_token_ids = {kVocabulary};
  EXPECT_THROW(DecodingRules(wrong, {}), Error);
  wrong = facts();
  wrong.tokens.no_speech = -1;
  EXPECT_THROW(DecodingRules(wrong, {}), Error);
}

/// Logits are a function of the chunk and its text so far. Checks what it is asked like a real session would.
class ScriptedModel : public StepModel {
 public:
  using Script = std::function<std::vector<float>(std::size_t chunk, const std::vector<std::int32_t>& text)>;
  explicit ScriptedModel(Script script) : script_(std::move(script)) {}

  std::int64_t vocab_size() const override { return kVocabulary; }
  void encode(std::span<const float>, std::int64_t) override {}
  std::span<float> begin(std::span<const std::size_t> chunks, std::span<const std::vector<std::int32_t>> prompts,
                         std::span<const std::int64_t> positions) override {
    active_.assign(chunks.begin(), chunks.end());
    texts_.assign(chunks.size(), {});
    logits_.clear();
    for (std::size_t i = 0; i < chunks.size(); ++i) {
      for (const std::int64_t position : positions) {
        const bool is_last = position + 1 == static_cast<std::int64_t>(prompts[i].size());
        std::vector<float> row = is_last ? script_(chunks[i], {}) : std::vector<float>(kVocabulary, 0.0F);
        if (!is_last) row[16] = std::log(static_cast<float>(kVocabulary - 1));  // no speech: one half
        logits_.insert(logits_.end(), row.begin(), row.end());
      }
    }
    return logits_;
  }
  std::span<float> step(std::span<const Row> rows) override {
    EXPECT_EQ(rows.size() % active_.size(), 0U);
    const std::size_t now = rows.size() / active_.size(), before = texts_.size() / active_.size();
    std::vector<std::vector<std::int32_t>> next;
    logits_.clear();
    for (std::size_t r = 0; r < rows.size(); ++r) {
      const auto parent = static_cast<std::size_t>(rows[r].parent);
      EXPECT_LT(parent, texts_.size());
      EXPECT_EQ(parent / before, r / now) << "a text continues one of another chunk";
      next.push_back(texts_.at(parent));
      next.back().push_back(rows[r].token);
      const std::vector<float> row = script_(active_[r / now], next.back());
      logits_.insert(logits_.end(), row.begin(), row.end());
    }
    texts_ = std::move(next);
    ++num_steps;
    num_rows += rows.size();
    return logits_;
  }
  void keep(std::span<const std::size_t> chunks) override {
    const std::size_t rows = texts_.size() / active_.size();
    std::vector<std::size_t> active;
    std::vector<std::vector<std::int32_t>> texts;
    for (const std::size_t chunk : chunks) {
      active.push_back(active_.at(chunk));
      for (std::size_t i = 0; i < rows; ++i) texts.push_back(texts_.at(chunk * rows + i));
    }
    active_ = std::move(active);
    texts_ = std::move(texts);
  }

  std::size_t num_steps = 0, num_rows = 0;

 private:
  Script script_;
  std::vector<std::size_t> active_;
  std::vector<std::vector<std::int32_t>> texts_;
  std::vector<float> logits_;
};

/// Probabilities of the tokens named, the rest shared by the others.
std::vector<float> likely(const std::map<std::int32_t, double>& probabilities) {
  double rest = 1;
  for (const auto& [token, probability] : probabilities) rest -= probability;
  std::vector<float> logits(kVocabulary, static_cast<float>(std::log(std::max(rest, 1e-9) / kVocabulary)));
  for (const auto& [token, probability] : probabilities) {
    logits[static_cast<std::size_t>(token)] = static_cast<float>(std::log(probability));
  }
  return logits;
}

std::vector<DecodedChunk> decode(StepModel& model, std::size_t num_chunks, const ChunkDecoderOptions& options,
                                 bool has_timestamps = false) {
  const DecodingRules rules(facts(), {.has_timestamps = has_timestamps});
  std::vector<ChunkTask> tasks;
  for (std::size_t i = 0; i < num_chunks; ++i) tasks.push_back({i, {11, 18, 12}, 0, i, &rules});
  return decode_chunks(model, tasks, 16, options);
}

TEST(ChunkDecoder, greedy_takes_the_likeliest_and_counts_what_it_costs) {
  ScriptedModel model([](std::size_t, const std::vector<std::int32_t>& text) {
    if (text.size() < 3) return likely({{static_cast<std::int32_t>(text.size()) + 1, 0.6}, {6, 0.3}});
    return likely({{kEnd, 0.9}});
  });
  const auto decoded = decode(model, 1, {});
  ASSERT_EQ(decoded.size(), 1U);
  EXPECT_THAT(decoded[0].tokens, ElementsAre(1, 2, 3));
  EXPECT_TRUE(decoded[0].has_ended);
  EXPECT_NEAR(decoded[0].no_speech_probability, 0.5, 1e-5);
  // The rules take probability away from tokens that may not come, so these are a little above log 0.6.
  double sum = 0;
  for (const float logprob : decoded[0].logprobs) {
    EXPECT_NEAR(logprob, std::log(0.6), 0.1);
    sum += static_cast<double>(logprob);
  }
  EXPECT_NEAR(decoded[0].sum_logprob, sum + std::log(0.9), 0.1);
  EXPECT_NEAR(decoded[0].mean_logprob(), decoded[0].sum_logprob / 4, 1e-9);
  EXPECT_EQ(model.num_steps, 3U);
}

TEST(ChunkDecoder, beams_find_what_greedy_misses) {
  // "1" looks best at first, but what follows "2" is certain.
  const auto script = [](std::size_t, const std::vector<std::int32_t>& text) {
    if (text.empty()) return likely({{1, 0.5}, {2, 0.45}});
    if (text.size() == 1) return text[0] == 1 ? likely({{3, 0.3}, {4, 0.3}}) : likely({{5, 0.98}});
    return likely({{kEnd, 0.98}});
  };
  ScriptedModel greedy(script), beams(script);
  EXPECT_THAT(decode(greedy, 1, {})[0].tokens, ElementsAre(1, testing::AnyOf(3, 4)));
  EXPECT_THAT(decode(beams, 1, {.beam_size = 3})[0].tokens, ElementsAre(2, 5));
}

TEST(ChunkDecoder, beams_equal_trying_every_text) {
  // Random probabilities of short texts: with as many beams as there are texts the search is exhaustive.
  for (unsigned seed = 0; seed < 20; ++seed) {
    std::map<std::vector<std::int32_t>, std::map<std::int32_t, double>> table;
    const auto probabilities = [&](const std::vector<std::int32_t>& text) {
      std::seed_seq seeds{seed, static_cast<unsigned>(text.size()), text.empty() ? 99U : static_cast<unsigned>(text[0]),
                          text.size() < 2 ? 99U : static_cast<unsigned>(text[1])};
      std::mt19937 random(seeds);
      std::map<std::int32_t, double> result;
      if (text.size() == 2) {
        result[kEnd] = 0.999;
        return result;
      }
      double sum = 0;
      for (const std::int32_t token : {1, 2, 3})
        sum += result[token] = std::uniform_real_distribution(0.05, 1.0)(random);
      for (auto& entry : result) entry.second *= 0.999 / sum;
      return result;
    };
    std::vector<std::int32_t> best;
    double best_probability = 0;
    for (const std::int32_t a : {1, 2, 3}) {
      for (const std::int32_t b : {1, 2, 3}) {
        const double probability = probabilities({}).at(a) * probabilities({a}).at(b);
        if (probability > best_probability) {
          best_probability = probability;
          best = {a, b};
        }
      }
    }
    ScriptedModel model(
        [&](std::size_t, const std::vector<std::int32_t>& text) { return likely(probabilities(text)); });
    EXPECT_EQ(decode(model, 1, {.beam_size = 9})[0].tokens, best) << "seed " << seed;
  }
}

TEST(ChunkDecoder, chunks_together_give_what_each_gives_alone) {
  // Chunk i says i + 1 tokens, which depend on the chunk; texts end at different times.
  const auto script = [](std::size_t chunk, const std::vector<std::int32_t>& text) {
    const auto place = static_cast<std::int32_t>(text.size());
    if (text.size() > chunk) return likely({{kEnd, 0.7}, {1, 0.2}});
    return likely({{(static_cast<std::int32_t>(chunk) + place) % 6 + 1, 0.5}, {(place * 3) % 6 + 1, 0.4}});
  };
  for (const ChunkDecoderOptions& options : {ChunkDecoderOptions{}, ChunkDecoderOptions{.beam_size = 4},
                                             ChunkDecoderOptions{.temperature = 0.8, .seed = 7}}) {
    ScriptedModel together(script);
    const auto all = decode(together, 7, options);
    const DecodingRules rules(facts(), {.has_timestamps = false});
    for (std::size_t i = 0; i < all.size(); ++i) {
      ScriptedModel alone(script);
      const ChunkTask task{i, {11, 18, 12}, 0, i, &rules};
      const auto one = decode_chunks(alone, {&task, 1}, 16, options);
      EXPECT_EQ(all[i].tokens, one[0].tokens) << "chunk " << i << " with " << options.beam_size << " beams";
      EXPECT_NEAR(all[i].sum_logprob, one[0].sum_logprob, 1e-4);
    }
  }
}

TEST(ChunkDecoder, a_text_without_an_end_stops_at_its_limit) {
  for (const int beams : {1, 5}) {
    ScriptedModel model([](std::size_t, const std::vector<std::int32_t>&) { return likely({{1, 0.9}}); });
    const auto decoded = decode(model, 2, {.beam_size = beams, .max_tokens = 12});
    EXPECT_EQ(decoded[0].tokens.size(), 12U);
    EXPECT_FALSE(decoded[0].has_ended);
    EXPECT_EQ(decoded[1].tokens, decoded[0].tokens);
  }
}

TEST(ChunkDecoder, draws_follow_the_probabilities_and_the_seed) {
  const auto script = [](std::size_t, const std::vector<std::int32_t>& text) {
    return text.empty() ? likely({{1, 0.7}, {2, 0.3}}) : likely({{kEnd, 1.0}});
  };
  int num_first = 0;
  constexpr int kDraws = 2000;
  for (std::uint64_t seed = 0; seed < kDraws; ++seed) {
    ScriptedModel model(script);
    const ChunkDecoderOptions options{.temperature = 1.0, .num_samples = 1, .seed = seed};
    num_first += decode(model, 1, options)[0].tokens == std::vector<std::int32_t>{1} ? 1 : 0;
  }
  EXPECT_NEAR(num_first / static_cast<double>(kDraws), 0.7, 0.04);
  ScriptedModel one(script), other(script);
  const ChunkDecoderOptions options{.temperature = 1.0, .num_samples = 5, .seed = 3};
  EXPECT_EQ(decode(one, 1, options)[0].tokens, decode(other, 1, options)[0].tokens);
}

TEST(ChunkDecoder, refuses_logits_that_are_no_numbers) {
  ScriptedModel model([](std::size_t, const std::vector<std::int32_t>&) {
    return std::vector<float>(kVocabulary, std::numeric_limits<float>::quiet_NaN());
  });
  EXPECT_THROW(decode(model, 1, {}), Error);
}

TEST(ChunkDecoder, refuses_rules_that_leave_no_token) {
  WhisperFacts mute = facts();
  for (std::int32_t id = 0; id < kVocabulary; ++id) mute.suppressed_token_ids.push_back(id);
  const DecodingRules rules(mute, {.has_timestamps = false});
  ScriptedModel model([](std::size_t, const std::vector<std::int32_t>&) { return std::vector<float>(kVocabulary, 0); });
  for (const double temperature : {0.0, 1.0}) {
    ChunkDecoderOptions options;
    options.temperature = temperature;
    const ChunkTask task{0, {11, 18, 12}, 0, 0, &rules};
    EXPECT_THROW(decode_chunks(model, {&task, 1}, 16, options), Error);
  }
}

TEST(Segments, lie_between_pairs_of_timestamps) {
  const DecodingRules rules(facts(), {});
  const std::vector<std::int32_t> tokens{kTime, 1, 2, kTime + 10, kTime + 12, 3, kTime + 20, kTime + 20, 4};
  const ChunkSegments open = split_segments(tokens, rules, 1.0, false);
  ASSERT_EQ(open.segments.size(), 2U);
  EXPECT_EQ(open.segments[0].token_end, 4U);
  EXPECT_NEAR(open.segments[0].end_s, 0.2, 1e-9);
  EXPECT_NEAR(open.segments[1].begin_s, 0.24, 1e-9);
  EXPECT_NEAR(open.segments[1].end_s, 0.4, 1e-9);
  EXPECT_NEAR(open.next_begin_s, 0.4, 1e-9) << "the open text is heard again";
  const ChunkSegments cut = split_segments(tokens, rules, 1.0, true);
  ASSERT_EQ(cut.segments.size(), 3U);
  EXPECT_NEAR(cut.segments[2].begin_s, 0.4, 1e-9);
  EXPECT_NEAR(cut.segments[2].end_s, 1.0, 1e-9);
  EXPECT_NEAR(cut.next_begin_s, 1.0, 1e-9);
}

TEST(Segments, a_single_last_timestamp_says_that_the_rest_is_silent) {
  const DecodingRules rules(facts(), {});
  const ChunkSegments split =
      split_segments(std::vector<std::int32_t>{kTime, 1, kTime + 10, kTime + 12, 3, kTime + 20}, rules, 1.0, false);
  ASSERT_EQ(split.segments.size(), 2U);
  EXPECT_NEAR(split.segments[1].end_s, 0.4, 1e-9);
  EXPECT_NEAR(split.next_begin_s, 1.0, 1e-9);
}

TEST(Segments, texts_without_times_and_empty_ones) {
  const DecodingRules rules(facts(), {});
  const ChunkSegments plain = split_segments(std::vector<std::int32_t>{1, 2}, rules, 0.5, false);
  ASSERT_EQ(plain.segments.size(), 1U);
  EXPECT_EQ(plain.segments[0].end_s, 0.5);
  EXPECT_TRUE(split_segments({}, rules, 0.5, true).segments.empty());
  EXPECT_TRUE(split_segments(std::vector<std::int32_t>{kTime, kTime + 5}, rules, 0.5, true).segments.empty());
  // Times past the audio are cut to it.
  EXPECT_EQ(split_segments(std::vector<std::int32_t>{kTime, 1, kTime + 50}, rules, 0.5, true).segments[0].end_s, 0.5);
}

}  // namespace
}  // namespace pajamas
