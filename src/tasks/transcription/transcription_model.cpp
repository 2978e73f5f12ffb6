// See transcription_model.h.
#include "tasks/transcription/transcription_model.h"

#include <algorithm>
#include <optional>
#include <span>

#include "engine/engine_loader.h"
#include "media/audio_reader.h"
#include "pajamas/error.h"
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

EngineSource bundle_engines(const Bundle& bundle, const SessionOptions& options) {
  return [bundle, options](const std::string& part) {
    SessionOptions own = options;
    own.is_exact_fp32 = options.is_exact_fp32 || part == kVoicePart;
    return load_engine(bundle, part, own);
  };
}

TranscriptionModel::TranscriptionModel(const Bundle& bundle, const EngineSource& engines)
    : facts_(bundle.manifest().task.transcription.value()) {
  recognizer_ = facts_.ctc ? make_ctc_recognizer(facts_, engines) : make_whisper_recognizer(bundle, facts_, engines);
  const auto& parts = bundle.manifest().parts;
  if (std::any_of(parts.begin(), parts.end(), [](const auto& part) { return part.name == kVoicePart; })) {
    voice_ = engines(kVoicePart);
  }
}

Transcript TranscriptionModel::transcribe(const std::filesystem::path& audio, const TranscriptionOptions& options,
                                          const SegmentSink& on_segment) {
  recognizer_->check(options);
  AudioReader reader(audio, {.sample_rate_hz = static_cast<int>(facts_.sample_rate_hz)});
  Transcript transcript =
      transcribe_samples([&](std::span<float> samples) { return reader.read(samples); }, options, on_segment);
  transcript.warning = reader.warning();
  return transcript;
}

Transcript TranscriptionModel::transcribe_samples(const SampleSource& source, const TranscriptionOptions& options,
                                                  const SegmentSink& on_segment) {
  recognizer_->check(options);
  std::optional<VoiceDetector> detector;
  if (options.is_speech_detected.value_or(voice_ != nullptr)) {
    if (!voice_) {
      throw Error(ErrorKind::kUnsupported, "the bundle has no voice detector", "--vad",
                  "build it again with a voice detector, or give --vad off");
    }
    detector.emplace(voice_, detector_options(recognizer_->max_speech_s()));
  }
  return recognizer_->run(source, options, on_segment, detector ? &*detector : nullptr);
}

}  // namespace pajamas
