// Recognizer: from samples to a transcript by one kind of model. What they share, the bundle's facts and the voice
// detector, is the Transcriber's (pajamas/transcription.h).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bundle/bundle.h"
#include "bundle/transcription_facts.h"
#include "engine/target.h"
#include "pajamas/transcription.h"
#include "tasks/transcription/voice_detector.h"

namespace pajamas {

/// Use from one thread at a time.
class Recognizer {
 public:
  virtual ~Recognizer() = default;
  /// Throws Error{kUsage} or Error{kUnsupported} naming the option that the model has no use for or cannot serve.
  virtual void check(const TranscriptionOptions& options) const = 0;
  /// The longest stretch of speech that is taken at once.
  virtual double max_speech_s() const = 0;
  /// As Transcriber::languages().
  virtual std::vector<std::string> languages() const = 0;
  /// `options` were checked; `detector` may be null.
  virtual Transcript run(const SampleSource& source, const TranscriptionOptions& options, const SegmentSink& sink,
                         VoiceDetector* detector) = 0;
};

/// The engine of a part, by its name.
using EngineSource = std::function<std::shared_ptr<const Engine>(const std::string& part)>;

/// `facts` has what the name says, `bundle` gives the tokenizer. Throw as `engines`, which is asked again for parts
/// that are needed later.
std::unique_ptr<Recognizer> make_whisper_recognizer(const Bundle& bundle, const TranscriptionFacts& facts,
                                                    const EngineSource& engines);
std::unique_ptr<Recognizer> make_ctc_recognizer(const TranscriptionFacts& facts, const EngineSource& engines);

}  // namespace pajamas
