// The language of tones that tests/data/ctc/tones was taught (tools/goldens/make_ctc_tones.py): letters A to F as
// sines, silence between them and between words.
#pragma once

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <numbers>
#include <string>
#include <vector>

#include "media/audio_writer.h"

namespace pajamas::test {

inline constexpr int kToneRate = 16000;
/// A letter, the silence behind it, and what a word's end adds.
inline constexpr int kToneLetter = 1600, kToneGap = 960, kToneWordGap = 3200;

/// Samples in which the text is said; `begins` gets the second at which each word begins.
inline std::vector<float> spoken_tones(const std::string& text, std::vector<double>* begins = nullptr) {
  std::vector<float> samples(1600, 0.0F);
  bool is_begin = true;
  for (const char letter : text) {
    if (letter == ' ') {
      samples.resize(samples.size() + kToneWordGap, 0.0F);
      is_begin = true;
      continue;
    }
    if (is_begin && begins != nullptr) begins->push_back(static_cast<double>(samples.size()) / kToneRate);
    is_begin = false;
    constexpr double kFrequencies[] = {400, 650, 950, 1350, 1850, 2500};
    for (int i = 0; i < kToneLetter; ++i) {
      const double fade = std::min({i, kToneLetter - i, 160}) / 160.0;
      const double phase = 2 * std::numbers::pi * kFrequencies[letter - 'A'] * i / kToneRate;
      samples.push_back(static_cast<float>(0.3 * fade * std::sin(phase)));
    }
    samples.resize(samples.size() + kToneGap, 0.0F);
  }
  samples.resize(samples.size() + kToneWordGap, 0.0F);
  return samples;
}

inline void write_tones(const std::filesystem::path& path, const std::vector<float>& samples) {
  AudioWriter writer(path, AudioFileFormat::kWavInt16, kToneRate);
  writer.write(samples);
  writer.finish();
}

}  // namespace pajamas::test
