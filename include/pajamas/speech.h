// Speech synthesis: text to sound, sentence by sentence, with voices like Piper's.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "pajamas/error.h"

namespace pajamas {

/// How a text is spoken. Absent values: the voice's own.
struct SpeechOptions {
  double speed = 1;                         ///< 0.25..4; 2 is twice as fast as the voice's own pace.
  std::optional<std::int64_t> speaker;      ///< Of a voice with several; absent: the first.
  std::optional<double> noise_scale;        ///< Variation of the sound, 0..2.
  std::optional<double> noise_width;        ///< Variation of the durations, 0..2.
  double pause_s = 0;                       ///< Silence behind every sentence but the last, 0..10.
  std::uint64_t seed = 0;                   ///< Same seed, text and options on the same machine: same samples.
  std::function<bool()> is_cancelled = {};  ///< Asked between sentences; true ends with Error{kCancelled}.
};

/// A sentence that is done.
struct SpokenSentence {
  std::string text;                ///< As written, UTF-8, blanks joined.
  double begin_s = 0, end_s = 0;   ///< From the beginning of the sound.
  std::span<const float> samples;  ///< Mono, -1..1; with the pause behind it. Valid during the call.
};

/// Called as soon as a sentence is done, in order; false ends the speech with what is there.
using SpeechSink = std::function<bool(const SpokenSentence& sentence)>;

struct SynthesizerOptions {
  int num_threads = 0;  ///< CPU threads; 0: all.
  /// The program that turns letters into phonemes: a name looked for on PATH, or a path.
  std::string espeak_program = "espeak-ng";
};

/// A loaded voice, and espeak-ng beside it, which runs as long as the object lives. Use from one thread at a time.
class SpeechSynthesizer {
 public:
  /// Throws Error: kBadInput (damaged, or of another task), kUnsupported, kUsage, kDeviceMissing (also where espeak-ng is
  /// not installed or does not know the voice).
  explicit SpeechSynthesizer(const std::filesystem::path& bundle, const SynthesizerOptions& options = {});
  ~SpeechSynthesizer();
  SpeechSynthesizer(SpeechSynthesizer&&) noexcept;
  SpeechSynthesizer& operator=(SpeechSynthesizer&&) noexcept;

  int sample_rate_hz() const;
  std::int64_t num_speakers() const;
  /// Id of a speaker by name, or of a number as text. Throws Error{kUsage} listing the names.
  std::int64_t speaker_id(const std::string& name) const;

  /// Speaks UTF-8 text. A paragraph ends a sentence. Throws Error{kUsage} for options that cannot be, Error{kBadInput}
  /// for text that is no UTF-8 or has nothing that can be spoken, Error{kInternal} where espeak-ng died twice over the
  /// same words; sentences that were given to `sink` before are right.
  void speak(std::string_view text, const SpeechOptions& options, const SpeechSink& sink);
  /// The same as one sound.
  std::vector<float> speak(std::string_view text, const SpeechOptions& options = {});

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pajamas
