// The resampler against sines known in closed form: level, aliases, delay, length, pieces, an hour.
#include "media/audio_resampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <random>
#include <vector>

#include "pajamas/error.h"

namespace pajamas {
namespace {

double sine_at(double hz, double rate_hz, double index) {
  return 0.5 * std::sin(2 * std::numbers::pi * hz * index / rate_hz);
}

std::vector<float> sine(double hz, int rate_hz, std::size_t count) {
  std::vector<float> samples(count);
  for (std::size_t i = 0; i < count; ++i) samples[i] = static_cast<float>(sine_at(hz, rate_hz, static_cast<double>(i)));
  return samples;
}

std::vector<float> resampled(const std::vector<float>& samples, int from_hz, int to_hz, std::size_t piece = 4096) {
  AudioResampler resampler(from_hz, to_hz);
  std::vector<float> output;
  for (std::size_t at = 0; at < samples.size(); at += piece) {
    resampler.push(std::span(samples).subspan(at, std::min(piece, samples.size() - at)), output);
  }
  resampler.finish(output);
  return output;
}

/// Error below the sine, in decibels, away from the ends, where the signal begins out of nothing.
double error_db(const std::vector<float>& samples, double hz, int rate_hz) {
  double error = 0;
  double power = 0;
  const auto margin = static_cast<std::size_t>(rate_hz / 10);
  for (std::size_t i = margin; i + margin < samples.size(); ++i) {
    const double expected = sine_at(hz, rate_hz, static_cast<double>(i));
    error += (samples[i] - expected) * (samples[i] - expected);
    power += expected * expected;
  }
  return 10 * std::log10(error / power);
}

double level_db(const std::vector<float>& samples, int rate_hz) {
  double power = 0;
  std::size_t count = 0;
  const auto margin = static_cast<std::size_t>(rate_hz / 10);
  for (std::size_t i = margin; i + margin < samples.size(); ++i, ++count)
    power += samples[i] * static_cast<double>(samples[i]);
  return 10 * std::log10(power / static_cast<double>(count) / 0.125);
}

TEST(AudioResampler, KeepsSinesInPhaseAndLevel) {
  for (const int from_hz : {8000, 11025, 22050, 32000, 44100, 48000, 96000, 768000, 1000}) {
    const double hz = from_hz == 1000 ? 300 : 1000;
    EXPECT_LT(error_db(resampled(sine(hz, from_hz, static_cast<std::size_t>(from_hz)), from_hz, 16000), hz, 16000), -90)
        << from_hz;
  }
  EXPECT_LT(error_db(resampled(sine(1000, 16000, 16000), 16000, 22050), 1000, 22050), -90);
  // Flat to 0.01 dB up to 7 kHz.
  EXPECT_LT(error_db(resampled(sine(7000, 44100, 44100), 44100, 16000), 7000, 16000), -58);
}

TEST(AudioResampler, LeavesNoAliases) {
  for (const int from_hz : {22050, 44100, 48000}) {
    for (const double hz : {8100.0, 9000.0, 10900.0}) {
      EXPECT_LT(level_db(resampled(sine(hz, from_hz, static_cast<std::size_t>(from_hz)), from_hz, 16000), 16000), -100)
          << hz << " Hz at " << from_hz;
    }
  }
  // Upwards no images: everything that comes out is the sine.
  EXPECT_LT(error_db(resampled(sine(3400, 8000, 8000), 8000, 48000), 3400, 48000), -90);
}

TEST(AudioResampler, HasTheExactLengthWhateverTheSize) {
  for (const int from_hz : {1000, 8000, 11025, 44100, 48000, 96000, 768000}) {
    for (const std::size_t count : {0, 1, 2, 3, 160, 441, 1001, 44101}) {
      const auto output = resampled(std::vector<float>(count, 0.25F), from_hz, 16000);
      EXPECT_EQ(static_cast<std::int64_t>(output.size()), std::llround(static_cast<double>(count) * 16000.0 / from_hz))
          << count << " at " << from_hz;
    }
  }
  EXPECT_EQ(AudioResampler::num_output_samples(6'912'000'000'000, 192'000, 16'000), 576'000'000'000);
  EXPECT_EQ(AudioResampler::num_output_samples(3, 2000, 1000), 2);  // A half goes up.
}

TEST(AudioResampler, GivesTheSameForAnyPieces) {
  std::mt19937 engine(1);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> samples(30011);
  for (float& sample : samples) sample = uniform(engine);
  for (const int from_hz : {8000, 44100, 48000}) {
    const auto whole = resampled(samples, from_hz, 16000, samples.size());
    for (const std::size_t piece : {1, 7, 1023, 20000}) EXPECT_EQ(resampled(samples, from_hz, 16000, piece), whole);
  }
}

TEST(AudioResampler, DoesNotDriftInAnHour) {
  AudioResampler resampler(44100, 16000);
  std::vector<float> block(44100);
  std::vector<float> output;
  std::int64_t num_given = 0;
  std::vector<float> last;
  constexpr int kSeconds = 3600;
  for (int second = 0; second < kSeconds; ++second) {
    // A whole number of periods a second: each second is like the first.
    if (second == 0) block = sine(1000, 44100, 44100);
    output.clear();
    resampler.push(block, output);
    num_given += static_cast<std::int64_t>(output.size());
    if (second == kSeconds - 1) last = output;
  }
  const std::int64_t last_begin = num_given - static_cast<std::int64_t>(last.size());
  output.clear();
  resampler.finish(output);
  EXPECT_EQ(num_given + static_cast<std::int64_t>(output.size()), 3600LL * 16000);
  double worst = 0;
  for (std::size_t i = 0; i < last.size(); ++i) {
    const auto index = static_cast<double>((last_begin + static_cast<std::int64_t>(i)) % 16000);
    worst = std::max(worst, std::abs(last[i] - sine_at(1000, 16000, index)));
  }
  EXPECT_LT(worst, 2e-5);
}

TEST(AudioResampler, PassesTheSameRateThroughAndRefusesAbsurdOnes) {
  const std::vector<float> samples{0.5F, -0.25F, 1.5F};
  EXPECT_EQ(resampled(samples, 16000, 16000, 2), samples);
  for (const int rate_hz : {-1, 0, 999, 768'001, INT32_MAX}) {
    EXPECT_THROW(AudioResampler(rate_hz, 16000), Error) << rate_hz;
    EXPECT_THROW(AudioResampler(16000, rate_hz), Error) << rate_hz;
  }
}

}  // namespace
}  // namespace pajamas
