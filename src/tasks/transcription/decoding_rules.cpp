// See decoding_rules.h.
#include "tasks/transcription/decoding_rules.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "pajamas/error.h"
#include "text/logit_kernels.h"

namespace pajamas {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

std::int32_t checked_id(std::int64_t id, std::int64_t vocab_size, const char* what) {
  if (id < 0 || id >= vocab_size) {
    throw Error(ErrorKind::kBadInput,
                std::string(what) + " has the id " + std::to_string(id) + ", but the vocabulary has " +
                    std::to_string(vocab_size) + " tokens",
                "task.whisper", "build the bundle again");
  }
  return static_cast<std::int32_t>(id);
}

std::vector<std::int32_t> checked_ids(const std::vector<std::int64_t>& ids, std::int64_t vocab_size) {
  std::vector<std::int32_t> result;
  result.reserve(ids.size());
  for (const std::int64_t id : ids) result.push_back(checked_id(id, vocab_size, "a suppressed token"));
  return result;
}

void forbid(std::span<float> logits, std::int64_t begin, std::int64_t end) {
  const auto size = static_cast<std::int64_t>(logits.size());
  begin = std::clamp<std::int64_t>(begin, 0, size);
  end = std::clamp<std::int64_t>(end, begin, size);
  std::fill(logits.begin() + begin, logits.begin() + end, kNever);
}

}  // namespace

DecodingRules::DecodingRules(const WhisperFacts& facts, const DecodingRulesOptions& options)
    : end_of_text_(checked_id(facts.tokens.end_of_text, facts.vocab_size, "end of text")),
      first_timestamp_(checked_id(facts.tokens.first_timestamp, facts.vocab_size, "the first timestamp")),
      no_timestamps_(checked_id(facts.tokens.no_timestamps, facts.vocab_size, "no timestamps")),
      suppressed_(checked_ids(facts.suppressed_token_ids, facts.vocab_size)),
      begin_suppressed_(checked_ids(facts.begin_suppressed_token_ids, facts.vocab_size)),
      has_timestamps_(options.has_timestamps),
      max_initial_steps_(std::llround(options.max_initial_timestamp_s / kTimestampStepS)),
      max_steps_(options.chunk_length_s > 0
                     ? static_cast<std::int64_t>(std::ceil(options.chunk_length_s / kTimestampStepS - 1e-6))
                     : facts.vocab_size) {
  for (const std::int64_t id : {facts.tokens.start_of_transcript, facts.tokens.transcribe, facts.tokens.translate,
                                facts.tokens.start_of_lm, facts.tokens.start_of_previous, facts.tokens.no_speech}) {
    suppressed_.push_back(checked_id(id, facts.vocab_size, "a special token"));
  }
  for (const WhisperLanguage& language : facts.languages) {
    suppressed_.push_back(checked_id(language.token_id, facts.vocab_size, "a language"));
  }
}

void DecodingRules::apply(std::span<const std::int32_t> tokens, std::span<float> logits) const {
  for (const std::int32_t id : suppressed_) logits[static_cast<std::size_t>(id)] = kNever;
  if (tokens.empty()) {
    for (const std::int32_t id : begin_suppressed_) logits[static_cast<std::size_t>(id)] = kNever;
  }
  if (has_timestamps_) {
    apply_timestamps(tokens, logits);
  } else {
    forbid(logits, first_timestamp_, static_cast<std::int64_t>(logits.size()));
  }
}

void DecodingRules::apply_timestamps(std::span<const std::int32_t> tokens, std::span<float> logits) const {
  const auto size = static_cast<std::int64_t>(logits.size());
  logits[static_cast<std::size_t>(no_timestamps_)] = kNever;
  const bool ends_in_one = !tokens.empty() && is_timestamp(tokens.back());
  const bool ends_in_two = ends_in_one && (tokens.size() < 2 || is_timestamp(tokens[tokens.size() - 2]));
  if (ends_in_two) {
    forbid(logits, first_timestamp_, size);  // A pair is complete: text follows, or the end.
  } else if (ends_in_one) {
    forbid(logits, 0, end_of_text_);  // The end of a segment: the beginning of the next follows, or the end of all.
  }
  const auto last = std::find_if(tokens.rbegin(), tokens.rend(), [&](std::int32_t id) { return is_timestamp(id); });
  if (last != tokens.rend()) {
    // Times do not fall, and a segment is not empty.
    forbid(logits, first_timestamp_, ends_in_one && !ends_in_two ? *last : *last + 1);
  }
  if (tokens.empty()) {
    forbid(logits, 0, first_timestamp_);
    forbid(logits, first_timestamp_ + max_initial_steps_ + 1, size);
  }
  // Nothing is said behind the end of the audio; the end itself must stay possible.
  if (max_steps_ < size) forbid(logits, first_timestamp_ + max_steps_ + 1, size);

  // Where timestamps together are likelier than the likeliest text, it is a timestamp.
  const auto num_text = static_cast<std::size_t>(first_timestamp_);
  const float best_time = highest_logit(logits.subspan(num_text), {});
  if (best_time == kNever) return;
  const float best_text = highest_logit(logits.first(num_text), {});
  const double time =
      static_cast<double>(best_time) + std::log(sum_of_exponentials(logits.subspan(num_text), best_time));
  if (time > static_cast<double>(best_text)) forbid(logits, 0, first_timestamp_);
}

void log_softmax(std::span<float> logits) {
  const float highest = highest_logit(logits, {});
  if (!std::isfinite(highest)) return;
  const auto shift = static_cast<float>(static_cast<double>(highest) + std::log(sum_of_exponentials(logits, highest)));
  for (float& logit : logits) logit -= shift;
}

}  // namespace pajamas
