// One signal from its samples to its segments by CTC: stretches, windows, pieces, search, words. See docs/audio.md.
#pragma once

#include "bundle/transcription_facts.h"
#include "pajamas/transcription.h"
#include "tasks/transcription/ctc_model.h"
#include "tasks/transcription/ctc_word_scorer.h"
#include "tasks/transcription/voice_detector.h"

namespace pajamas {

struct CtcRunParts {
  const CtcFacts* facts = nullptr;
  std::int64_t sample_rate_hz = 16000;
  CtcModel* model = nullptr;
  VoiceDetector* detector = nullptr;      ///< Null: speech is not looked for.
  const CtcWordScorer* scorer = nullptr;  ///< Null: the model alone.
};

/// Transcribes the signal of `source`. Throws what reading, the detector and the model throw; segments given to `sink`
/// before are right.
Transcript run_ctc(const CtcRunParts& parts, const SampleSource& source, const TranscriptionOptions& options,
                   const SegmentSink& sink);

}  // namespace pajamas
