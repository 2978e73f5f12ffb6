// Voice activity detection while audio arrives: Silero's network over an engine of any target, and its segments. The
// rules that make segments of probabilities are speech_segmenter.h; what is said in them is the transcription's.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/target.h"
#include "tasks/transcription/audio_window.h"
#include "tasks/transcription/speech_segmenter.h"

namespace pajamas {

/// Name of the engine part of a bundle that holds the detector's network.
inline constexpr const char* kVoicePart = "voice";

/// Finds speech in one signal of mono samples at 16 kHz. The network carries a state from frame to frame, so a signal
/// needs a detector of its own; any number may share an engine. Use from one thread at a time.
class VoiceDetector {
 public:
  /// The engine of silero_vad_16k_sequence.onnx (silero-vad 6): input [num_frames, 576] (64 samples of the frame
  /// before, then the frame), h and c [1, 1, 128] → speech_probs [num_frames], hn, cn. Throws Error{kBadInput} naming
  /// what is missing for another model, Error{kUsage} for options as SpeechSegmenter does.
  explicit VoiceDetector(std::shared_ptr<const Engine> engine, const VoiceDetectorOptions& options = {});

  /// Takes the next samples. Frames that are complete are computed at once, up to 64 together. Throws what the engine
  /// throws; the detector is of no use afterwards.
  void push(std::span<const float> samples);
  /// The signal has ended: the last, partial frame is filled with silence. Nothing may be pushed afterwards.
  void finish();
  /// The next finished segment, once, in order. Its samples were all pushed.
  std::optional<SpeechSegment> next() { return segmenter_.next(); }
  /// Where the speech began that is still going on; nothing in silence. It may yet turn out too short to be given.
  std::optional<std::int64_t> open_begin() const { return segmenter_.open_begin(); }
  /// Samples pushed so far.
  std::int64_t position() const noexcept { return num_samples_; }
  /// The first sample that segments still to come may have, their padding included.
  std::int64_t needed_from() const;

  /// Called for each frame with its probability of speech, in order; for measuring and drawing.
  std::function<void(float probability)> on_frame;

 private:
  void compute(std::int64_t num_frames);
  std::shared_ptr<const Engine> engine_;
  std::unique_ptr<Session> session_;
  std::size_t input_index_ = 0, hidden_index_ = 0, cell_index_ = 0;                  ///< Of inputs.
  std::size_t probability_index_ = 0, next_hidden_index_ = 0, next_cell_index_ = 0;  ///< Of outputs.
  SpeechSegmenter segmenter_;
  std::vector<float> samples_;  ///< 64 of context, then what is not computed yet.
  std::vector<float> frames_;   ///< [num_frames, 576]
  std::vector<float> hidden_, cell_;
  std::int64_t num_samples_ = 0;
};

/// Reads the next block of `window` and gives it to the detector, or tells it that the signal has ended. Whether it
/// has.
bool feed(VoiceDetector& detector, AudioWindow& window);

}  // namespace pajamas
