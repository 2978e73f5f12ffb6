// Where the tokens of a CTC text lie in its frames: the likeliest path that gives the text (Viterbi 1967), and the
// words that the tokens make.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "bundle/transcription_facts.h"
#include "pajamas/transcription.h"

namespace pajamas {

struct CtcTokenSpan {
  std::int32_t token = 0;
  std::size_t begin_frame = 0, end_frame = 0;
  double logprob = 0;  ///< Mean over its frames.
};

/// `tokens` as CtcHypothesis has them; delimiters have no span: between two words lie frames of blank or delimiter.
/// `logprobs` [num_frames, vocab_size]. Throws Error{kInternal} when the frames are too few for the tokens. Time and
/// memory (bytes) in num_frames times tokens.
std::vector<CtcTokenSpan> align_tokens(const CtcFacts& facts, std::span<const float> logprobs,
                                       std::span<const std::int32_t> tokens);

/// Words of an aligned text, with times from the beginning of its frames; `tokens` as for align_tokens(). Each has a
/// blank before it where the vocabulary has a delimiter, and is one token where it has none. Words without text are
/// left out.
std::vector<TranscribedWord> words_of(const CtcFacts& facts, std::span<const std::int32_t> tokens,
                                      std::span<const CtcTokenSpan> spans, double frame_s);

}  // namespace pajamas
