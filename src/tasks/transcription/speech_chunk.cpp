// See speech_chunk.h.
#include "tasks/transcription/speech_chunk.h"

#include <algorithm>
#include <utility>

namespace pajamas {

std::int64_t SpeechChunk::num_samples() const {
  std::int64_t total = 0;
  for (const SpeechSegment& piece : pieces) total += piece.end - piece.begin;
  return total;
}

double SpeechChunk::source_time(double chunk_s, bool is_end) const {
  double rest = chunk_s * static_cast<double>(kSpeechRateHz);
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const auto length = static_cast<double>(pieces[i].end - pieces[i].begin);
    const bool is_last = i + 1 == pieces.size();
    // Half a step of the timestamps: what they round to.
    constexpr double kSlackSamples = 160;
    const bool is_inside = is_end ? rest <= length + kSlackSamples : rest < length - kSlackSamples;
    if (is_inside || is_last) {
      return (static_cast<double>(pieces[i].begin) + std::clamp(rest, 0.0, length)) /
             static_cast<double>(kSpeechRateHz);
    }
    rest = std::max(rest - length, 0.0);
  }
  return 0;
}

std::vector<float> SpeechChunk::samples(const AudioWindow& window) const {
  std::vector<float> result;
  result.reserve(static_cast<std::size_t>(num_samples()));
  for (const SpeechSegment& piece : pieces) {
    const auto part = window.samples(piece.begin, piece.end);
    result.insert(result.end(), part.begin(), part.end());
  }
  return result;
}

SpeechChunk SpeechChunk::behind(double chunk_s) const {
  auto skipped = static_cast<std::int64_t>(chunk_s * static_cast<double>(kSpeechRateHz));
  SpeechChunk rest;
  for (const SpeechSegment& piece : pieces) {
    const std::int64_t length = piece.end - piece.begin;
    if (skipped < length) rest.pieces.push_back({piece.begin + std::max<std::int64_t>(skipped, 0), piece.end});
    skipped -= length;
  }
  return rest;
}

std::optional<SpeechChunk> ChunkJoiner::push(const SpeechSegment& segment) {
  std::optional<SpeechChunk> full;
  if (!chunk_.pieces.empty() && chunk_.num_samples() + segment.end - segment.begin > max_samples_) full = finish();
  chunk_.pieces.push_back(segment);
  return full;
}

std::optional<SpeechChunk> ChunkJoiner::finish() {
  if (chunk_.pieces.empty()) return std::nullopt;
  return std::exchange(chunk_, {});
}

std::optional<std::int64_t> ChunkJoiner::begin() const {
  if (chunk_.pieces.empty()) return std::nullopt;
  return chunk_.pieces.front().begin;
}

}  // namespace pajamas
