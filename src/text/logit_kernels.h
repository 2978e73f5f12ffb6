// The loops over a whole vocabulary that sampling needs, written to be vectorised: checks, masks, maxima, exponentials,
// and the choice of the best few without a sort. No options and no state; those are sampler.h's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace pajamas {

/// One token that may be drawn.
struct LogitCandidate {
  float key = 0.0F;  ///< What candidates are ranked by, the highest first.
  std::int32_t token_id = 0;
  float weight = 0.0F;  ///< Probability but for a common factor.
};

/// Ranked before: the higher key, of equals the lower id.
inline bool is_before(const LogitCandidate& a, const LogitCandidate& b) {
  return a.key != b.key ? a.key > b.key : a.token_id < b.token_id;
}

/// False where a logit is NaN or +inf.
bool are_logits_valid(std::span<const float> logits);

/// Writes logits to `out` [same size], -inf where the bit of a token is 0. `allowed` has ceil(size / 32) words.
void mask_logits(std::span<const float> logits, std::span<const std::uint32_t> allowed, std::span<float> out);

/// The highest of the allowed logits (all, if `allowed` is empty); -inf where there is none.
float highest_logit(std::span<const float> logits, std::span<const std::uint32_t> allowed);

/// The lowest id whose logit is `value` and that is allowed; -1 where there is none.
std::int32_t first_with_logit(std::span<const float> logits, std::span<const std::uint32_t> allowed, float value);

/// Writes exp((logit - highest) * scale) to `weights` [same size] and gives their sum. `highest` is finite. Each weight
/// is within 2e-7 of exact, relative; below exp(-87) it is 0.
double exponentiate(std::span<const float> logits, float highest, float scale, std::span<float> weights);

/// The sum alone, with scale 1.
double sum_of_exponentials(std::span<const float> logits, float highest);

/// The `count` tokens with the highest logits above -inf, ranked; fewer where there are fewer. Their weight is not set.
void select_highest(std::span<const float> logits, std::size_t count, std::vector<LogitCandidate>& chosen);

/// Keeps the best candidates, as many as it takes for those before the last one to weigh less than `target` and with it
/// at least that; all where they weigh less. `candidates` are in the order of their ids and stay in it. Linear time:
/// candidates are sorted into buckets of their keys, and only the bucket that `target` falls in is looked at again.
/// `buffer` is scratch.
void keep_heaviest(std::vector<LogitCandidate>& candidates, double target, std::vector<LogitCandidate>& buffer);

}  // namespace pajamas
