// Decoding chunks of speech that do not depend on each other: greedy, beams, or drawn at a temperature, by the decoding
// rules. One chunk's text; where segments begin and end in it is segments.h's.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "tasks/transcription/decoding_rules.h"
#include "tasks/transcription/step_model.h"

namespace pajamas {

/// What was decoded of one chunk.
struct DecodedChunk {
  std::vector<std::int32_t> tokens;  ///< Text and timestamps; without the prompt and without the end.
  std::vector<float> logprobs;       ///< Of each token, natural logarithm, after the rules.
  double sum_logprob = 0;            ///< With that of the end, if it was reached.
  float no_speech_probability = 0;   ///< Before the rules.
  float temperature = 0;
  bool has_ended = false;  ///< The model ended it; else it was cut at max_tokens.
  /// Of the tokens and the end: what thresholds are about.
  double mean_logprob() const { return sum_logprob / static_cast<double>(tokens.size() + 1); }
};

struct ChunkDecoderOptions {
  int beam_size = 1;              ///< At temperature 0; 1: greedy.
  double temperature = 0;         ///< Above 0: texts are drawn.
  int num_samples = 5;            ///< Texts drawn, the likeliest of them by mean is taken.
  std::int64_t max_tokens = 224;  ///< Of text and timestamps.
  std::uint64_t seed = 0;
};

/// One chunk of what StepModel::encode() was given.
struct ChunkTask {
  std::size_t chunk = 0;                 ///< Which; ascending.
  std::vector<std::int32_t> prompt;      ///< Of the same length for all tasks.
  std::int64_t no_speech_position = 0;   ///< Place in the prompt after which the model says whether there is speech.
  std::uint64_t stream = 0;              ///< Tells chunks apart for drawing: the same chunk draws the same text.
  const DecodingRules* rules = nullptr;  ///< Borrowed.
};

/// Decodes tasks over the chunks that `model` has encoded. Results in the order of the tasks. Beams are OpenAI's: each
/// keeps its beam_size best continuations, texts that end are kept aside until there are beam_size of them, and the
/// likeliest by mean over the length is taken. Throws what the model throws, Error{kInternal} for prompts of several
/// lengths; `check` is called between steps and may throw.
std::vector<DecodedChunk> decode_chunks(StepModel& model, std::span<const ChunkTask> tasks,
                                        std::int32_t no_speech_token, const ChunkDecoderOptions& options,
                                        const std::function<void()>& check = {});

}  // namespace pajamas
