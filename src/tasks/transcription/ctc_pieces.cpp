// See ctc_pieces.h.
#include "tasks/transcription/ctc_pieces.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace pajamas {
namespace {

constexpr double kMaxPieceS = 20;
/// From this length on a shorter pause is enough.
constexpr double kLongPieceS = 10;
constexpr double kPauseS = 0.5;
constexpr double kShortPauseS = 0.2;
/// Silent frames that are kept before the first sound: paths may begin a little before the likeliest does.
constexpr std::size_t kLeadFrames = 5;

std::size_t frames_in(double seconds, double frame_s) {
  return static_cast<std::size_t>(std::max(std::lround(seconds / frame_s), 2L));
}

}  // namespace

CtcPieces::CtcPieces(const CtcFacts& facts, double frame_s)
    : facts_(facts),
      vocab_(static_cast<std::size_t>(facts.vocab_size())),
      max_frames_(frames_in(kMaxPieceS, frame_s)),
      long_frames_(frames_in(kLongPieceS, frame_s)),
      pause_frames_(frames_in(kPauseS, frame_s)),
      short_pause_frames_(frames_in(kShortPauseS, frame_s)) {}

bool CtcPieces::is_silent(std::span<const float> frame) const {
  const auto best = std::max_element(frame.begin(), frame.end()) - frame.begin();
  return facts_.tokens[static_cast<std::size_t>(best)].empty() || best == facts_.word_delimiter_id;
}

void CtcPieces::push(std::span<const float> logprobs) {
  for (std::size_t begin = 0; begin + vocab_ <= logprobs.size(); begin += vocab_) {
    push_frame(logprobs.subspan(begin, vocab_));
  }
}

void CtcPieces::push_frame(std::span<const float> frame) {
  const bool is_quiet = is_silent(frame);
  piece_.logprobs.insert(piece_.logprobs.end(), frame.begin(), frame.end());
  silent_.push_back(is_quiet);
  num_silent_at_end_ = is_quiet ? num_silent_at_end_ + 1 : 0;
  num_sounding_ += is_quiet ? 0 : 1;
  if (num_sounding_ == 0) {
    if (silent_.size() > kLeadFrames) cut(silent_.size() - kLeadFrames);
    return;
  }
  const std::size_t pause = silent_.size() > long_frames_ ? short_pause_frames_ : pause_frames_;
  if (num_silent_at_end_ >= pause) {
    cut(silent_.size());
  } else if (silent_.size() >= max_frames_) {
    cut(best_cut());
  }
}

/// Takes frames off the front; they are a piece where something is said in them.
void CtcPieces::cut(std::size_t num_frames) {
  const auto values = static_cast<std::ptrdiff_t>(num_frames * vocab_);
  const auto frames = static_cast<std::ptrdiff_t>(num_frames);
  const auto sounding = static_cast<std::size_t>(std::count(silent_.begin(), silent_.begin() + frames, false));
  if (sounding > 0) {
    finished_.push_back({piece_.first_frame, {piece_.logprobs.begin(), piece_.logprobs.begin() + values}});
  }
  piece_.first_frame += frames;
  piece_.logprobs.erase(piece_.logprobs.begin(), piece_.logprobs.begin() + values);
  silent_.erase(silent_.begin(), silent_.begin() + frames);
  num_sounding_ -= sounding;
  num_silent_at_end_ = std::min(num_silent_at_end_, silent_.size());
}

/// The middle of the longest silent run in the latter half; without one, everything.
std::size_t CtcPieces::best_cut() const {
  std::size_t longest = 0, place = silent_.size(), run = 0;
  for (std::size_t i = silent_.size() / 2; i < silent_.size(); ++i) {
    run = silent_[i] ? run + 1 : 0;
    if (run < longest || run == 0) continue;
    longest = run;
    place = i + 1 - run / 2;
  }
  return place;
}

void CtcPieces::finish() {
  if (!silent_.empty()) cut(silent_.size());
}

std::optional<CtcPiece> CtcPieces::next() {
  if (finished_.empty()) return std::nullopt;
  CtcPiece piece = std::move(finished_.front());
  finished_.pop_front();
  return piece;
}

}  // namespace pajamas
