// Chunks of speech to segments of text: features, language, decoding with its fallbacks, words. Where chunks begin is
// the transcriber's affair.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bundle/transcription_facts.h"
#include "media/log_mel.h"
#include "pajamas/transcription.h"
#include "tasks/transcription/chunk_decoder.h"
#include "tasks/transcription/segments.h"
#include "text/tokenizer.h"

namespace pajamas {

/// Attention of the alignment heads for a text of a chunk that the model has encoded.
class Aligner {
 public:
  virtual ~Aligner() = default;
  struct Attention {
    std::span<const float> values;  ///< [num_heads, num_tokens, num_positions], valid until the next call.
    std::size_t num_heads = 0, num_positions = 0;
  };
  virtual Attention align(std::size_t chunk, std::span<const std::int32_t> tokens) = 0;
};

/// A chunk's samples and how it ends.
struct ChunkAudio {
  std::vector<float> samples;  ///< At most the encoder's length.
  bool is_cut = true;          ///< As split_segments().
};

struct ChunkText {
  std::vector<TranscribedSegment> segments;  ///< Times within the chunk.
  double next_begin_s = 0;                   ///< As ChunkSegments.
  bool is_carried = true;                    ///< Fit to stand before the next chunk.
};

class ChunkTranscriber {
 public:
  /// `aligner` may be null where no words are asked for. All are borrowed and outlive this.
  ChunkTranscriber(const WhisperFacts& facts, const Tokenizer& tokenizer, StepModel& model, Aligner* aligner);

  std::int64_t max_chunk_samples() const { return 2 * facts_.num_positions * kMelHopSamples; }

  /// Code and probability of the likeliest language of a chunk. The model must be multilingual.
  std::pair<std::string, float> find_language(const ChunkAudio& chunk);

  /// `language` is resolved. `first_chunk` numbers the chunks of a signal, for drawing. `carried`: tokens of the text
  /// before the first chunk. `check` is called between steps and may throw. Results in order.
  std::vector<ChunkText> transcribe(std::span<const ChunkAudio> chunks, const std::string& language,
                                    const TranscriptionOptions& options, std::uint64_t first_chunk,
                                    std::span<const std::int32_t> carried, const std::function<void()>& check);

  /// Tokens of text that stands before a chunk.
  std::vector<std::int32_t> encode_text(const std::string& text) const;

 private:
  struct Attempt {
    DecodedChunk decoded;
    std::string text;
    float compression_ratio = 0;
    bool is_silence = false;
  };
  void encode(std::span<const ChunkAudio> chunks);
  std::vector<std::int32_t> prompt_of(const std::string& language, const TranscriptionOptions& options,
                                      std::span<const std::int32_t> carried, std::int64_t& no_speech_position) const;
  Attempt judge(DecodedChunk decoded, const DecodingRules& rules, const TranscriptionOptions& options,
                bool& is_good) const;
  std::string text_of(std::span<const std::int32_t> tokens) const;
  ChunkText finish(std::size_t chunk, const ChunkAudio& audio, const Attempt& attempt, const DecodingRules& rules,
                   const std::string& language, const TranscriptionOptions& options);
  void add_words(std::size_t chunk, double length_s, const DecodedChunk& decoded, std::span<const TokenSegment> parts,
                 const std::string& language, const TranscriptionOptions& options,
                 std::vector<TranscribedSegment>& segments);

  const WhisperFacts& facts_;
  const Tokenizer& tokenizer_;
  StepModel& model_;
  Aligner* aligner_;
  LogMel log_mel_;
  std::vector<float> features_;
};

}  // namespace pajamas
