// TranscriptionModel: what a Transcriber (pajamas/transcription.h) is inside, over engines from anywhere: those of a
// bundle, or those that verification makes of the graphs behind it.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "bundle/bundle.h"
#include "engine/target.h"
#include "pajamas/transcription.h"
#include "tasks/transcription/recognizer.h"

namespace pajamas {

/// The engines of the bundle on this machine, each computing as it was built and proven.
EngineSource bundle_engines(const Bundle& bundle, const SessionOptions& options);

/// Use from one thread at a time.
class TranscriptionModel {
 public:
  /// The bundle gives facts, tokenizer and the names of its parts, `engines` gives what runs them. Throws as `engines`,
  /// and Error{kBadInput} or Error{kUnsupported} for a bundle that cannot transcribe.
  TranscriptionModel(const Bundle& bundle, const EngineSource& engines);

  std::vector<std::string> languages() const { return recognizer_->languages(); }
  bool has_voice_detector() const { return voice_ != nullptr; }
  /// As the functions of Transcriber.
  Transcript transcribe(const std::filesystem::path& audio, const TranscriptionOptions& options,
                        const SegmentSink& on_segment);
  Transcript transcribe_samples(const SampleSource& source, const TranscriptionOptions& options,
                                const SegmentSink& on_segment);

 private:
  TranscriptionFacts facts_;
  std::unique_ptr<Recognizer> recognizer_;
  std::shared_ptr<const Engine> voice_;
};

}  // namespace pajamas
