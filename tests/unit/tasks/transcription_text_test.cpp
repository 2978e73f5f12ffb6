// Tests of tasks/transcription: checks of texts, words, cuts, formats.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "pajamas/error.h"
#include "tasks/transcription/speech_chunk.h"
#include "tasks/transcription/text_checks.h"
#include "tasks/transcription/transcript_formats.h"
#include "tasks/transcription/words.h"

namespace pajamas {
namespace {

using testing::ElementsAre;

TEST(TextChecks, compression_ratio_is_zlibs) {
  // Python: len(text) / len(zlib.compress(text)) of the same bytes.
  EXPECT_NEAR(compression_ratio("The quick brown fox jumps over the lazy dog."), 44.0 / 51.0, 1e-6);
  std::string loop;
  for (int i = 0; i < 50; ++i) loop += "thank you ";
  EXPECT_GT(compression_ratio(loop), 10);
  EXPECT_EQ(compression_ratio(""), 0);
}

TEST(TextChecks, loops_are_told_from_texts) {
  EXPECT_TRUE(is_loop("thank you thank you Thank you thank you, thank you."));
  EXPECT_TRUE(is_loop("And so I said the same thing the same thing the same thing the same thing the same thing"));
  EXPECT_TRUE(is_loop("谢谢谢谢谢谢谢谢谢谢"));
  EXPECT_FALSE(is_loop("No, no, no!"));
  EXPECT_FALSE(is_loop("The quick brown fox jumps over the lazy dog and the dog sleeps on."));
  EXPECT_FALSE(is_loop("He said very very very good words about all of the people who had come to hear him"));
  EXPECT_FALSE(is_loop(""));
}

TEST(Words, the_path_through_costs_is_the_cheapest) {
  // Every monotonous path of small random matrices, against align_rows.
  std::mt19937 random(5);
  for (int round = 0; round < 200; ++round) {
    const std::size_t rows = 1 + random() % 4, columns = 1 + random() % 5;
    std::vector<float> costs(rows * columns);
    for (float& cost : costs) cost = std::uniform_real_distribution<float>(-1, 1)(random);
    float best = 1e9F;
    std::vector<std::size_t> expected;
    std::vector<std::pair<std::size_t, std::size_t>> path;
    const auto walk = [&](const auto& self, std::size_t r, std::size_t c, float sum) -> void {
      sum += costs[r * columns + c];
      path.emplace_back(r, c);
      if (r + 1 == rows && c + 1 == columns) {
        if (sum < best) {
          best = sum;
          expected.assign(rows, columns);
          for (const auto& [row, column] : path) expected[row] = std::min(expected[row], column);
        }
      } else {
        if (r + 1 < rows) self(self, r + 1, c, sum);
        if (c + 1 < columns) self(self, r, c + 1, sum);
        if (r + 1 < rows && c + 1 < columns) self(self, r + 1, c + 1, sum);
      }
      path.pop_back();
    };
    walk(walk, 0, 0, 0.0F);
    EXPECT_EQ(align_rows(costs, rows, columns), expected) << "round " << round;
  }
}

TEST(Words, token_times_follow_the_attention) {
  // Three heads; text token i looks at positions around 10 + 20 i of 100; the end at 90.
  constexpr std::size_t kHeads = 3, kPrompt = 2, kText = 4, kTokens = kPrompt + kText + 1, kPositions = 100;
  std::mt19937 random(3);
  std::vector<float> attention(kHeads * kTokens * kPositions);
  for (std::size_t h = 0; h < kHeads; ++h) {
    for (std::size_t t = 0; t < kTokens; ++t) {
      double sum = 0;
      float* row = attention.data() + (h * kTokens + t) * kPositions;
      for (std::size_t p = 0; p < kPositions; ++p) {
        const double centre = t < kPrompt ? 0 : 10 + 20.0 * static_cast<double>(t - kPrompt);
        const double distance = (static_cast<double>(p) - centre) / 8;
        row[p] =
            static_cast<float>(std::exp(-distance * distance) + 0.05 * static_cast<double>(random() % 100) / 100.0);
        sum += row[p];
      }
      for (std::size_t p = 0; p < kPositions; ++p) row[p] = static_cast<float>(row[p] / sum);
    }
  }
  const auto times = token_times(attention, kHeads, kTokens, kPositions, kPrompt, 2.0);
  ASSERT_EQ(times.size(), kText + 1);
  EXPECT_EQ(times[0], 0.0);
  for (std::size_t i = 1; i < times.size(); ++i) {
    // A token begins half way from the centre before to its own: 10 + 20 i - 10 positions of 20 ms.
    EXPECT_NEAR(times[i], 0.02 * 20 * static_cast<double>(i), 0.1) << i;
  }
}

TranscribedWord word(const std::string& text, double begin_s = 0, double end_s = 0) {
  TranscribedWord result;
  result.text = text;
  result.begin_s = begin_s;
  result.end_s = end_s;
  return result;
}

TEST(Words, punctuation_joins_the_word_it_belongs_to) {
  std::vector<TranscribedWord> words{word(" He", 0, 1), word(" said", 1, 2), word(":", 2, 2), word(" \"", 2, 2),
                                     word("Go", 2, 3),  word("!", 3, 3),     word("\"", 3, 3)};
  merge_punctuation(words);
  std::vector<std::string> texts;
  for (const TranscribedWord& each : words) texts.push_back(each.text);
  EXPECT_THAT(texts, ElementsAre(" He", " said:", " \"Go!\""));
  EXPECT_EQ(words[2].begin_s, 2);
}

TEST(SpeechChunk, times_of_a_chunk_lie_in_its_pieces) {
  SpeechChunk chunk;
  chunk.pieces = {{16000, 32000}, {64000, 96000}};  // 1 s..2 s and 4 s..6 s
  EXPECT_EQ(chunk.length_s(), 3.0);
  EXPECT_NEAR(chunk.source_time(0.5, false), 1.5, 1e-9);
  EXPECT_NEAR(chunk.source_time(1.0, true), 2.0, 1e-9) << "what ends at the seam ends before the pause";
  EXPECT_NEAR(chunk.source_time(1.0, false), 4.0, 1e-9) << "what begins there begins behind it";
  EXPECT_NEAR(chunk.source_time(2.5, true), 5.5, 1e-9);
  EXPECT_NEAR(chunk.source_time(9.0, true), 6.0, 1e-9);
}

TEST(SpeechChunk, the_rest_of_a_chunk_keeps_its_places) {
  SpeechChunk chunk;
  chunk.pieces = {{16000, 32000}, {64000, 96000}};
  EXPECT_EQ(chunk.behind(0).pieces, chunk.pieces);
  EXPECT_THAT(chunk.behind(0.5).pieces, ElementsAre(SpeechSegment{24000, 32000}, SpeechSegment{64000, 96000}));
  EXPECT_THAT(chunk.behind(1.0).pieces, ElementsAre(SpeechSegment{64000, 96000}));
  EXPECT_THAT(chunk.behind(2.5).pieces, ElementsAre(SpeechSegment{88000, 96000}));
  EXPECT_TRUE(chunk.behind(3.0).pieces.empty());
}

TEST(SpeechChunk, joined_speech_never_exceeds_the_limit) {
  std::mt19937 random(1);
  ChunkJoiner joiner(480000);
  std::int64_t position = 0, total = 0, found = 0;
  std::vector<SpeechChunk> chunks;
  for (int i = 0; i < 200; ++i) {
    const std::int64_t begin = position + static_cast<std::int64_t>(random() % 40000);
    const std::int64_t end = begin + 4000 + static_cast<std::int64_t>(random() % 470000);
    total += end - begin;
    position = end;
    if (auto chunk = joiner.push({begin, end})) chunks.push_back(std::move(*chunk));
  }
  if (auto chunk = joiner.finish()) chunks.push_back(std::move(*chunk));
  EXPECT_FALSE(joiner.finish());
  for (const SpeechChunk& chunk : chunks) {
    EXPECT_LE(chunk.num_samples(), 480000);
    found += chunk.num_samples();
  }
  EXPECT_EQ(found, total);
}

TEST(AudioWindow, gives_what_is_kept) {
  std::int64_t next = 0;
  AudioWindow window([&](std::span<float> samples) -> std::size_t {
    const std::size_t count = std::min<std::size_t>(samples.size(), static_cast<std::size_t>(100000 - next));
    const std::size_t given = std::min<std::size_t>(count, 777);
    for (std::size_t i = 0; i < given; ++i) samples[i] = static_cast<float>(next++);
    return given;
  });
  window.fill(50000);
  EXPECT_GE(window.end(), 50000);
  window.drop_before(30000);
  EXPECT_EQ(window.samples(30000, 30001)[0], 30000.0F);
  window.fill(1 << 30);
  EXPECT_TRUE(window.has_ended());
  EXPECT_EQ(window.end(), 100000);
  EXPECT_EQ(window.samples(99999, 100000)[0], 99999.0F);
}

Transcript sample() {
  Transcript transcript;
  transcript.language = "en";
  transcript.duration_s = 3723.5;
  TranscribedSegment first;
  first.begin_s = 0.02;
  first.end_s = 1.5;
  first.text = "Hello --> there.";
  first.words = {word(" Hello", 0.02, 0.5), word(" there.", 0.5, 1.5)};
  TranscribedSegment second;
  second.begin_s = 3661.0;
  second.end_s = 3662.3456;
  second.text = "Tab\there";
  transcript.segments = {first, second};
  return transcript;
}

TEST(TranscriptFormats, write_what_players_read) {
  const Transcript transcript = sample();
  std::size_t number = 1;
  EXPECT_EQ(format_segment(TranscriptFormat::kSrt, transcript.segments[0], number, false),
            "1\n00:00:00,020 --> 00:00:01,500\nHello -> there.\n\n");
  EXPECT_EQ(format_segment(TranscriptFormat::kSrt, transcript.segments[1], number, false),
            "2\n01:01:01,000 --> 01:01:02,346\nTab here\n\n");
  EXPECT_EQ(format_header(TranscriptFormat::kVtt), "WEBVTT\n\n");
  number = 1;
  EXPECT_EQ(format_segment(TranscriptFormat::kVtt, transcript.segments[0], number, true),
            "00:00:00.020 --> 00:00:00.500\nHello\n\n00:00:00.500 --> 00:00:01.500\nthere.\n\n");
  EXPECT_EQ(format_segment(TranscriptFormat::kTsv, transcript.segments[1], number, false),
            "3661000\t3662346\tTab here\n");
  EXPECT_EQ(format_segment(TranscriptFormat::kTxt, transcript.segments[0], number, false), "Hello --> there.\n");
  const nlohmann::json json = to_json(transcript, true);
  EXPECT_EQ(json["segments"][0]["words"][1]["text"], " there.");
  EXPECT_EQ(json["segments"][1]["end_s"], 3662.346);
  EXPECT_EQ(json["text"], "Hello --> there.\nTab\there");
  EXPECT_THROW(parse_transcript_format("doc"), Error);
}

}  // namespace
}  // namespace pajamas
