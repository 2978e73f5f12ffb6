// The rules of speech segments against the published program's (tools/goldens/make_voice_goldens.py), and as frames
// arrive.
#include "tasks/transcription/speech_segmenter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "pajamas/error.h"
#include "support/voice_goldens.h"

namespace pajamas {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<SpeechSegment> drain(SpeechSegmenter& segmenter) {
  std::vector<SpeechSegment> segments;
  while (const auto segment = segmenter.next()) segments.push_back(*segment);
  return segments;
}

/// The generator's probabilities.
std::vector<double> random_probabilities(std::uint32_t seed, std::size_t count) {
  test::VoiceNumbers numbers(seed);
  std::vector<double> values;
  while (values.size() < count) {
    const std::uint32_t base = numbers.next() % 5 * 12500;
    // The factor is drawn before the length, as Python's operands are.
    const std::uint32_t length = numbers.next();
    const std::uint32_t limit = 4U << numbers.next() % 5;
    for (std::uint32_t i = 0; i < 1 + length % limit; ++i) values.push_back((base + numbers.next() % 15000) / 65536.0);
  }
  values.resize(count);
  return values;
}

TEST(SpeechSegmenter, GivesThePublishedSegments) {
  const nlohmann::json goldens = test::voice_goldens();
  std::size_t num_segments = 0;
  for (const auto& one : goldens.at("rules")) {
    const VoiceDetectorOptions options = test::voice_options(goldens, one.at("options"));
    SCOPED_TRACE("seed " + one.at("seed").dump() + ", options " + one.at("options").dump());
    SpeechSegmenter segmenter(options);
    std::vector<SpeechSegment> segments;
    std::int64_t position = 0;
    for (const double probability : random_probabilities(one.at("seed"), one.at("num_frames"))) {
      segmenter.push(probability);
      position += kVoiceFrameSamples;
      for (const SpeechSegment& segment : drain(segmenter)) {
        EXPECT_LE(segment.end, position) << "given before its samples were there";
        segments.push_back(segment);
      }
    }
    segmenter.finish(one.at("num_samples"));
    for (const SpeechSegment& segment : drain(segmenter)) segments.push_back(segment);
    EXPECT_EQ(segments, test::voice_segments(one.at("segments")));
    num_segments += segments.size();
  }
  EXPECT_GT(num_segments, 1000U);
}

TEST(SpeechSegmenter, GivesASegmentAsSoonAsItsEndIsKnown) {
  SpeechSegmenter segmenter;
  for (int i = 0; i < 10; ++i) segmenter.push(0.0);
  EXPECT_FALSE(segmenter.open_begin().has_value());
  for (int i = 0; i < 20; ++i) segmenter.push(0.9);
  EXPECT_EQ(segmenter.open_begin(), 10 * 512 - 480);
  // 100 ms of silence are 3.125 frames: the fifth silent frame begins 128 ms behind the end of speech.
  for (int i = 0; i < 4; ++i) segmenter.push(0.0);
  EXPECT_FALSE(segmenter.next().has_value());
  segmenter.push(0.0);
  EXPECT_THAT(drain(segmenter), ElementsAre(SpeechSegment{10 * 512 - 480, 30 * 512 + 480}));
  EXPECT_FALSE(segmenter.open_begin().has_value());
  segmenter.finish(35 * 512);
  EXPECT_FALSE(segmenter.next().has_value());
}

TEST(SpeechSegmenter, OfNothingAndOfSpeechThroughout) {
  SpeechSegmenter nothing;
  nothing.finish(0);
  EXPECT_FALSE(nothing.next().has_value());
  SpeechSegmenter speech;
  for (int i = 0; i < 20; ++i) speech.push(1.0);
  speech.finish(20 * 512 - 100);
  EXPECT_THAT(drain(speech), ElementsAre(SpeechSegment{0, 20 * 512 - 100}));
  // A minute without a pause is cut within 30 s.
  constexpr std::int64_t kNumFrames = 1900;
  SpeechSegmenter minute;
  for (int i = 0; i < kNumFrames; ++i) minute.push(1.0);
  minute.finish(kNumFrames * kVoiceFrameSamples);
  std::int64_t begin = 0;
  for (const SpeechSegment& segment : drain(minute)) {
    EXPECT_EQ(segment.begin, begin);
    EXPECT_LE(segment.end - segment.begin, 30 * 16000);
    begin = segment.end;
  }
  EXPECT_EQ(begin, kNumFrames * kVoiceFrameSamples);
}

TEST(SpeechSegmenter, RefusesOptionsThatCannotBe) {
  const auto refuses = [](const auto& change) {
    VoiceDetectorOptions options;
    change(options);
    try {
      SpeechSegmenter segmenter(options);
    } catch (const Error& error) {
      return error.kind() == ErrorKind::kUsage;
    }
    return false;
  };
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  for (const double value : {0.0, 1.0, -0.5, kNan}) {
    EXPECT_TRUE(refuses([&](VoiceDetectorOptions& options) { options.threshold = value; })) << value;
  }
  for (const double value : {0.0, 0.6, kNan}) {
    EXPECT_TRUE(refuses([&](VoiceDetectorOptions& options) { options.negative_threshold = value; })) << value;
  }
  for (const double value : {-1.0, kNan, std::numeric_limits<double>::infinity()}) {
    EXPECT_TRUE(refuses([&](VoiceDetectorOptions& options) { options.min_speech_ms = value; })) << value;
    EXPECT_TRUE(refuses([&](VoiceDetectorOptions& options) { options.min_silence_ms = value; })) << value;
    EXPECT_TRUE(refuses([&](VoiceDetectorOptions& options) { options.pad_ms = value; })) << value;
    EXPECT_TRUE(refuses([&](VoiceDetectorOptions& options) { options.min_silence_at_max_ms = value; })) << value;
  }
  for (const double value : {0.0, 0.09, -1.0, kNan}) {
    EXPECT_TRUE(refuses([&](VoiceDetectorOptions& options) { options.max_speech_s = value; })) << value;
  }
  EXPECT_FALSE(
      refuses([](VoiceDetectorOptions& options) { options.max_speech_s = std::numeric_limits<double>::infinity(); }));
}

}  // namespace
}  // namespace pajamas
