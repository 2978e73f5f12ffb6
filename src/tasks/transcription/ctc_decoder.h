// From the log-probabilities of frames to the likeliest text: greedy, and prefix beam search (Graves 2012; Hannun et
// al. 2014, arXiv 1408.2873). Where the tokens lie in time is ctc_alignment.h's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "bundle/transcription_facts.h"
#include "tasks/transcription/ctc_word_scorer.h"

namespace pajamas {

/// A text as tokens: no blanks, and of word delimiters one between two words and none at the ends.
struct CtcHypothesis {
  std::vector<std::int32_t> tokens;
  double logprob = 0;  ///< Of all paths together that give the text, as far as they were followed.
  double score = 0;    ///< With what the scorer adds.
};

struct CtcSearchOptions {
  int beam_size = 16;
  double min_token_logprob = -12;         ///< Tokens less likely in a frame are not tried there.
  const CtcWordScorer* scorer = nullptr;  ///< Borrowed; null: the model alone.
};

/// The text of the likeliest path. `logprobs` [num_frames, vocab_size], normalised.
std::vector<std::int32_t> decode_greedy(const CtcFacts& facts, std::span<const float> logprobs);

/// The beam_size best texts, best first; at least one, which may be empty.
std::vector<CtcHypothesis> search_prefixes(const CtcFacts& facts, std::span<const float> logprobs,
                                           const CtcSearchOptions& options);

}  // namespace pajamas
