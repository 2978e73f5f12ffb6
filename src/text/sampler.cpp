// See sampler.h, and docs/language-sampling.md for the order of the steps and where the formulas are from.
#include "text/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "pajamas/error.h"
#include "text/philox.h"

namespace pajamas {

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
/// Below this, differences of logits times its inverse leave float32's range of use; greedy is temperature 0.
constexpr double kMinTemperature = 1e-5;
constexpr std::int64_t kMaxLogprobs = 100;
constexpr std::int64_t kMaxWindow = 1 << 20;

std::string text_of(double value) {
  std::string text = std::to_string(value);
  while (text.find('.') != std::string::npos && (text.back() == '0' || text.back() == '.')) {
    const bool is_point = text.back() == '.';
    text.pop_back();
    if (is_point) break;
  }
  return text;
}

void sort_by_id(std::vector<LogitCandidate>& candidates) {
  const auto by_id = [](const LogitCandidate& a, const LogitCandidate& b) { return a.token_id < b.token_id; };
  if (!std::is_sorted(candidates.begin(), candidates.end(), by_id)) {
    std::sort(candidates.begin(), candidates.end(), by_id);
  }
}

/// Throws for a value that is no number within a range.
void check_range(const char* name, double value, bool is_valid, const char* range) {
  if (is_valid && std::isfinite(value)) return;
  throw Error(ErrorKind::kUsage, "is " + text_of(value) + ", which must be " + range, name,
              "give a number of that range, or leave it out");
}

}  // namespace

void check_sampling_options(const SamplingOptions& options, std::int32_t vocab_size) {
  check_range("temperature", options.temperature,
              options.temperature == 0 || (options.temperature >= kMinTemperature && options.temperature <= 100),
              "0 (greedy) or from 0.00001 to 100");
  check_range("top_k", static_cast<double>(options.top_k), options.top_k >= 0, "0 (all) or more");
  check_range("top_p", options.top_p, options.top_p > 0 && options.top_p <= 1, "above 0 and at most 1 (all)");
  check_range("min_p", options.min_p, options.min_p >= 0 && options.min_p < 1, "from 0 (all) to below 1");
  check_range("typical_p", options.typical_p, options.typical_p > 0 && options.typical_p <= 1,
              "above 0 and at most 1 (all)");
  check_range("repetition_penalty", options.repetition_penalty,
              options.repetition_penalty >= 0.01 && options.repetition_penalty <= 100, "from 0.01 to 100 (1: none)");
  check_range("frequency_penalty", options.frequency_penalty, std::fabs(options.frequency_penalty) <= 2,
              "from -2 to 2 (0: none)");
  check_range("presence_penalty", options.presence_penalty, std::fabs(options.presence_penalty) <= 2,
              "from -2 to 2 (0: none)");
  check_range("penalty_window", static_cast<double>(options.penalty_window),
              options.penalty_window >= 0 && options.penalty_window <= kMaxWindow, "from 0 (all tokens) to 1048576");
  check_range("num_logprobs", static_cast<double>(options.num_logprobs),
              options.num_logprobs >= -1 && options.num_logprobs <= kMaxLogprobs, "from -1 (none) to 100");
  for (const auto& [token_id, bias] : options.logit_bias) {
    if (token_id < 0 || token_id >= vocab_size) {
      throw Error(ErrorKind::kUsage,
                  "names token " + std::to_string(token_id) + ", and the vocabulary has " + std::to_string(vocab_size),
                  "logit_bias", "give ids of this model; `pajamas tokenize` shows them");
    }
    if (!(bias <= 1000.0F) || (bias < -1000.0F && bias != -kInfinity)) {
      throw Error(ErrorKind::kUsage,
                  "is " + text_of(static_cast<double>(bias)) + " for token " + std::to_string(token_id) +
                      ", which must be from -1000 to 1000, or -inf to ban the token",
                  "logit_bias", "give a number of that range");
    }
  }
}

