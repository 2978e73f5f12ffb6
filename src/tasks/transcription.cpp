// The transcription task: Transcriber of pajamas/transcription.h.
#include "pajamas/transcription.h"

#include <utility>

#include "bundle/bundle.h"
#include "tasks/registry.h"
#include "tasks/transcription/transcription_model.h"

namespace pajamas {
std::string Transcript::text() const {
  std::string text;
  for (const TranscribedSegment& segment : segments) text += (text.empty() ? "" : "\n") + segment.text;
  return text;
}

struct Transcriber::Impl {
  Impl(const Bundle& bundle, const SessionOptions& options) : model(bundle, bundle_engines(bundle, options)) {}

  TranscriptionModel model;
};

Transcriber::Transcriber(const std::filesystem::path& bundle_path, const TranscriberOptions& options)
    : impl_(open_for_task(bundle_path, "transcription", [&](const Bundle& bundle) {
        SessionOptions session = session_options(options.num_threads);
        session.is_exact_fp32 = options.is_exact_fp32;
        return std::make_unique<Impl>(bundle, session);
      })) {}

Transcriber::~Transcriber() = default;
Transcriber::Transcriber(Transcriber&&) noexcept = default;
Transcriber& Transcriber::operator=(Transcriber&&) noexcept = default;

std::vector<std::string> Transcriber::languages() const { return impl_->model.languages(); }

bool Transcriber::has_voice_detector() const { return impl_->model.has_voice_detector(); }

Transcript Transcriber::transcribe(const std::filesystem::path& audio, const TranscriptionOptions& options,
                                   const SegmentSink& on_segment) {
  return impl_->model.transcribe(audio, options, on_segment);
}

Transcript Transcriber::transcribe_samples(const SampleSource& source, const TranscriptionOptions& options,
                                           const SegmentSink& on_segment) {
  return impl_->model.transcribe_samples(source, options, on_segment);
}

}  // namespace pajamas
