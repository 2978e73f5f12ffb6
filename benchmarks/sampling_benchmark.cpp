// Times one call of the sampler on vocabularies of today's size: logits as of a confident model (few tokens hold the
// mass) and flat ones.
#include <benchmark/benchmark.h>

#include <random>
#include <vector>

#include "text/sampler.h"

namespace {

using pajamas::Sampler;
using pajamas::SamplerScratch;
using pajamas::SamplingOptions;

constexpr std::int32_t kVocabSize = 151'936;  // Qwen3

std::vector<float> logits_of(float spread) {
  std::mt19937 engine(1);
  std::normal_distribution<float> normal(0.0F, spread);
  std::vector<float> logits(kVocabSize);
  for (float& logit : logits) logit = normal(engine);
  return logits;
}

void sample(benchmark::State& state, const SamplingOptions& options, float spread, bool has_mask) {
  const std::vector<float> logits = logits_of(spread);
  std::vector<std::uint32_t> mask;
  if (has_mask) {
    std::mt19937 engine(2);
    for (std::int32_t i = 0; i < (kVocabSize + 31) / 32; ++i) mask.push_back(static_cast<std::uint32_t>(engine()));
  }
  Sampler sampler(options, kVocabSize);
  std::vector<std::int32_t> prompt;
  for (std::int32_t i = 0; i < 1000; ++i) prompt.push_back(i * 131 % kVocabSize);
  sampler.accept_prompt(prompt);
  SamplerScratch scratch;
  for (auto _ : state) {
    const auto token = sampler.sample(logits, scratch, mask);
    benchmark::DoNotOptimize(token.token_id);
    sampler.accept(token.token_id);
  }
}

SamplingOptions greedy() {
  SamplingOptions options;
  options.temperature = 0;
  return options;
}

SamplingOptions truncated(std::int64_t top_k, double top_p, double min_p = 0) {
  SamplingOptions options;
  options.temperature = 0.7;
  options.top_k = top_k;
  options.top_p = top_p;
  options.min_p = min_p;
  return options;
}

SamplingOptions with_logprobs(SamplingOptions options) {
  options.num_logprobs = 20;
  return options;
}

SamplingOptions with_penalties(SamplingOptions options) {
  options.repetition_penalty = 1.1;
  return options;
}

SamplingOptions typical() {
  SamplingOptions options;
  options.typical_p = 0.95;
  return options;
}

constexpr float kConfident = 3.0F;
constexpr float kFlat = 0.1F;

BENCHMARK_CAPTURE(sample, greedy, greedy(), kConfident, false)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(sample, greedy_mask, greedy(), kConfident, true)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(sample, greedy_logprobs, with_logprobs(greedy()), kConfident, false)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(sample, plain, truncated(0, 1), kConfident, false)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(sample, top_k_top_p, truncated(50, 0.9), kConfident, false)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(sample, top_k_top_p_mask, truncated(50, 0.9), kConfident, true)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(sample, top_k_top_p_penalty, with_penalties(truncated(50, 0.9)), kConfident, true)
    ->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(sample, top_p, truncated(0, 0.9), kConfident, false)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(sample, top_p_flat, truncated(0, 0.9), kFlat, false)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(sample, min_p, truncated(0, 1, 0.05), kConfident, false)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(sample, typical, typical(), kConfident, false)->Unit(benchmark::kMicrosecond);

}  // namespace

BENCHMARK_MAIN();
