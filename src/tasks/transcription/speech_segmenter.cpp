// See speech_segmenter.h. The rules are those of get_speech_timestamps in silero-vad 6.2.3, which sees all frames at
// once; here a stretch is given when no later frame can move its end.
#include "tasks/transcription/speech_segmenter.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "pajamas/error.h"

namespace pajamas {
namespace {

constexpr double kSamplesPerMs = 16;

void require(bool is_right, const std::string& what) {
  if (!is_right) throw Error(ErrorKind::kUsage, what, "voice activity detection");
}

void require_time(double value, const char* name) {
  require(std::isfinite(value) && value >= 0, std::string("the ") + name + " must be a time of 0 or more");
}

std::int64_t truncated(double samples) { return static_cast<std::int64_t>(samples); }

}  // namespace

SpeechSegmenter::SpeechSegmenter(const VoiceDetectorOptions& options)
    : threshold_(options.threshold),
      negative_threshold_(options.negative_threshold.value_or(std::max(options.threshold - 0.15, 0.01))),
      min_speech_(options.min_speech_ms * kSamplesPerMs),
      min_silence_(options.min_silence_ms * kSamplesPerMs),
      pad_(options.pad_ms * kSamplesPerMs),
      max_speech_(options.max_speech_s * 1000 * kSamplesPerMs - static_cast<double>(kVoiceFrameSamples) - 2 * pad_),
      min_silence_at_max_(options.min_silence_at_max_ms * kSamplesPerMs) {
  require(threshold_ > 0 && threshold_ < 1, "the threshold must lie between 0 and 1");
  require(negative_threshold_ > 0 && negative_threshold_ <= threshold_,
          "the negative threshold must lie between 0 and the threshold");
  require_time(options.min_speech_ms, "least length of speech");
  require_time(options.min_silence_ms, "least length of silence");
  require_time(options.pad_ms, "pad");
  require_time(options.min_silence_at_max_ms, "least length of silence to cut at");
  require(max_speech_ > 0, "the longest stretch of speech must be longer than a frame of 32 ms and both pads");
}

void SpeechSegmenter::reset_pauses() {
  pause_begin_.reset();
  pauses_.clear();
}

void SpeechSegmenter::push(double probability) {
  const std::int64_t now = position_;
  position_ += kVoiceFrameSamples;
  const bool is_speech = probability >= threshold_;
  if (is_speech && pause_begin_) {
    const std::int64_t length = now - *pause_begin_;
    // Without a limit nothing is ever cut.
    if (static_cast<double>(length) > min_silence_at_max_ && std::isfinite(max_speech_)) {
      pauses_.push_back({*pause_begin_, length});
    }
    pause_begin_.reset();
  }
  if (!begin_) {
    if (is_speech) begin_ = now;
  } else {
    if (static_cast<double>(now - *begin_) > max_speech_) {
      if (pauses_.empty()) {
        keep(*begin_, now);
        begin_.reset();
        reset_pauses();
        return;
      }
      // The first of the longest.
      const Pause cut = *std::max_element(pauses_.begin(), pauses_.end(),
                                          [](const Pause& a, const Pause& b) { return a.length < b.length; });
      keep(*begin_, cut.begin);
      begin_ = cut.begin + cut.length;
      reset_pauses();
    }
    if (probability < negative_threshold_) {
      if (!pause_begin_) pause_begin_ = now;
      if (static_cast<double>(now - *pause_begin_) >= min_silence_) {
        if (static_cast<double>(*pause_begin_ - *begin_) > min_speech_) keep(*begin_, *pause_begin_);
        begin_.reset();
        reset_pauses();
      }
    }
  }
  // No kept stretch can begin before this any more.
  const std::int64_t next_begin = begin_.value_or(now);
  if (pending_ && static_cast<double>(next_begin - pending_->end) >= 2 * pad_) {
    release_pending(static_cast<double>(pending_->end) + pad_);
  }
}

void SpeechSegmenter::release_pending(double end) {
  finished_.push_back({pending_->begin, truncated(end)});
  pending_.reset();
}

void SpeechSegmenter::keep(std::int64_t begin, std::int64_t end) {
  double before = pad_;
  if (pending_) {
    const std::int64_t pause = begin - pending_->end;
    if (static_cast<double>(pause) < 2 * pad_) {
      before = static_cast<double>(pause / 2);
      release_pending(static_cast<double>(pending_->end + pause / 2));
    } else {
      release_pending(static_cast<double>(pending_->end) + pad_);
    }
  }
  pending_ = SpeechSegment{truncated(std::max(0.0, static_cast<double>(begin) - before)), end};
}

void SpeechSegmenter::finish(std::int64_t num_samples) {
  if (begin_ && static_cast<double>(num_samples - *begin_) > min_speech_) keep(*begin_, num_samples);
  begin_.reset();
  reset_pauses();
  if (pending_) {
    release_pending(std::min(static_cast<double>(num_samples), static_cast<double>(pending_->end) + pad_));
  }
}

std::optional<SpeechSegment> SpeechSegmenter::next() {
  if (finished_.empty()) return std::nullopt;
  const SpeechSegment segment = finished_.front();
  finished_.pop_front();
  return segment;
}

std::optional<std::int64_t> SpeechSegmenter::open_begin() const {
  if (!begin_) return std::nullopt;
  return truncated(std::max(0.0, static_cast<double>(*begin_) - pad_));
}

}  // namespace pajamas
