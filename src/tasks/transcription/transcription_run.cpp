// See transcription_run.h.
#include "tasks/transcription/transcription_run.h"

#include <algorithm>
#include <utility>

namespace pajamas {
namespace {

/// Less than this at the end of a signal holds no word.
constexpr std::int64_t kMinSamples = kSpeechRateHz / 50;
/// Speech behind a chunk's last segment that is transcribed by itself: longer than pads and the ends of words.
constexpr double kMinRestS = 1.0;
/// New audio between two partial texts.
constexpr std::int64_t kPartialSamples = kSpeechRateHz;

class Run {
 public:
  Run(const TranscriptionRunParts& parts, const SampleSource& source, const TranscriptionOptions& options,
      const SegmentSink& sink)
      : parts_(parts), options_(options), sink_(sink), window_(source), language_(options.language) {
    if (!parts.is_multilingual) language_ = "en";
    transcript_.language = language_;
    carried_ = parts.chunks->encode_text(options.initial_prompt);
  }

  Transcript take() {
    if (parts_.detector != nullptr) {
      run_speech();
    } else {
      run_windows();
    }
    transcript_.duration_s = static_cast<double>(window_.end()) / static_cast<double>(kSpeechRateHz);
    return std::move(transcript_);
  }

 private:
  void check() const {
    if (options_.is_cancelled && options_.is_cancelled())
      throw Error(ErrorKind::kCancelled, "the transcription was stopped");
  }

  /// Windows that follow each other, each beginning where the last whole segment of the one before ended.
  void run_windows() {
    const std::int64_t length = parts_.chunks->max_chunk_samples();
    std::int64_t begin = 0;
    while (!is_stopped_) {
      check();
      window_.fill(begin + length);
      const std::int64_t end = std::min(begin + length, window_.end());
      if (end - begin < kMinSamples) break;
      SpeechChunk chunk;
      chunk.pieces.push_back({begin, end});
      const bool is_last = window_.has_ended() && end == window_.end();
      const double next_s = transcribe({&chunk, 1}, is_last);
      begin += std::clamp<std::int64_t>(static_cast<std::int64_t>(next_s * static_cast<double>(kSpeechRateHz)),
                                        kMinSamples, end - begin);
      window_.drop_before(begin);
    }
    // The rest is only counted.
    while (!is_stopped_ && !window_.read_block().empty()) window_.drop_before(window_.end());
  }

  void run_speech() {
    VoiceDetector& detector = *parts_.detector;
    ChunkJoiner joiner(parts_.chunks->max_chunk_samples());
    std::vector<SpeechChunk> waiting;
    const std::size_t batch = options_.is_text_carried ? 1 : static_cast<std::size_t>(options_.batch_size);
    const auto add = [&](std::optional<SpeechChunk> chunk) {
      if (chunk && chunk->num_samples() >= kMinSamples) waiting.push_back(std::move(*chunk));
    };
    bool is_end = false;
    while (!is_end && !is_stopped_) {
      check();
      is_end = feed(detector, window_);
      while (const auto segment = detector.next()) add(joiner.push(*segment));
      if (is_end) add(joiner.finish());
      while (!is_stopped_ && (waiting.size() >= batch || (is_end && !waiting.empty()))) {
        const std::size_t count = std::min(batch, waiting.size());
        transcribe(std::span(waiting).first(count), true);
        waiting.erase(waiting.begin(), waiting.begin() + static_cast<std::ptrdiff_t>(count));
      }
      if (options_.on_partial && !is_end && !is_stopped_) give_partial(joiner);
      std::int64_t needed = detector.needed_from();
      if (const auto begin = joiner.begin()) needed = std::min(needed, *begin);
      if (!waiting.empty()) needed = std::min(needed, waiting.front().pieces.front().begin);
      window_.drop_before(needed);
    }
  }

