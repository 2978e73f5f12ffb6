// Audio of any length through a CTC model: windows stitched, pieces cut in pauses, segments with times. The model hears
// only near by, so what a whole run gives is known; and it counts what it is given.
#include "tasks/transcription/ctc_run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "fake_engine.h"
#include "pajamas/error.h"
#include "tasks/transcription/ctc_pieces.h"
#include "tasks/transcription/ctc_stream.h"

namespace pajamas {
namespace {

constexpr std::int64_t kRate = 1000;

/// Frames of 10 ms that hear 25 samples; windows of 200 frames (2 s).
CtcFacts small_facts() {
  CtcFacts facts;
  facts.tokens = {"", " ", "a", "b", "c"};
  facts.word_delimiter_id = 1;
  facts.samples_per_frame = 10;
  facts.frame_samples = 25;
  facts.window_frames = 200;
  return facts;
}

/// A sample is the token that is said, plus noise that tells it from its neighbours. A frame's token is that of its
/// first sample, and its certainty depends on the frames up to `reach` away, so that a window's edges show.
class NearModel final : public CtcModel {
 public:
  NearModel(const CtcFacts& facts, std::int64_t reach) : facts_(facts), reach_(reach) {}
  std::span<const float> run(std::span<const float> samples) override {
    ++num_runs;
    longest = std::max(longest, samples.size());
    const std::int64_t num_frames = facts_.frames_of(static_cast<std::int64_t>(samples.size()));
    logprobs_.clear();
    for (std::int64_t frame = 0; frame < num_frames; ++frame) {
      double mean = 0;
      for (std::int64_t other = frame - reach_; other <= frame + reach_; ++other) {
        if (other >= 0 && other < num_frames)
          mean += static_cast<double>(samples[static_cast<std::size_t>(other * 10)]);
      }
      const auto said = static_cast<std::int64_t>(std::floor(samples[static_cast<std::size_t>(frame * 10)]));
      for (std::int64_t token = 0; token < facts_.vocab_size(); ++token) {
        logprobs_.push_back(static_cast<float>(token == said ? -0.1 - 1e-4 * mean : -6 - 1e-4 * mean));
      }
    }
    return logprobs_;
  }
  int num_runs = 0;
  std::size_t longest = 0;

