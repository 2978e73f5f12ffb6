// CtcStream: the frames of a stretch of signal of any length, from windows that overlap. Each frame is given once, from
// the window in which it lies farthest from the edges.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "bundle/transcription_facts.h"
#include "tasks/transcription/audio_window.h"
#include "tasks/transcription/ctc_model.h"

namespace pajamas {

/// Frames that a window leaves to its neighbours at an edge inside the stretch.
std::int64_t ctc_context_frames(const CtcFacts& facts, std::int64_t sample_rate_hz);

class CtcStream {
 public:
  /// The stretch begins at sample `begin` of the signal. All references are borrowed.
  CtcStream(const CtcFacts& facts, CtcModel& model, std::int64_t context_frames, std::int64_t begin);

  /// Runs every window that is complete when the samples up to `end` of the signal are there; `is_end`: the stretch
  /// ends there, so the rest too. Log-probabilities [frames, vocab_size] go to `sink`, in order.
  void advance(const AudioWindow& signal, std::int64_t end, bool is_end,
               const std::function<void(std::span<const float>)>& sink);
  /// First sample of the signal that is still needed.
  std::int64_t needed_from() const;
  /// The sample of the signal where the next frame begins.
  std::int64_t position() const { return begin_ + next_frame_ * facts_.samples_per_frame; }

 private:
  const CtcFacts& facts_;
  CtcModel& model_;
  std::int64_t context_frames_, begin_;
  std::int64_t next_frame_ = 0;  ///< That was not given yet.
};

}  // namespace pajamas