Sampler::Sampler(SamplingOptions options, std::int32_t vocab_size, std::uint32_t stream)
    : options_(std::move(options)), vocab_size_(vocab_size), stream_(stream) {
  if (vocab_size <= 0) throw Error(ErrorKind::kInternal, "a sampler of an empty vocabulary");
  check_sampling_options(options_, vocab_size);
  has_penalties_ =
      options_.repetition_penalty != 1 || options_.frequency_penalty != 0 || options_.presence_penalty != 0;
}

void Sampler::accept_prompt(std::span<const std::int32_t> token_ids) {
  for (const std::int32_t token_id : token_ids) remember(token_id, false);
}

void Sampler::accept(std::int32_t token_id) {
  remember(token_id, true);
  ++position_;
}

void Sampler::count(std::int32_t token_id, bool is_output, std::int32_t change) {
  Counts& counts = counts_[token_id];
  counts.all += change;
  if (is_output) counts.output += change;
  if (counts.all == 0) counts_.erase(token_id);
}

void Sampler::remember(std::int32_t token_id, bool is_output) {
  if (token_id < 0 || token_id >= vocab_size_) {
    throw Error(ErrorKind::kBadInput,
                "token " + std::to_string(token_id) + " is outside the vocabulary of " + std::to_string(vocab_size_));
  }
  if (!has_penalties_) return;
  count(token_id, is_output, 1);
  if (options_.penalty_window == 0) return;
  const std::int32_t entry = is_output ? ~token_id : token_id;
  if (window_.size() < static_cast<std::size_t>(options_.penalty_window)) {
    window_.push_back(entry);
    return;
  }
  const std::int32_t oldest = std::exchange(window_[window_next_], entry);
  window_next_ = (window_next_ + 1) % window_.size();
  count(oldest < 0 ? ~oldest : oldest, oldest < 0, -1);
}

bool Sampler::changes_logits() const { return !options_.logit_bias.empty() || (has_penalties_ && !counts_.empty()); }

void Sampler::apply_bias_and_penalties(std::span<float> logits) const {
  for (const auto& [token_id, bias] : options_.logit_bias) logits[static_cast<std::size_t>(token_id)] += bias;
  if (!has_penalties_) return;
  const auto repetition = static_cast<float>(options_.repetition_penalty);
  const auto frequency = static_cast<float>(options_.frequency_penalty);
  const auto presence = static_cast<float>(options_.presence_penalty);
  for (const auto& entry : counts_) {
    float& logit = logits[static_cast<std::size_t>(entry.first)];
    logit = logit < 0 ? logit * repetition : logit / repetition;
    if (entry.second.output > 0) logit -= frequency * static_cast<float>(entry.second.output) + presence;
  }
}

Sampler::Prepared Sampler::prepare(std::span<const float> logits, SamplerScratch& scratch,
                                   std::span<const std::uint32_t> allowed) const {
  const auto vocab_size = static_cast<std::size_t>(vocab_size_);
  if (logits.size() != vocab_size) {
    throw Error(ErrorKind::kBadInput,
                std::to_string(logits.size()) + " logits for a vocabulary of " + std::to_string(vocab_size_));
  }
  if (!allowed.empty() && allowed.size() != (vocab_size + 31) / 32) {
    throw Error(ErrorKind::kBadInput, "a mask of " + std::to_string(allowed.size()) + " words for a vocabulary of " +
                                          std::to_string(vocab_size_));
  }
  if (!are_logits_valid(logits)) {
    const auto bad = std::find_if(logits.begin(), logits.end(), [](float logit) { return !(logit < kInfinity); });
    throw Error(ErrorKind::kBadInput,
                std::string("the logit of token ") + std::to_string(bad - logits.begin()) + " is " +
                    (std::isnan(*bad) ? "NaN" : "infinite") + ": the model's numbers have overflowed",
                {}, "compute in a wider precision (--precision fp32 or bf16)");
  }
  Prepared prepared{logits, allowed, 0.0F};
  // The greedy way over a mask needs no copy.
  if (changes_logits() || (options_.temperature != 0 && !allowed.empty())) {
    scratch.logits_.resize(vocab_size);
    if (allowed.empty()) {
      std::copy(logits.begin(), logits.end(), scratch.logits_.begin());
    } else {
      mask_logits(logits, allowed, scratch.logits_);
    }
    apply_bias_and_penalties(scratch.logits_);
    prepared.logits = scratch.logits_;
    prepared.mask = {};
  }
  prepared.highest = highest_logit(prepared.logits, prepared.mask);
  if (prepared.highest == -kInfinity) {
    throw Error(ErrorKind::kBadInput, "no token is left to choose: the mask, the bias or the model rules out all");
  }
  return prepared;
}