 private:
  const CtcFacts& facts_;
  std::int64_t reach_;
  std::vector<float> logprobs_;
};

/// Samples of so many frames in which these tokens are said, one a frame.
std::vector<float> said(const std::vector<int>& tokens) {
  std::vector<float> samples;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const float value = static_cast<float>(tokens[i]) + static_cast<float>(i * 37 % 100) / 128.0F;
    samples.insert(samples.end(), 10, value);
  }
  samples.insert(samples.end(), 15, samples.empty() ? 0.0F : samples.back());
  return samples;
}

SampleSource source_of(const std::vector<float>& samples, std::size_t block = 777) {
  return [&samples, block, at = std::size_t{0}](std::span<float> out) mutable {
    const std::size_t count = std::min({out.size(), block, samples.size() - at});
    std::copy_n(samples.begin() + static_cast<std::ptrdiff_t>(at), count, out.begin());
    at += count;
    return count;
  };
}

TEST(CtcStreamTest, WindowsAreStitchedIntoTheWholeRun) {
  const CtcFacts facts = small_facts();
  const std::int64_t context = ctc_context_frames(facts, kRate);
  EXPECT_EQ(context, 50);
  for (const std::size_t num_frames : {1U, 199U, 200U, 201U, 250U, 300U, 301U, 350U, 999U}) {
    std::vector<int> tokens(num_frames);
    for (std::size_t i = 0; i < num_frames; ++i) tokens[i] = static_cast<int>(i * 7 / 3 % 5);
    const std::vector<float> samples = said(tokens);
    NearModel whole(facts, 50), windows(facts, 50);
    const auto expected = whole.run(samples);
    for (const std::int64_t offset : {0, 123}) {  // A stretch that begins within the signal.
      std::vector<float> signal_samples(static_cast<std::size_t>(offset), 9.0F);
      signal_samples.insert(signal_samples.end(), samples.begin(), samples.end());
      AudioWindow signal(source_of(signal_samples));
      CtcStream stream(facts, windows, context, offset);
      std::vector<float> actual;
      std::size_t most = 0;
      for (;;) {
        const bool is_end = signal.read_block().empty();
        stream.advance(signal, signal.end(), is_end,
                       [&](std::span<const float> part) { actual.insert(actual.end(), part.begin(), part.end()); });
        if (is_end) break;
        signal.drop_before(stream.needed_from());
        most = std::max(most, static_cast<std::size_t>(signal.end() - std::max(stream.needed_from(), offset)));
      }
      ASSERT_EQ(actual.size(), expected.size()) << num_frames;
      for (std::size_t i = 0; i < actual.size(); ++i) ASSERT_EQ(actual[i], expected[i]) << num_frames << ", " << i;
      EXPECT_LE(windows.longest, static_cast<std::size_t>(facts.samples_of(200)));
      EXPECT_LE(most, 4000U) << "more is kept than two windows";
    }
  }
}

TEST(CtcStreamTest, LessThanAFrameIsNothing) {
  const CtcFacts facts = small_facts();
  for (const std::size_t count : {0U, 1U, 24U}) {
    const std::vector<float> samples(count, 2.5F);
    NearModel model(facts, 1);
    const Transcript transcript = run_ctc({&facts, kRate, &model, nullptr, nullptr}, source_of(samples), {}, {});
    EXPECT_TRUE(transcript.segments.empty());
    EXPECT_EQ(transcript.duration_s, static_cast<double>(count) / kRate);
    EXPECT_EQ(model.num_runs, 0);
  }
}

std::vector<int> repeated(std::initializer_list<std::pair<int, int>> runs) {
  std::vector<int> tokens;
  for (const auto& [token, count] : runs) tokens.insert(tokens.end(), static_cast<std::size_t>(count), token);
  return tokens;
}

TEST(CtcRunTest, PausesCutSegmentsAndTimesAreThoseOfTheSignal) {
  const CtcFacts facts = small_facts();
  // "ab c", a pause of 0.6 s, "aa", and silence.
  const std::vector<float> samples = said(
      repeated({{0, 30}, {2, 4}, {3, 3}, {0, 2}, {1, 5}, {4, 6}, {0, 60}, {2, 2}, {0, 1}, {2, 2}, {0, 80}, {1, 40}}));
  for (const int beam_size : {1, 8}) {
    NearModel model(facts, 0);
    TranscriptionOptions options;
    options.has_words = true;
    options.beam_size = beam_size;
    std::vector<double> positions;
    const Transcript transcript = run_ctc({&facts, kRate, &model, nullptr, nullptr}, source_of(samples), options,
                                          [&](const TranscribedSegment&, double position_s) {
                                            positions.push_back(position_s);
                                            return true;
                                          });
    ASSERT_EQ(transcript.segments.size(), 2U);
    const TranscribedSegment& first = transcript.segments[0];
    EXPECT_EQ(first.text, "ab c");
    ASSERT_EQ(first.words.size(), 2U);
    EXPECT_EQ(first.words[0].text, " ab");
    EXPECT_NEAR(first.words[0].begin_s, 0.30, 1e-9);
    EXPECT_NEAR(first.words[0].end_s, 0.37, 1e-9);
    EXPECT_NEAR(first.words[1].begin_s, 0.44, 1e-9);
    EXPECT_NEAR(first.words[1].end_s, 0.50, 1e-9);
    EXPECT_NEAR(first.words[1].probability, std::exp(-0.1), 1e-3);
    EXPECT_EQ(first.begin_s, first.words[0].begin_s);
    EXPECT_EQ(first.end_s, first.words[1].end_s);
    EXPECT_NEAR(first.mean_logprob, -0.1, 1e-3);
    EXPECT_THAT(first.tokens, testing::ElementsAre(2, 3, 1, 4));
    EXPECT_EQ(transcript.segments[1].text, "aa");
    EXPECT_NEAR(transcript.segments[1].begin_s, 1.10, 1e-9);
    EXPECT_EQ(transcript.language, "");
    EXPECT_EQ(transcript.language_probability, 0);
    EXPECT_NEAR(transcript.duration_s, 2.365, 1e-9);
    ASSERT_EQ(positions.size(), 2U);
    EXPECT_LT(positions[0], positions[1]);
  }
}

TEST(CtcRunTest, LongSpeechIsCutAndNothingIsLost) {
  const CtcFacts facts = small_facts();
  // 60 s of "ab " without a pause, with a breath of 0.3 s in each 7th second.
  std::vector<int> tokens;
  int num_words = 0;
  while (tokens.size() < 6000) {
    const auto word = repeated({{2, 5}, {3, 5}, {1, 3}});
    tokens.insert(tokens.end(), word.begin(), word.end());
    ++num_words;
    if (num_words % 54 == 0) tokens.insert(tokens.end(), 30, 0);
  }
  const std::vector<float> samples = said(tokens);
  NearModel model(facts, 0);
  const Transcript transcript = run_ctc({&facts, kRate, &model, nullptr, nullptr}, source_of(samples), {}, {});
  EXPECT_GE(transcript.segments.size(), 3U);
  int count = 0;
  double last = 0;
  for (const TranscribedSegment& segment : transcript.segments) {
    EXPECT_LE(segment.end_s - segment.begin_s, 20.0);
    EXPECT_GE(segment.begin_s, last);
    last = segment.end_s;
    EXPECT_TRUE(segment.words.empty());
    for (std::size_t at = 0; (at = segment.text.find("ab", at)) != std::string::npos; ++at) ++count;
  }
  EXPECT_EQ(count, num_words);
}

TEST(CtcRunTest, SpeechWithoutAnyPauseIsCutAtTheLimit) {
  const CtcFacts facts = small_facts();
  const std::vector<float> samples = said(std::vector<int>(5000, 2));
  NearModel model(facts, 0);
  const Transcript transcript = run_ctc({&facts, kRate, &model, nullptr, nullptr}, source_of(samples), {}, {});
  ASSERT_EQ(transcript.segments.size(), 3U);
  EXPECT_NEAR(transcript.segments.back().end_s, 50.0, 1e-9);
}

TEST(CtcRunTest, TheSinkAndTheCallerMayStop) {
  const CtcFacts facts = small_facts();
  const std::vector<float> samples = said(repeated({{2, 9}, {0, 90}, {3, 9}, {0, 90}, {4, 9}, {0, 90}}));
  NearModel model(facts, 0);
  const CtcRunParts parts{&facts, kRate, &model, nullptr, nullptr};
  EXPECT_EQ(run_ctc(parts, source_of(samples), {}, [](const auto&, double) { return false; }).segments.size(), 1U);
  TranscriptionOptions options;
  options.is_cancelled = [] { return true; };
  try {
    (void)run_ctc(parts, source_of(samples), options, {});
    FAIL() << "was not cancelled";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kCancelled);
  }
}

