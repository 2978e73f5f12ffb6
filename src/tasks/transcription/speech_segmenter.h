// From the probability of speech in each frame to stretches of speech: the post-processing published with Silero VAD,
// as frames arrive. Computing the probabilities is voice_detector.h's.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

namespace pajamas {

/// Samples of one frame at 16 kHz: 32 ms.
inline constexpr std::int64_t kVoiceFrameSamples = 512;

/// What counts as a stretch of speech. The defaults are Silero's own, but for the longest stretch, which is what a
/// Whisper model takes at once.
struct VoiceDetectorOptions {
  double threshold = 0.5;                    ///< Speech begins at this probability and above; in (0, 1).
  std::optional<double> negative_threshold;  ///< It ends below this; default: 0.15 less, at least 0.01.
  double min_speech_ms = 250;                ///< Shorter stretches are dropped.
  double min_silence_ms = 100;               ///< Shorter pauses do not end a stretch.
  double pad_ms = 30;                        ///< Added at both ends, half of the pause at most.
  double max_speech_s = 30;                  ///< Longer stretches are cut; infinity: never.
  double min_silence_at_max_ms = 98;         ///< The longest pause above this is where they are cut, else at the limit.
};

/// Samples [begin, end) at 16 kHz from the beginning of the signal.
struct SpeechSegment {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  bool operator==(const SpeechSegment&) const = default;
};

/// Takes the probabilities of one signal in order and gives segments in order, none overlapping, each as soon as it
/// cannot change any more. Use from one thread at a time.
class SpeechSegmenter {
 public:
  /// Throws Error{kUsage} naming the option for thresholds outside (0, 1) or in the wrong order, negative or
  /// non-finite times, and a longest stretch that leaves no room between its pads.
  explicit SpeechSegmenter(const VoiceDetectorOptions& options = {});

  /// The probability of the next frame of 512 samples.
  void push(double probability);
  /// The signal has ended after `num_samples`, which lie in the last frame pushed. Nothing may be pushed afterwards.
  void finish(std::int64_t num_samples);
  /// The next finished segment, once.
  std::optional<SpeechSegment> next();
  /// Where the stretch of speech began that is still going on; nothing in silence. It may yet turn out too short.
  std::optional<std::int64_t> open_begin() const;

 private:
  struct Pause {
    std::int64_t begin = 0;
    std::int64_t length = 0;
  };
  void keep(std::int64_t begin, std::int64_t end);
  void release_pending(double end);
  void reset_pauses();

  double threshold_, negative_threshold_;
  double min_speech_, min_silence_, pad_, max_speech_, min_silence_at_max_;  ///< In samples.
  std::int64_t position_ = 0;                                                ///< Begin of the next frame.
  std::optional<std::int64_t> begin_;                                        ///< Of the stretch that is going on.
  std::optional<std::int64_t> pause_begin_;                                  ///< Of the pause within it, so far.
  std::vector<Pause> pauses_;                                                ///< Where it could be cut.
  /// The last kept stretch, whose end waits for what follows; its begin is padded already.
  std::optional<SpeechSegment> pending_;
  std::deque<SpeechSegment> finished_;
};

}  // namespace pajamas
