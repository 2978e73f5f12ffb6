// Transcription: speech to text with times, from models like Whisper and from CTC models like Wav2Vec2.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "pajamas/error.h"

namespace pajamas {

/// Times are seconds from the beginning of the audio.
struct TranscribedWord {
  std::string text;  ///< With the blank before it and the punctuation that belongs to it, as the model wrote them.
  double begin_s = 0, end_s = 0;
  float probability = 0;  ///< Geometric mean over the word's tokens, 0..1.
};

struct TranscribedSegment {
  double begin_s = 0, end_s = 0;
  std::string text;  ///< UTF-8, without blanks at the ends.
  std::vector<std::int32_t> tokens;
  std::vector<TranscribedWord> words;  ///< With TranscriptionOptions::has_words.
  float mean_logprob = 0;              ///< Natural logarithm, of the chunk that the segment is part of (CTC: its own).
  float no_speech_probability = 0;     ///< 0..1, of the chunk.
  float compression_ratio = 0;         ///< Bytes of the chunk's text over those of it compressed.
  float temperature = 0;               ///< That the chunk was decoded with.
};

struct Transcript {
  std::string language;                      ///< "en"; empty: the model (CTC) does not say.
  float language_probability = 1;            ///< 1 where the language was given.
  double duration_s = 0;                     ///< Of the audio.
  std::vector<TranscribedSegment> segments;  ///< In the order of their times.
  std::string warning;       ///< What was wrong with the audio (a file that was cut off); empty: nothing.
  std::string text() const;  ///< All segments, a line each.
};

/// How speech becomes text. The rules and their sources: docs/audio.md. An option that the bundle's model has no use
/// for is refused by name.
struct TranscriptionOptions {
  std::string language;        ///< Code like "en"; empty: found from the first 30 s of speech.
  bool is_translated = false;  ///< Text in English whatever the language.
  int beam_size = 1;           ///< 1: greedy; at most 16, or 1024 with CTC.
  bool has_words = false;      ///< Times and probabilities of words.
  /// Speech is found first, and only speech decoded. Absent: where the bundle has a voice detector.
  std::optional<bool> is_speech_detected;
  /// Each chunk is told the text before it. Chunks are decoded one after another then.
  bool is_text_carried = false;
  std::string initial_prompt;  ///< Text that stands before the first chunk: style, names.
  std::string hot_words;       ///< Text that stands before every chunk; with CTC and beams words to prefer.
  /// CTC with beams: an n-gram language model as ARPA text, its weight (default 0.5) and what each word adds (default
  /// 1.5), in natural logarithms.
  std::filesystem::path language_model;
  std::optional<double> language_model_weight, word_bonus;
  std::vector<double> temperatures{0.0, 0.2, 0.4, 0.6, 0.8, 1.0};  ///< Tried in turn; 0 first means greedy or beams.
  int num_samples = 5;                     ///< Texts drawn at a temperature above 0; the likeliest is taken.
  double max_compression_ratio = 2.4;      ///< A text that compresses better repeats itself: next temperature.
  double min_mean_logprob = -1.0;          ///< A text less likely than this: next temperature.
  double max_no_speech_probability = 0.6;  ///< Above it, and unlikely: silence.
  int batch_size = 1;  ///< Whisper: chunks decoded together where they do not depend on each other; 1..64. More is a
                       ///< little faster and takes 90 MB each with Whisper base.
  std::uint64_t seed = 0;
  /// Called, while audio arrives, with the text so far of speech that is not final yet; about once a second of audio.
  /// With a voice detector only. What is final is the same with and without it.
  std::function<void(const std::string& text)> on_partial;
  /// Asked between steps, a few times a second; true ends the transcription with Error{kCancelled}.
  std::function<bool()> is_cancelled;
};

struct TranscriberOptions {
  int num_threads = 0;         ///< CPU threads; 0: all.
  bool is_exact_fp32 = false;  ///< float32 arithmetic whatever the bundle's precision.
};

/// Samples that are read as they are needed: mono float32 at 16 kHz. Gives their number, 0 at the end.
using SampleSource = std::function<std::size_t(std::span<float>)>;

/// Called after each segment is final, in order; false ends the transcription with what is there. `position_s`: audio
/// done so far.
using SegmentSink = std::function<bool(const TranscribedSegment& segment, double position_s)>;

/// A loaded speech model. Use from one thread at a time.
class Transcriber {
 public:
  /// Throws Error: kBadInput (damaged, or of another task), kDeviceMissing, kUnsupported, kUsage.
  explicit Transcriber(const std::filesystem::path& bundle, const TranscriberOptions& options = {});
  ~Transcriber();
  Transcriber(Transcriber&&) noexcept;
  Transcriber& operator=(Transcriber&&) noexcept;

  /// Languages that may be given; empty for a model of one.
  std::vector<std::string> languages() const;
  bool has_voice_detector() const;

  /// A file of any format that AudioReader reads, or "-" for standard input. Memory does not grow with its length.
  /// Throws Error{kUsage} for options that cannot be, and what reading throws; segments that were given to `on_segment`
  /// before are right.
  Transcript transcribe(const std::filesystem::path& audio, const TranscriptionOptions& options = {},
                        const SegmentSink& on_segment = {});
  /// The same over samples, mono at 16 kHz.
  Transcript transcribe_samples(const SampleSource& source, const TranscriptionOptions& options = {},
                                const SegmentSink& on_segment = {});

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pajamas