TEST(CtcSessionTest, SamplesAreNormalisedAndLogitsBecomeProbabilities) {
  CtcFacts facts = small_facts();
  std::vector<Tensor> given;
  float bad = 0;
  const auto engine = std::make_shared<test::FakeEngine>(
      std::vector<TensorInfo>{test::tensor_info("samples", test::known({-1, -1}))},
      std::vector<TensorInfo>{test::tensor_info("logits", test::known({-1, -1, 5}))},
      [&](const std::vector<Tensor>& inputs) {
        given = {inputs[0]};
        Tensor logits(DType::kFloat32, Shape{1, facts.frames_of(inputs[0].shape()[1]), 5});
        for (std::size_t i = 0; i < logits.as<float>().size(); ++i) {
          logits.mutable_as<float>()[i] = static_cast<float>(i % 5) + bad;
        }
        return std::vector<Tensor>{logits};
      });
  std::vector<float> samples;
  for (int i = 0; i < 45; ++i) samples.push_back(0.25F + 0.1F * static_cast<float>(i % 3));
  for (const bool is_normalized : {true, false}) {
    facts.is_normalized = is_normalized;
    CtcSession session(facts, engine);
    const auto logprobs = session.run(samples);
    ASSERT_EQ(logprobs.size(), 15U);
    double sum = 0;
    for (std::size_t i = 0; i < 5; ++i) sum += std::exp(static_cast<double>(logprobs[5 + i]));
    EXPECT_NEAR(sum, 1, 1e-6);
    double mean = 0, squares = 0;
    for (const float value : given[0].as<float>()) {
      mean += static_cast<double>(value) / 45;
      squares += static_cast<double>(value) * static_cast<double>(value) / 45;
    }
    EXPECT_NEAR(mean, is_normalized ? 0 : 0.35, 1e-5);
    if (is_normalized) {
      EXPECT_NEAR(squares, 1, 1e-4);
    }
  }
  // Silence stays silence.
  std::vector<float> silence(45, 0.5F), out(45);
  normalize_samples(silence, out);
  EXPECT_EQ(out[7], 0.0F);
  bad = NAN;
  CtcSession session(facts, engine);
  EXPECT_THROW((void)session.run(samples), Error);
}

}  // namespace
}  // namespace pajamas
