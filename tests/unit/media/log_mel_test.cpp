// Log-mel features against OpenAI's own program (tools/goldens/make_log_mel_goldens.py), and their edges.
#include "media/log_mel.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "base/files.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

constexpr std::int64_t kNumFrames = 3000;

/// The signals of the generator, as multiples of 1/32768.
std::vector<float> noise(std::size_t count, std::uint32_t seed, std::int64_t divisor) {
  std::vector<float> samples(count);
  for (float& sample : samples) {
    seed = seed * 1664525U + 1013904223U;
    const std::int64_t value = static_cast<std::int64_t>(seed >> 16) - 32768;
    // Python rounds quotients down.
    const std::int64_t quotient = value >= 0 ? value / divisor : -((-value + divisor - 1) / divisor);
    sample = static_cast<float>(quotient) / 32768.0F;
  }
  return samples;
}

std::vector<float> signal(const std::string& name) {
  if (name == "noise") return noise(480000, 1, 8);
  if (name == "short") return noise(16001, 2, 2);
  if (name == "quiet") return noise(240000, 3, 8192);
  if (name == "one_sample") return {32767.0F / 32768.0F};
  if (name == "silence") return std::vector<float>(4000, 0.0F);
  std::vector<float> sweep(480000);
  for (std::int64_t i = 0; i < 480000; ++i) {
    const std::int64_t phase = (i * i / 4096 + 40 * i) % 8192;
    sweep[static_cast<std::size_t>(i)] =
        static_cast<float>((phase < 4096 ? phase : 8192 - phase) * 8 - 16384) / 32768.0F;
  }
  return sweep;
}

TEST(LogMel, IsOpenAisWithin1e4) {
  const std::string folder = std::string(PAJAMAS_TEST_DATA) + "/audio/";
  const nlohmann::json goldens = nlohmann::json::parse(read_file(folder + "log_mel.json"));
  const std::string bytes = read_file(folder + "log_mel.bin");
  const std::vector<std::int64_t> frames = goldens.at("frames");
  std::size_t at = 0;
  for (const auto& one : goldens.at("cases")) {
    const std::string name = one.at("signal");
    const int num_mels = one.at("num_mels");
    SCOPED_TRACE(name + " " + std::to_string(num_mels));
    std::vector<float> features(static_cast<std::size_t>(num_mels * kNumFrames));
    LogMel(num_mels).compute(signal(name), kNumFrames, features);
    float worst = 0;
    std::int64_t worst_frame = 0;
    for (int m = 0; m < num_mels; ++m) {
      for (const std::int64_t frame : frames) {
        float expected = 0;
        ASSERT_LE(at + sizeof expected, bytes.size());
        std::memcpy(&expected, bytes.data() + at, sizeof expected);
        at += sizeof expected;
        const float difference = std::abs(features[static_cast<std::size_t>(m * kNumFrames + frame)] - expected);
        if (!(difference <= worst)) {
          worst = difference;
          worst_frame = frame;
        }
      }
    }
    EXPECT_LT(worst, 1e-4F) << "in frame " << worst_frame;
    ::testing::Test::RecordProperty(name + "_" + std::to_string(num_mels), std::to_string(worst));
  }
  EXPECT_EQ(at, bytes.size());
}

TEST(LogMel, FiltersHaveThePublishedWeights) {
  const nlohmann::json goldens =
      nlohmann::json::parse(read_file(std::string(PAJAMAS_TEST_DATA) + "/audio/log_mel.json"));
  for (const int num_mels : {80, 128}) {
    const std::vector<double> sums = goldens.at("filter_sums").at(std::to_string(num_mels));
    const std::vector<float> filters = mel_filters(num_mels);
    ASSERT_EQ(filters.size(), static_cast<std::size_t>(num_mels) * 201);
    for (std::size_t m = 0; m < sums.size(); ++m) {
      double sum = 0;
      for (std::size_t bin = 0; bin < 201; ++bin) sum += filters[m * 201 + bin];
      EXPECT_NEAR(sum, sums[m], 1e-7) << "band " << m << " of " << num_mels;
    }
  }
}

TEST(LogMel, OfShortChunksIsThatOfTheSameSamplesWithSilenceBehindThem) {
  const LogMel mel(80);
  const std::vector<float> samples = noise(700, 5, 1);
  std::vector<float> padded = samples;
  padded.resize(7 * 160);
  std::vector<float> short_features(80 * 7);
  std::vector<float> padded_features(80 * 7);
  mel.compute(samples, 7, short_features);
  mel.compute(padded, 7, padded_features);
  EXPECT_EQ(short_features, padded_features);
  // No samples at all are silence: 1e-10 everywhere.
  mel.compute({}, 7, short_features);
  for (const float value : short_features) EXPECT_FLOAT_EQ(value, (-10.0F + 4.0F) / 4.0F);
}

TEST(LogMel, OneObjectServesSeveralThreads) {
  const LogMel mel(128);
  const std::vector<float> samples = noise(16000, 7, 1);
  std::vector<float> expected(128 * 100);
  mel.compute(samples, 100, expected);
  std::vector<std::vector<float>> results(4, std::vector<float>(128 * 100));
  std::vector<std::thread> threads;
  for (auto& result : results) threads.emplace_back([&] { mel.compute(samples, 100, result); });
  for (std::thread& thread : threads) thread.join();
  for (const auto& result : results) EXPECT_EQ(result, expected);
}

TEST(LogMel, RefusesSizesThatDoNotFit) {
  EXPECT_THROW(LogMel(0), Error);
  EXPECT_THROW(LogMel(201), Error);
  const LogMel mel(80);
  std::vector<float> features(80 * 2);
  const std::vector<float> samples(321);
  EXPECT_THROW(mel.compute(samples, 2, features), Error);
  EXPECT_THROW(mel.compute({}, 1, std::span(features).first(80)), Error);
  EXPECT_THROW(mel.compute({}, 3, features), Error);
  EXPECT_NO_THROW(mel.compute(std::span(samples).first(320), 2, features));
  EXPECT_EQ(LogMel::num_frames_of(0), 0);
  EXPECT_EQ(LogMel::num_frames_of(1), 1);
  EXPECT_EQ(LogMel::num_frames_of(160), 1);
  EXPECT_EQ(LogMel::num_frames_of(161), 2);
}

}  // namespace
}  // namespace pajamas
