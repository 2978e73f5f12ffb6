// The part of a signal that is still needed, read from its source as it is asked for.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "pajamas/transcription.h"

namespace pajamas {

class AudioWindow {
 public:
  explicit AudioWindow(SampleSource source) : source_(std::move(source)) {}

  /// Reads until sample `end` of the signal is there, or the signal has ended. Gives what was read now.
  std::span<const float> fill(std::int64_t end);
  /// Reads one block; empty at the end.
  std::span<const float> read_block();
  /// Forgets what lies before sample `begin`.
  void drop_before(std::int64_t begin);

  /// Samples [begin, end), which are there.
  std::span<const float> samples(std::int64_t begin, std::int64_t end) const;
  std::int64_t end() const { return begin_ + static_cast<std::int64_t>(samples_.size()); }
  bool has_ended() const { return has_ended_; }

 private:
  SampleSource source_;
  std::vector<float> samples_;
  std::int64_t begin_ = 0;  ///< Of samples_ in the signal.
  bool has_ended_ = false;
};

}  // namespace pajamas
