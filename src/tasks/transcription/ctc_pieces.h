// CtcPieces: cuts the frames of a stretch of signal where nothing is said, as they arrive, so that searches and memory
// stay small. The rules are those of docs/audio.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <vector>

#include "bundle/transcription_facts.h"

namespace pajamas {

/// Frames that are decoded together.
struct CtcPiece {
  std::int64_t first_frame = 0;  ///< Of the stretch.
  std::vector<float> logprobs;   ///< [num_frames, vocab_size]
};

class CtcPieces {
 public:
  /// `facts` is borrowed.
  CtcPieces(const CtcFacts& facts, double frame_s);

  /// The next frames, [num_frames, vocab_size].
  void push(std::span<const float> logprobs);
  /// The stretch has ended.
  void finish();
  /// The next piece with something said in it, once.
  std::optional<CtcPiece> next();

 private:
  bool is_silent(std::span<const float> frame) const;
  void push_frame(std::span<const float> frame);
  void cut(std::size_t num_frames);
  std::size_t best_cut() const;

  const CtcFacts& facts_;
  std::size_t vocab_, max_frames_, long_frames_, pause_frames_, short_pause_frames_;
  CtcPiece piece_;
  std::vector<bool> silent_;  ///< Of the frames of piece_.
  std::size_t num_sounding_ = 0, num_silent_at_end_ = 0;
  std::deque<CtcPiece> finished_;
};

}  // namespace pajamas
