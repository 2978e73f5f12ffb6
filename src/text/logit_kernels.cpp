// See logit_kernels.h.
#include "text/logit_kernels.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "base/vector_clones.h"

namespace pajamas {

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
/// Floats summed before they go into a double: their error stays near that of one addition.
constexpr std::size_t kBlock = 1024;

/// exp(x) for x <= 0 (Cody and Waite's reduction, a polynomial of degree 6 on |r| <= ln(2) / 2), in a form that
/// compilers vectorise. 0 below -87.
inline float exponential(float x) {
  constexpr float kShift = 12582912.0F;  // 1.5 * 2^23: adding it rounds to a whole number in the low bits
  const float shifted = x * 1.44269504F + kShift;
  const float whole = shifted - kShift;
  const float rest = (x - whole * 0.693359375F) - whole * -2.12194440e-4F;
  float p = 1.3888889e-3F;
  p = p * rest + 8.3333333e-3F;
  p = p * rest + 4.1666667e-2F;
  p = p * rest + 1.6666667e-1F;
  p = p * rest + 0.5F;
  p = p * rest + 1.0F;
  p = p * rest + 1.0F;
  const std::uint32_t exponent = std::bit_cast<std::uint32_t>(shifted) - std::bit_cast<std::uint32_t>(kShift) + 127U;
  const float power = std::bit_cast<float>(exponent << 23);
  // A choice of bits, not of values: compilers do not vectorise a product that one side alone computes.
  const std::uint32_t kept_bits = x < -87.0F ? 0U : ~0U;
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(p * power) & kept_bits);
}

PAJAMAS_VECTOR_CLONES bool is_block_valid(const float* logits, std::size_t count) {
  int num_bad = 0;
  for (std::size_t i = 0; i < count; ++i) num_bad += logits[i] < kInfinity ? 0 : 1;
  return num_bad == 0;
}

PAJAMAS_VECTOR_CLONES float highest_of(const float* logits, std::size_t count) {
  constexpr std::size_t kLanes = 32;
  std::array<float, kLanes> best;
  best.fill(-kInfinity);
  std::size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      best[lane] = logits[i + lane] > best[lane] ? logits[i + lane] : best[lane];
    }
  }
  float result = *std::max_element(best.begin(), best.end());
  for (; i < count; ++i) result = std::max(result, logits[i]);
  return result;
}

PAJAMAS_VECTOR_CLONES void mask_words(const float* logits, const std::uint32_t* words, std::size_t num_words,
                                      float* out) {
  for (std::size_t word = 0; word < num_words; ++word) {
    const std::uint32_t bits = words[word];
    for (std::uint32_t bit = 0; bit < 32; ++bit) {
      const float logit = logits[32 * word + bit];
      out[32 * word + bit] = ((bits >> bit) & 1U) != 0 ? logit : -kInfinity;
    }
  }
}

PAJAMAS_VECTOR_CLONES float highest_masked(const float* logits, const std::uint32_t* words, std::size_t num_words) {
  std::array<float, 32> best;
  best.fill(-kInfinity);
  for (std::size_t word = 0; word < num_words; ++word) {
    const std::uint32_t bits = words[word];
    if (bits == 0) continue;
    for (std::uint32_t bit = 0; bit < 32; ++bit) {
      const float logit = ((bits >> bit) & 1U) != 0 ? logits[32 * word + bit] : -kInfinity;
      best[bit] = logit > best[bit] ? logit : best[bit];
    }
  }
  return *std::max_element(best.begin(), best.end());
}

PAJAMAS_VECTOR_CLONES void exponentiate_block(const float* logits, std::size_t count, float highest, float scale,
                                              float* weights) {
  for (std::size_t i = 0; i < count; ++i) weights[i] = exponential((logits[i] - highest) * scale);
}

/// Sixteen sums side by side, so that the loop vectorises without reordering one sum.
PAJAMAS_VECTOR_CLONES float sum_of_block(const float* weights, std::size_t count) {
  constexpr std::size_t kLanes = 16;
  std::array<float, kLanes> sums{};
  std::size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) sums[lane] += weights[i + lane];
  }
  float sum = 0.0F;
  for (const float part : sums) sum += part;
  for (; i < count; ++i) sum += weights[i];
  return sum;
}

bool is_allowed(std::span<const std::uint32_t> allowed, std::size_t token) {
  return allowed.empty() || ((allowed[token / 32] >> (token % 32)) & 1U) != 0;
}

}  // namespace

bool are_logits_valid(std::span<const float> logits) { return is_block_valid(logits.data(), logits.size()); }

void mask_logits(std::span<const float> logits, std::span<const std::uint32_t> allowed, std::span<float> out) {
  const std::size_t num_words = logits.size() / 32;
  mask_words(logits.data(), allowed.data(), num_words, out.data());
  for (std::size_t i = 32 * num_words; i < logits.size(); ++i) out[i] = is_allowed(allowed, i) ? logits[i] : -kInfinity;
}

float highest_logit(std::span<const float> logits, std::span<const std::uint32_t> allowed) {
  if (allowed.empty()) return highest_of(logits.data(), logits.size());
  const std::size_t num_words = logits.size() / 32;
  float highest = highest_masked(logits.data(), allowed.data(), num_words);
  for (std::size_t i = 32 * num_words; i < logits.size(); ++i) {
    if (is_allowed(allowed, i)) highest = std::max(highest, logits[i]);
  }
  return highest;
}

