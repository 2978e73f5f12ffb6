// See audio_window.h.
#include "tasks/transcription/audio_window.h"

#include <algorithm>

namespace pajamas {
namespace {

constexpr std::size_t kBlockSamples = 16000;

}  // namespace

std::span<const float> AudioWindow::read_block() {
  if (has_ended_) return {};
  const std::size_t before = samples_.size();
  samples_.resize(before + kBlockSamples);
  const std::size_t count = source_(std::span(samples_).subspan(before));
  samples_.resize(before + std::min(count, kBlockSamples));
  has_ended_ = count == 0;
  return std::span<const float>(samples_).subspan(before);
}

std::span<const float> AudioWindow::fill(std::int64_t end) {
  const std::int64_t before = this->end();
  while (!has_ended_ && this->end() < end) read_block();
  return samples(before, this->end());
}

void AudioWindow::drop_before(std::int64_t begin) {
  const std::int64_t count = std::clamp<std::int64_t>(begin - begin_, 0, static_cast<std::int64_t>(samples_.size()));
  samples_.erase(samples_.begin(), samples_.begin() + static_cast<std::ptrdiff_t>(count));
  begin_ += count;
}

std::span<const float> AudioWindow::samples(std::int64_t begin, std::int64_t end) const {
  return std::span<const float>(samples_).subspan(static_cast<std::size_t>(begin - begin_),
                                                  static_cast<std::size_t>(end - begin));
}

}  // namespace pajamas
