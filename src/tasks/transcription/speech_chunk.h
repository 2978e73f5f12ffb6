// A chunk of at most 30 s that is transcribed at once: one stretch of the signal, or several of speech with the silence
// between them left out.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "tasks/transcription/audio_window.h"
#include "tasks/transcription/speech_segmenter.h"

namespace pajamas {

inline constexpr std::int64_t kSpeechRateHz = 16000;

struct SpeechChunk {
  std::vector<SpeechSegment> pieces;  ///< Samples of the signal, in order.

  std::int64_t num_samples() const;
  double length_s() const { return static_cast<double>(num_samples()) / static_cast<double>(kSpeechRateHz); }
  /// Where in the signal the second `chunk_s` of the chunk lies. `is_end`: of something that ends there, which at a
  /// seam is the end of the piece before and not the beginning of the next.
  double source_time(double chunk_s, bool is_end) const;
  std::vector<float> samples(const AudioWindow& window) const;
  /// What lies behind the second `chunk_s`.
  SpeechChunk behind(double chunk_s) const;
};

/// Joins stretches of speech into chunks.
class ChunkJoiner {
 public:
  explicit ChunkJoiner(std::int64_t max_samples) : max_samples_(max_samples) {}
  /// The chunk that is full now, if this segment does not fit into it.
  std::optional<SpeechChunk> push(const SpeechSegment& segment);
  /// The last one.
  std::optional<SpeechChunk> finish();
  /// The chunk under way; may be without pieces.
  const SpeechChunk& chunk() const { return chunk_; }
  /// First sample that is still needed; nothing when no chunk is under way.
  std::optional<std::int64_t> begin() const;

 private:
  std::int64_t max_samples_;
  SpeechChunk chunk_;
};

}  // namespace pajamas
