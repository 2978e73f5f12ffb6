// What tools/goldens/make_voice_goldens.py wrote, and the numbers it draws. Not the signals it makes of recordings.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <ostream>
#include <string>
#include <vector>

#include "base/files.h"
#include "tasks/transcription/speech_segmenter.h"

namespace pajamas::test {

/// Linear congruential numbers of 16 bits.
class VoiceNumbers {
 public:
  explicit VoiceNumbers(std::uint32_t seed) : state_(seed) {}
  std::uint32_t next() {
    state_ = state_ * 1664525U + 1013904223U;
    return state_ >> 16;
  }

 private:
  std::uint32_t state_;
};

inline nlohmann::json voice_goldens() {
  return nlohmann::json::parse(read_file(std::string(PAJAMAS_TEST_DATA) + "/audio/voice.json"));
}

/// Options number `index` of the goldens.
inline VoiceDetectorOptions voice_options(const nlohmann::json& goldens, std::size_t index) {
  const auto& given = goldens.at("options").at(index);
  VoiceDetectorOptions options;
  options.threshold = given.value("threshold", options.threshold);
  if (given.contains("neg_threshold")) options.negative_threshold = given.at("neg_threshold").get<double>();
  options.min_speech_ms = given.value("min_speech_duration_ms", options.min_speech_ms);
  options.min_silence_ms = given.value("min_silence_duration_ms", options.min_silence_ms);
  options.pad_ms = given.value("speech_pad_ms", options.pad_ms);
  options.max_speech_s = given.value("max_speech_duration_s", options.max_speech_s);
  return options;
}

inline std::vector<SpeechSegment> voice_segments(const nlohmann::json& pairs) {
  std::vector<SpeechSegment> segments;
  for (const auto& pair : pairs) segments.push_back({pair.at(0), pair.at(1)});
  return segments;
}

}  // namespace pajamas::test

namespace pajamas {

inline void PrintTo(const SpeechSegment& segment, std::ostream* stream) {
  *stream << '[' << segment.begin << ", " << segment.end << ')';
}

}  // namespace pajamas