SampledToken Sampler::sample(std::span<const float> logits, SamplerScratch& scratch,
                             std::span<const std::uint32_t> allowed) const {
  const Prepared prepared = prepare(logits, scratch, allowed);
  SampledToken result;
  result.token_id = options_.temperature == 0 ? first_with_logit(prepared.logits, prepared.mask, prepared.highest)
                                              : draw(prepared.logits, prepared.highest, scratch);
  if (options_.num_logprobs >= 0) report_logprobs(logits, scratch, result);
  return result;
}

std::vector<TokenLogprob> Sampler::distribution(std::span<const float> logits, SamplerScratch& scratch,
                                                std::span<const std::uint32_t> allowed) const {
  const Prepared prepared = prepare(logits, scratch, allowed);
  if (options_.temperature == 0) return {{first_with_logit(prepared.logits, prepared.mask, prepared.highest), 0.0F}};
  choose_candidates(prepared.logits, prepared.highest, scratch);
  double sum = 0.0;
  for (const LogitCandidate& candidate : scratch.candidates_) sum += static_cast<double>(candidate.weight);
  std::vector<TokenLogprob> result;
  for (const LogitCandidate& candidate : scratch.candidates_) {
    result.push_back({candidate.token_id, static_cast<float>(std::log(static_cast<double>(candidate.weight) / sum))});
  }
  return result;
}

void Sampler::choose_candidates(std::span<const float> logits, float highest, SamplerScratch& scratch) const {
  std::vector<LogitCandidate>& candidates = scratch.candidates_;
  const auto scale = static_cast<float>(1.0 / options_.temperature);
  const auto weigh = [&](float logit) { return static_cast<float>(std::exp((logit - highest) * scale)); };
  double sum = 0.0;
  if (options_.top_k > 0 && options_.top_k < vocab_size_) {
    select_highest(logits, static_cast<std::size_t>(options_.top_k), candidates);
    for (LogitCandidate& candidate : candidates) {
      candidate.weight = weigh(candidate.key);
      sum += static_cast<double>(candidate.weight);
    }
    sort_by_id(candidates);
  } else {
    scratch.weights_.resize(logits.size());
    sum = exponentiate(logits, highest, scale, scratch.weights_);
    // Whatever is lighter than this goes anyway: by min_p, or because all such tokens together are within top_p's tail.
    const double tail = sum * (1.0 - options_.top_p) / static_cast<double>(logits.size());
    const auto bar = static_cast<float>(std::max(tail * 0.999, options_.min_p * 0.999));
    candidates.clear();
    for (std::size_t i = 0; i < logits.size(); ++i) {
      const float weight = scratch.weights_[i];
      if (weight > 0.0F && weight >= bar) candidates.push_back({logits[i], static_cast<std::int32_t>(i), weight});
    }
  }
  if (options_.top_p < 1) keep_heaviest(candidates, options_.top_p * sum, scratch.buffer_);
  if (options_.min_p > 0) {
    // The likeliest token has weight 1.
    std::erase_if(candidates, [&](const LogitCandidate& candidate) { return candidate.weight < options_.min_p; });
  }
  if (options_.typical_p < 1) {
    // Meister et al., "Locally typical sampling", 2022: rank by how near the information of a token is to the entropy.
    // The information of a token is log(total) - x, with x its scaled logit below the highest.
    const auto scaled = [&](const LogitCandidate& candidate) {
      return static_cast<double>((candidate.key - highest) * scale);
    };
    double total = 0.0;
    double moment = 0.0;
    for (const LogitCandidate& candidate : candidates) {
      total += static_cast<double>(candidate.weight);
      moment += static_cast<double>(candidate.weight) * scaled(candidate);
    }
    const double mean = moment / total;  // log(total) less the entropy
    for (LogitCandidate& candidate : candidates) {
      candidate.key = static_cast<float>(-std::fabs(scaled(candidate) - mean));
    }
    keep_heaviest(candidates, options_.typical_p * total, scratch.buffer_);
  }
}

