// A voice's two engines, run one after the other: phoneme ids to samples. Text is split and phonemes are found
// elsewhere (speech_text.h, phonemizer.h).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "bundle/speech_facts.h"
#include "engine/target.h"

namespace pajamas {

/// How one sentence is to sound.
struct VoiceSettings {
  float noise_scale = 0.667F;
  float length_scale = 1;
  float noise_width = 0.8F;
  std::int64_t speaker = 0;
  std::uint64_t seed = 0;
  std::uint32_t sentence = 0;  ///< Its number: each has noise of its own.
};

/// One thread at a time.
class VoiceSession {
 public:
  /// Throws Error{kBadInput} where the engines lack what the facts name.
  VoiceSession(const SpeechFacts& facts, std::shared_ptr<const Engine> text, std::shared_ptr<const Engine> audio);

  /// Samples of one sentence, scaled so that the loudest is 1, as Piper does; silence stays silence. `ids` is not
  /// empty. Throws Error{kInternal} for samples that are not finite, and as the engines do.
  std::vector<float> speak(std::span<const std::int64_t> ids, const VoiceSettings& settings);

 private:
  SpeechFacts facts_;
  std::shared_ptr<const Engine> text_, audio_;
  std::unique_ptr<Session> text_session_, audio_session_;
  std::size_t noise_shape_output_ = 0;
  /// For each input of the audio engine the output of the text engine, or -1: the noise.
  std::vector<std::ptrdiff_t> sources_;
  std::size_t samples_output_ = 0;
};

}  // namespace pajamas
