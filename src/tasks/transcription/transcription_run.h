// One signal from its samples to its segments: what is cut where, in which order, and what is told to the next chunk.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "pajamas/transcription.h"
#include "tasks/transcription/chunk_transcriber.h"
#include "tasks/transcription/speech_chunk.h"
#include "tasks/transcription/voice_detector.h"

namespace pajamas {

struct TranscriptionRunParts {
  ChunkTranscriber* chunks = nullptr;
  VoiceDetector* detector = nullptr;  ///< Null: speech is not looked for.
  bool is_multilingual = false;
};

/// Transcribes the signal of `source`. Throws what reading, the detector and the model throw; segments given to `sink`
/// before are right.
Transcript run_transcription(const TranscriptionRunParts& parts, const SampleSource& source,
                             const TranscriptionOptions& options, const SegmentSink& sink);

}  // namespace pajamas