bool Sampler::is_truncated() const {
  return (options_.top_k > 0 && options_.top_k < vocab_size_) || options_.top_p < 1 || options_.min_p > 0 ||
         options_.typical_p < 1;
}

std::int32_t Sampler::draw(std::span<const float> logits, float highest, SamplerScratch& scratch) const {
  // The token in whose stretch the number falls, the stretches lying in the order of ids: logits that differ in their
  // last bits change the order of candidates, but hardly where a stretch lies.
  if (!is_truncated()) {
    scratch.weights_.resize(logits.size());
    const double sum = exponentiate(logits, highest, static_cast<float>(1.0 / options_.temperature), scratch.weights_);
    double left = uniform() * sum;
    std::int32_t chosen = -1;
    for (std::size_t i = 0; i < logits.size(); ++i) {
      const float weight = scratch.weights_[i];
      if (weight == 0.0F) continue;
      chosen = static_cast<std::int32_t>(i);
      left -= static_cast<double>(weight);
      if (left < 0) break;
    }
    return chosen;
  }
  choose_candidates(logits, highest, scratch);
  const std::vector<LogitCandidate>& candidates = scratch.candidates_;
  double sum = 0.0;
  for (const LogitCandidate& candidate : candidates) sum += static_cast<double>(candidate.weight);
  double left = uniform() * sum;
  for (const LogitCandidate& candidate : candidates) {
    left -= static_cast<double>(candidate.weight);
    if (left < 0) return candidate.token_id;
  }
  return candidates.back().token_id;
}

double Sampler::uniform() const {
  const auto bits =
      philox4x32({static_cast<std::uint32_t>(position_), static_cast<std::uint32_t>(position_ >> 32), stream_, 0},
                 {static_cast<std::uint32_t>(options_.seed), static_cast<std::uint32_t>(options_.seed >> 32)});
  const std::uint64_t wide = static_cast<std::uint64_t>(bits[0]) << 32 | bits[1];
  return static_cast<double>(wide >> 11) * 0x1p-53;  // [0, 1)
}

void Sampler::report_logprobs(std::span<const float> logits, SamplerScratch& scratch, SampledToken& result) const {
  const float highest = highest_logit(logits, {});
  const double log_sum = std::log(sum_of_exponentials(logits, highest));
  const auto logprob_of = [&](float logit) {
    return static_cast<float>(static_cast<double>(logit) - static_cast<double>(highest) - log_sum);
  };
  result.logprob = logprob_of(logits[static_cast<std::size_t>(result.token_id)]);
  select_highest(logits, static_cast<std::size_t>(options_.num_logprobs), scratch.candidates_);
  result.top_logprobs.reserve(scratch.candidates_.size());
  for (const LogitCandidate& candidate : scratch.candidates_) {
    result.top_logprobs.push_back({candidate.token_id, logprob_of(candidate.key)});
  }
}

}  // namespace pajamas
