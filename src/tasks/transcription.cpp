// The transcription task: Transcriber of pajamas/transcription.h.
#include "pajamas/transcription.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "bundle/bundle.h"
#include "engine/engine_loader.h"
#include "media/audio_reader.h"
#include "tasks/image_session.h"
#include "tasks/registry.h"
#include "tasks/transcription/recognizer.h"
#include "tasks/transcription/voice_detector.h"

namespace pajamas {
namespace {

/// Speech is cut where a pause is long enough to be none within a sentence, with air around it: words at the edges of a
/// chunk are what the model hears worst.
VoiceDetectorOptions detector_options(double max_speech_s) {
  VoiceDetectorOptions options;
  options.min_silence_ms = 500;
  options.pad_ms = 200;
  options.max_speech_s = max_speech_s;
  return options;
}

}  // namespace

std::string Transcript::text() const {
  std::string text;
  for (const TranscribedSegment& segment : segments) text += (text.empty() ? "" : "\n") + segment.text;
  return text;
}

struct Transcriber::Impl {
  Impl(const Bundle& bundle, const TranscriberOptions& options) : facts(bundle.manifest().task.transcription.value()) {
    SessionOptions session_options = pajamas::session_options(options.num_threads);
    session_options.is_exact_fp32 = options.is_exact_fp32;
    recognizer = facts.ctc ? make_ctc_recognizer(bundle, facts, session_options)
                           : make_whisper_recognizer(bundle, facts, session_options);
    const auto& parts = bundle.manifest().parts;
    if (std::any_of(parts.begin(), parts.end(), [](const auto& part) { return part.name == kVoicePart; })) {
      session_options.is_exact_fp32 = true;  // As it was built and proven.
      voice = load_engine(bundle, kVoicePart, session_options);
    }
  }

  Transcript run(const SampleSource& source, const TranscriptionOptions& options, const SegmentSink& sink) {
    recognizer->check(options);
    std::optional<VoiceDetector> detector;
    if (options.is_speech_detected.value_or(voice != nullptr)) {
      if (!voice) {
        throw Error(ErrorKind::kUnsupported, "the bundle has no voice detector", "--vad",
                    "build it again with a voice detector, or give --vad off");
      }
      detector.emplace(voice, detector_options(recognizer->max_speech_s()));
    }
    return recognizer->run(source, options, sink, detector ? &*detector : nullptr);
  }

  TranscriptionFacts facts;
  std::unique_ptr<Recognizer> recognizer;
  std::shared_ptr<const Engine> voice;
};

Transcriber::Transcriber(const std::filesystem::path& bundle_path, const TranscriberOptions& options)
    : impl_(open_for_task(bundle_path, "transcription",
                          [&](const Bundle& bundle) { return std::make_unique<Impl>(bundle, options); })) {}

Transcriber::~Transcriber() = default;
Transcriber::Transcriber(Transcriber&&) noexcept = default;
Transcriber& Transcriber::operator=(Transcriber&&) noexcept = default;

std::vector<std::string> Transcriber::languages() const { return impl_->recognizer->languages(); }

bool Transcriber::has_voice_detector() const { return impl_->voice != nullptr; }

Transcript Transcriber::transcribe(const std::filesystem::path& audio, const TranscriptionOptions& options,
                                   const SegmentSink& on_segment) {
  impl_->recognizer->check(options);
  AudioReader reader(audio, {.sample_rate_hz = static_cast<int>(impl_->facts.sample_rate_hz)});
  Transcript transcript =
      impl_->run([&](std::span<float> samples) { return reader.read(samples); }, options, on_segment);
  transcript.warning = reader.warning();
  return transcript;
}

Transcript Transcriber::transcribe_samples(const SampleSource& source, const TranscriptionOptions& options,
                                           const SegmentSink& on_segment) {
  return impl_->run(source, options, on_segment);
}

}  // namespace pajamas