std::int32_t first_with_logit(std::span<const float> logits, std::span<const std::uint32_t> allowed, float value) {
  for (auto at = std::find(logits.begin(), logits.end(), value); at != logits.end();
       at = std::find(at + 1, logits.end(), value)) {
    const auto token = static_cast<std::size_t>(at - logits.begin());
    if (is_allowed(allowed, token)) return static_cast<std::int32_t>(token);
  }
  return -1;
}

double exponentiate(std::span<const float> logits, float highest, float scale, std::span<float> weights) {
  double sum = 0.0;
  for (std::size_t i = 0; i < logits.size(); i += kBlock) {
    const std::size_t count = std::min(kBlock, logits.size() - i);
    exponentiate_block(logits.data() + i, count, highest, scale, weights.data() + i);
    sum += static_cast<double>(sum_of_block(weights.data() + i, count));
  }
  return sum;
}

double sum_of_exponentials(std::span<const float> logits, float highest) {
  std::array<float, kBlock> weights;
  double sum = 0.0;
  for (std::size_t i = 0; i < logits.size(); i += kBlock) {
    const std::size_t count = std::min(kBlock, logits.size() - i);
    exponentiate_block(logits.data() + i, count, highest, 1.0F, weights.data());
    sum += static_cast<double>(sum_of_block(weights.data(), count));
  }
  return sum;
}

void select_highest(std::span<const float> logits, std::size_t count, std::vector<LogitCandidate>& chosen) {
  chosen.clear();
  if (count == 0) return;
  // Candidates gather until there are twice as many as wanted; then the lower half goes, and its best is the bar for
  // what follows. What equals the bar comes later, so it has a higher id and loses.
  constexpr std::size_t kStride = 64;
  const std::size_t capacity = 2 * count + kStride;
  float bar = -kInfinity;
  for (std::size_t begin = 0; begin < logits.size(); begin += kStride) {
    const std::size_t end = std::min(begin + kStride, logits.size());
    if (!(highest_of(logits.data() + begin, end - begin) > bar)) continue;
    for (std::size_t i = begin; i < end; ++i) {
      if (logits[i] > bar) chosen.push_back({logits[i], static_cast<std::int32_t>(i), 0.0F});
    }
    if (chosen.size() < capacity) continue;
    const auto last = chosen.begin() + static_cast<std::ptrdiff_t>(count) - 1;
    std::nth_element(chosen.begin(), last, chosen.end(), is_before);
    bar = last->key;
    chosen.resize(count);
  }
  const std::size_t num_kept = std::min(count, chosen.size());
  std::partial_sort(chosen.begin(), chosen.begin() + static_cast<std::ptrdiff_t>(num_kept), chosen.end(), is_before);
  chosen.resize(num_kept);
}

namespace {

/// The candidate of the lowest rank that keep_heaviest keeps.
LogitCandidate last_kept(std::span<const LogitCandidate> candidates, double target,
                         std::vector<LogitCandidate>& buffer) {
  constexpr std::size_t kNumBuckets = 1024;
  constexpr std::size_t kSortedSize = 2048;  // where sorting is as quick
  double mass = 0.0;                         // of what ranks before `candidates`
  std::vector<LogitCandidate> rest;          // `candidates` looks into the other of the two
  while (true) {
    const bool is_small = candidates.size() <= kSortedSize;
    float lowest = candidates[0].key;
    float highest = lowest;
    if (!is_small) {
      for (const LogitCandidate& candidate : candidates) {
        lowest = candidate.key < lowest ? candidate.key : lowest;
        highest = candidate.key > highest ? candidate.key : highest;
      }
    }
    if (is_small || lowest == highest) {
      rest.assign(candidates.begin(), candidates.end());
      if (is_small) std::sort(rest.begin(), rest.end(), is_before);  // equal keys are in order already
      for (const LogitCandidate& candidate : rest) {
        mass += static_cast<double>(candidate.weight);
        if (mass >= target) return candidate;
      }
      return rest.back();
    }
    const double scale =
        static_cast<double>(kNumBuckets) / (static_cast<double>(highest) - static_cast<double>(lowest));
    const auto bucket_of = [&](const LogitCandidate& candidate) {
      const double place = (static_cast<double>(highest) - static_cast<double>(candidate.key)) * scale;
      return std::min(static_cast<std::size_t>(static_cast<std::int64_t>(place)), kNumBuckets - 1);
    };
    std::array<double, kNumBuckets> masses{};
    for (const LogitCandidate& candidate : candidates) {
      masses[bucket_of(candidate)] += static_cast<double>(candidate.weight);
    }
    // The bucket with the lowest key has something in it, so this ends.
    std::size_t boundary = 0;
    while (boundary + 1 < kNumBuckets && mass + masses[boundary] < target) mass += masses[boundary++];
    rest.clear();
    for (const LogitCandidate& candidate : candidates) {
      if (bucket_of(candidate) == boundary) rest.push_back(candidate);
    }
    buffer.swap(rest);
    candidates = buffer;
  }
}

}  // namespace

void keep_heaviest(std::vector<LogitCandidate>& candidates, double target, std::vector<LogitCandidate>& buffer) {
  if (candidates.empty()) return;
  const LogitCandidate last = last_kept(candidates, target, buffer);
  std::erase_if(candidates, [&](const LogitCandidate& candidate) { return is_before(last, candidate); });
}

}  // namespace pajamas
