// See ctc_stream.h.
#include "tasks/transcription/ctc_stream.h"

#include <algorithm>

#include "pajamas/error.h"

namespace pajamas {
namespace {

constexpr std::int64_t kContextSeconds = 2;

}  // namespace

std::int64_t ctc_context_frames(const CtcFacts& facts, std::int64_t sample_rate_hz) {
  // Half of a window at least is what it is run for.
  return std::min(kContextSeconds * sample_rate_hz / facts.samples_per_frame, facts.window_frames / 4);
}

CtcStream::CtcStream(const CtcFacts& facts, CtcModel& model, std::int64_t context_frames, std::int64_t begin)
    : facts_(facts), model_(model), context_frames_(context_frames), begin_(begin) {}

void CtcStream::advance(const AudioWindow& signal, std::int64_t end, bool is_end,
                        const std::function<void(std::span<const float>)>& sink) {
  const std::int64_t num_frames = facts_.frames_of(end - begin_), window = facts_.window_frames;
  while (next_frame_ < num_frames) {
    std::int64_t first = std::max<std::int64_t>(next_frame_ - context_frames_, 0);
    const bool is_last = num_frames <= first + window;
    // Whether a window is the last shows only behind it.
    if (is_last && !is_end) return;
    if (is_last) first = std::max<std::int64_t>(num_frames - window, 0);
    const std::int64_t last = std::min(first + window, num_frames);
    const std::int64_t begin = begin_ + first * facts_.samples_per_frame;
    const auto logprobs = model_.run(signal.samples(begin, begin + facts_.samples_of(last - first)));
    const std::int64_t given = is_last ? last : last - context_frames_;
    const std::int64_t vocab = facts_.vocab_size();
    if (static_cast<std::int64_t>(logprobs.size()) != (last - first) * vocab) {
      throw Error(ErrorKind::kInternal, "a window of " + std::to_string(last - first) + " frames gave " +
                                            std::to_string(logprobs.size()) + " numbers");
    }
    sink(logprobs.subspan(static_cast<std::size_t>((next_frame_ - first) * vocab),
                          static_cast<std::size_t>((given - next_frame_) * vocab)));
    next_frame_ = given;
  }
}

std::int64_t CtcStream::needed_from() const {
  // The last window may be moved back until it ends with the frame that is wanted next.
  return begin_ + std::max<std::int64_t>(next_frame_ + 1 - facts_.window_frames, 0) * facts_.samples_per_frame;
}

}  // namespace pajamas
