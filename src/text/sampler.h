// Choosing the next token of one sequence from its logits: bias, penalties, temperature, truncation, a seeded draw, and
// log-probabilities. Knows nothing of batches, devices or text: a constraint on the next token comes as a bit mask, and
// stop strings are text/stop_matcher.h. The options are the public ones (pajamas/generation.h).
// docs/language-sampling.md gives the order of operations and why.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "pajamas/generation.h"
#include "text/logit_kernels.h"

namespace pajamas {

/// Throws Error{kUsage} naming the first option out of range (ranges: pajamas/generation.h). `vocab_size` bounds the
/// ids of logit_bias.
void check_sampling_options(const SamplingOptions& options, std::int32_t vocab_size);

struct SampledToken {
  std::int32_t token_id = 0;
  /// Log-softmax of the logits as given (before mask, bias, penalties and temperature), as OpenAI's API reports; absent
  /// unless num_logprobs asks.
  std::optional<float> logprob;
  std::vector<TokenLogprob> top_logprobs;  ///< num_logprobs of them, likeliest first, ties by the lowest id.
};

/// Buffers of sample(), up to 32 bytes a token of the vocabulary, shared by all samplers of one thread.
class SamplerScratch {
 private:
  friend class Sampler;
  std::vector<float> logits_;
  std::vector<float> weights_;
  std::vector<LogitCandidate> candidates_;
  std::vector<LogitCandidate> buffer_;
};

/// The sampling state of one sequence: its options, its tokens so far, its place in the random stream. Used by one
/// thread at a time; copyable (n > 1, preemption).
class Sampler {
 public:
  /// Throws as check_sampling_options. `stream` tells apart the sequences of one request (n > 1).
  Sampler(SamplingOptions options, std::int32_t vocab_size, std::uint32_t stream = 0);

  /// Tells of tokens of the prompt, which count for the repetition penalty only. Throws Error{kBadInput} for an id
  /// outside the vocabulary.
  void accept_prompt(std::span<const std::int32_t> token_ids);
  /// Tells of the next token of the output, which need not be the one sampled. Moves the random stream on. Throws as
  /// accept_prompt.
  void accept(std::int32_t token_id);

  /// The next token. `logits`: [vocab_size] float32, not modified; -inf means "never". `allowed`: empty, or one bit a
  /// token, lowest bit first, ceil(vocab_size / 32) words, bits past the end ignored. Does not change the state: the
  /// same call gives the same token until accept(). Ties go to the lowest id. Throws Error{kBadInput} for a NaN or +inf
  /// logit, a size that is not the vocabulary's, and where no token is left.
  SampledToken sample(std::span<const float> logits, SamplerScratch& scratch,
                      std::span<const std::uint32_t> allowed = {}) const;

  /// The tokens that sample() draws from and the logarithms of their probabilities after all steps, in the order of
  /// their ids; the one token with 0 where sampling is greedy. Throws as sample().
  std::vector<TokenLogprob> distribution(std::span<const float> logits, SamplerScratch& scratch,
                                         std::span<const std::uint32_t> allowed = {}) const;

  const SamplingOptions& options() const { return options_; }
  std::int32_t vocab_size() const { return vocab_size_; }
  /// Tokens of the output so far.
  std::uint64_t position() const { return position_; }

 private:
  struct Counts {
    std::int32_t all = 0;     // in prompt and output, within the window
    std::int32_t output = 0;  // in the output, within the window
  };
  void remember(std::int32_t token_id, bool is_output);
  void count(std::int32_t token_id, bool is_output, std::int32_t change);
  bool changes_logits() const;
  void apply_bias_and_penalties(std::span<float> logits) const;
  /// Logits after mask, bias and penalties, and the mask still to be heeded where that was not worth a copy.
  struct Prepared {
    std::span<const float> logits;
    std::span<const std::uint32_t> mask;
    float highest;
  };
  Prepared prepare(std::span<const float> logits, SamplerScratch& scratch,
                   std::span<const std::uint32_t> allowed) const;
  bool is_truncated() const;
  std::int32_t draw(std::span<const float> logits, float highest, SamplerScratch& scratch) const;
  void choose_candidates(std::span<const float> logits, float highest, SamplerScratch& scratch) const;
  void report_logprobs(std::span<const float> logits, SamplerScratch& scratch, SampledToken& result) const;
  double uniform() const;

  SamplingOptions options_;
  std::int32_t vocab_size_ = 0;
  std::uint32_t stream_ = 0;
  std::uint64_t position_ = 0;
  bool has_penalties_ = false;
  std::unordered_map<std::int32_t, Counts> counts_;
  std::vector<std::int32_t> window_;  // a ring where the window is bounded; ids of the output are stored inverted
  std::size_t window_next_ = 0;
};

}  // namespace pajamas
