// See ctc_run.h.
#include "tasks/transcription/ctc_run.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "tasks/transcription/audio_window.h"
#include "tasks/transcription/ctc_alignment.h"
#include "tasks/transcription/ctc_decoder.h"
#include "tasks/transcription/ctc_pieces.h"
#include "tasks/transcription/ctc_stream.h"
#include "tasks/transcription/text_checks.h"

namespace pajamas {
namespace {

class Run {
 public:
  Run(const CtcRunParts& parts, const SampleSource& source, const TranscriptionOptions& options,
      const SegmentSink& sink)
      : parts_(parts),
        facts_(*parts.facts),
        options_(options),
        sink_(sink),
        window_(source),
        context_frames_(ctc_context_frames(facts_, parts.sample_rate_hz)),
        frame_s_(static_cast<double>(facts_.samples_per_frame) / static_cast<double>(parts.sample_rate_hz)) {
    transcript_.language_probability = 0;
  }

  Transcript take() {
    if (parts_.detector != nullptr) {
      run_speech();
    } else {
      run_all();
    }
    transcript_.duration_s = seconds(window_.end());
    return std::move(transcript_);
  }

 private:
  /// Frames of one stretch, on their way to segments.
  struct Stretch {
    CtcStream stream;
    CtcPieces pieces;
    std::int64_t begin = 0;
  };

  double seconds(std::int64_t samples) const {
    return static_cast<double>(samples) / static_cast<double>(parts_.sample_rate_hz);
  }
  void check() const {
    if (options_.is_cancelled && options_.is_cancelled())
      throw Error(ErrorKind::kCancelled, "the transcription was stopped");
  }
  Stretch new_stretch(std::int64_t begin) const {
    return {CtcStream(facts_, *parts_.model, context_frames_, begin), CtcPieces(facts_, frame_s_), begin};
  }

  void run_all() {
    Stretch stretch = new_stretch(0);
    while (!is_stopped_) {
      check();
      const bool is_end = window_.read_block().empty();
      advance(stretch, window_.end(), is_end);
      if (is_end) return;
      window_.drop_before(stretch.stream.needed_from());
    }
  }

  void run_speech() {
    VoiceDetector& detector = *parts_.detector;
    bool is_end = false;
    while (!is_end && !is_stopped_) {
      check();
      is_end = feed(detector, window_);
      while (const auto segment = detector.next()) {
        if (is_stopped_) break;
        Stretch stretch = new_stretch(segment->begin);
        advance(stretch, std::min(segment->end, window_.end()), true);
      }
      if (options_.on_partial && !is_end && !is_stopped_) give_partial();
      window_.drop_before(detector.needed_from());
    }
  }

  /// The last window of the speech under way as it would be transcribed if it ended here.
  void give_partial() {
    const std::int64_t position = parts_.detector->position();
    const auto open = parts_.detector->open_begin();
    if (!open || position - partial_position_ < parts_.sample_rate_hz) return;
    partial_position_ = position;
    const std::int64_t begin = std::max(*open, position - facts_.samples_of(facts_.window_frames));
    if (facts_.frames_of(position - begin) == 0) return;
    std::string text;
    for (const std::int32_t token : decode_greedy(facts_, parts_.model->run(window_.samples(begin, position)))) {
      text += facts_.tokens[static_cast<std::size_t>(token)];
    }
    options_.on_partial(text);
  }

  void advance(Stretch& stretch, std::int64_t end, bool is_end) {
    stretch.stream.advance(window_, end, is_end, [&](std::span<const float> logprobs) {
      check();
      stretch.pieces.push(logprobs);
      emit_pieces(stretch);
    });
    if (!is_end) return;
    stretch.pieces.finish();
    emit_pieces(stretch);
  }

  void emit_pieces(Stretch& stretch) {
    while (const auto piece = stretch.pieces.next()) {
      if (is_stopped_) return;
      emit(*piece, seconds(stretch.begin) + static_cast<double>(piece->first_frame) * frame_s_);
    }
  }

  void emit(const CtcPiece& piece, double begin_s) {
    std::vector<std::int32_t> tokens;
    if (options_.beam_size == 1) {
      tokens = decode_greedy(facts_, piece.logprobs);
    } else {
      tokens = search_prefixes(facts_, piece.logprobs,
                               {options_.beam_size, CtcSearchOptions{}.min_token_logprob, parts_.scorer})[0]
                   .tokens;
    }
    const std::vector<CtcTokenSpan> spans = align_tokens(facts_, piece.logprobs, tokens);
    TranscribedSegment segment;
    segment.words = words_of(facts_, tokens, spans, frame_s_);
    if (segment.words.empty()) return;
    double sum = 0;
    for (const CtcTokenSpan& span : spans) sum += span.logprob;
    segment.mean_logprob = static_cast<float>(std::min(sum / static_cast<double>(spans.size()), 0.0));
    for (TranscribedWord& word : segment.words) {
      word.begin_s += begin_s;
      word.end_s += begin_s;
      segment.text += word.text;
    }
    if (segment.text.starts_with(' ')) segment.text.erase(0, 1);
    segment.begin_s = segment.words.front().begin_s;
    segment.end_s = segment.words.back().end_s;
    segment.tokens = std::move(tokens);
    segment.compression_ratio = compression_ratio(segment.text);
    if (!options_.has_words) segment.words.clear();
    const auto num_frames = static_cast<std::int64_t>(piece.logprobs.size()) / facts_.vocab_size();
    const double position_s = begin_s + static_cast<double>(num_frames) * frame_s_;
    transcript_.segments.push_back(std::move(segment));
    if (sink_ && !sink_(transcript_.segments.back(), position_s)) is_stopped_ = true;
  }

  const CtcRunParts& parts_;
  const CtcFacts& facts_;
  const TranscriptionOptions& options_;
  const SegmentSink& sink_;
  AudioWindow window_;
  Transcript transcript_;
  std::int64_t context_frames_;
  double frame_s_;
  std::int64_t partial_position_ = 0;
  bool is_stopped_ = false;
};

}  // namespace

Transcript run_ctc(const CtcRunParts& parts, const SampleSource& source, const TranscriptionOptions& options,
                   const SegmentSink& sink) {
  return Run(parts, source, options, sink).take();
}

}  // namespace pajamas