  /// The speech of the chunk under way as it would be transcribed if it ended here.
  void give_partial(const ChunkJoiner& joiner) {
    const std::int64_t position = parts_.detector->position();
    if (position - partial_position_ < kPartialSamples) return;
    SpeechChunk chunk = joiner.chunk();
    if (const auto open = parts_.detector->open_begin()) chunk.pieces.push_back({*open, position});
    const std::int64_t num_samples = chunk.num_samples();
    if (num_samples < kPartialSamples || num_samples > parts_.chunks->max_chunk_samples()) return;
    partial_position_ = position;
    const ChunkAudio audio{chunk.samples(window_), true};
    find_language(audio);
    TranscriptionOptions quick = options_;
    quick.beam_size = 1;
    quick.temperatures = {0.0};
    quick.has_words = false;
    std::string text;
    for (const ChunkText& part :
         parts_.chunks->transcribe({&audio, 1}, language_, quick, num_chunks_, carried_, [this] { check(); })) {
      for (const TranscribedSegment& segment : part.segments) text += (text.empty() ? "" : " ") + segment.text;
    }
    options_.on_partial(text);
  }

  void find_language(const ChunkAudio& audio) {
    if (!language_.empty()) return;
    auto [language, probability] = parts_.chunks->find_language(audio);
    language_ = transcript_.language = std::move(language);
    transcript_.language_probability = probability;
  }

  /// Gives the seconds behind which the last chunk's next window begins.
  double transcribe(std::span<const SpeechChunk> chunks, bool is_cut) {
    struct Part {
      std::size_t owner = 0;  ///< Of `chunks`.
      SpeechChunk chunk;
      ChunkText text;
    };
    std::vector<Part> parts;
    for (std::size_t i = 0; i < chunks.size(); ++i) parts.push_back({i, chunks[i], {}});
    std::size_t begin = 0;
    while (begin < parts.size()) {
      std::vector<ChunkAudio> audio;
      for (std::size_t i = begin; i < parts.size(); ++i) audio.push_back({parts[i].chunk.samples(window_), is_cut});
      find_language(audio.front());
      std::vector<ChunkText> texts =
          parts_.chunks->transcribe(audio, language_, options_, num_chunks_, carried_, [this] { check(); });
      num_chunks_ += audio.size();
      const std::size_t end = parts.size();
      for (std::size_t i = begin; i < end; ++i) {
        parts[i].text = std::move(texts[i - begin]);
        if (parts_.detector == nullptr || parts[i].text.segments.empty()) continue;
        // A text that ends before the speech does has left some out: that is heard again by itself.
        const double heard_s = parts[i].text.segments.back().end_s;
        if (parts[i].chunk.length_s() - heard_s < kMinRestS) continue;
        parts.push_back({parts[i].owner, parts[i].chunk.behind(heard_s), {}});
      }
      begin = end;
    }
    std::stable_sort(parts.begin(), parts.end(), [](const Part& a, const Part& b) { return a.owner < b.owner; });
    for (const Part& part : parts) {
      if (is_stopped_) break;
      emit(part.chunk, part.text);
    }
    return parts.back().text.next_begin_s;
  }

  void emit(const SpeechChunk& chunk, const ChunkText& text) {
    for (TranscribedSegment segment : text.segments) {
      segment.begin_s = chunk.source_time(segment.begin_s, false);
      segment.end_s = std::max(chunk.source_time(segment.end_s, true), segment.begin_s);
      for (TranscribedWord& word : segment.words) {
        word.begin_s = chunk.source_time(word.begin_s, false);
        word.end_s = std::max(chunk.source_time(word.end_s, true), word.begin_s);
      }
      transcript_.segments.push_back(std::move(segment));
      const double position_s = chunk.source_time(text.next_begin_s, true);
      if (sink_ && !sink_(transcript_.segments.back(), position_s)) {
        is_stopped_ = true;
        return;
      }
    }
    // The initial prompt stands before the first chunks alone.
    if (!options_.is_text_carried || !text.is_carried) carried_.clear();
    if (!options_.is_text_carried) return;
    for (const TranscribedSegment& segment : text.segments) {
      const std::vector<std::int32_t> tokens = parts_.chunks->encode_text(segment.text);
      carried_.insert(carried_.end(), tokens.begin(), tokens.end());
    }
  }

  const TranscriptionRunParts& parts_;
  const TranscriptionOptions& options_;
  const SegmentSink& sink_;
  AudioWindow window_;
  Transcript transcript_;
  std::string language_;
  std::vector<std::int32_t> carried_;
  std::uint64_t num_chunks_ = 0;
  std::int64_t partial_position_ = 0;
  bool is_stopped_ = false;
};

}  // namespace

Transcript run_transcription(const TranscriptionRunParts& parts, const SampleSource& source,
                             const TranscriptionOptions& options, const SegmentSink& sink) {
  return Run(parts, source, options, sink).take();
}

}  // namespace pajamas
