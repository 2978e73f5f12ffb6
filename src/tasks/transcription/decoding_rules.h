// The rules that Whisper's text follows: which tokens may come next. From the paper's decoding (Radford et al. 2022,
// arXiv 2212.04356, section 4.5) and the published program's behaviour.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "bundle/transcription_facts.h"

namespace pajamas {

struct DecodingRulesOptions {
  bool has_timestamps = true;
  double max_initial_timestamp_s = 1.0;  ///< The first timestamp is not later than this.
  /// Speech in the chunk ends here: no timestamp lies behind it. In seconds; 0: unknown.
  double chunk_length_s = 0;
};

/// Seconds of one step of the timestamps.
inline constexpr double kTimestampStepS = 0.02;

/// Immutable.
class DecodingRules {
 public:
  /// Throws Error{kBadInput} when ids of the facts are outside the vocabulary.
  DecodingRules(const WhisperFacts& facts, const DecodingRulesOptions& options);

  /// Gives -inf to every token that may not follow `tokens` (what was decoded, without the prompt). `logits`
  /// [vocab_size].
  void apply(std::span<const std::int32_t> tokens, std::span<float> logits) const;

  bool is_timestamp(std::int32_t token) const { return token >= first_timestamp_; }
  std::int32_t end_of_text() const { return end_of_text_; }
  /// Seconds within the chunk; `token` is a timestamp.
  double seconds_of(std::int32_t token) const { return (token - first_timestamp_) * kTimestampStepS; }

 private:
  void apply_timestamps(std::span<const std::int32_t> tokens, std::span<float> logits) const;

  std::int32_t end_of_text_, first_timestamp_, no_timestamps_;
  std::vector<std::int32_t> suppressed_, begin_suppressed_;
  bool has_timestamps_;
  std::int64_t max_initial_steps_;
  std::int64_t max_steps_;
};

/// Logarithms of probabilities in place of logits; -inf stays. Sums in double.
void log_softmax(std::span<float> logits);

}  // namespace pajamas
