// The sampler against transformers' logits processors (tools/goldens), against plain restatements of its steps, and by
// the frequencies of its draws.
#include "text/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>

#include "pajamas/error.h"
#include "text/philox.h"

namespace pajamas {
namespace {

using testing::HasSubstr;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<float> normal_logits(std::size_t size, std::uint32_t seed, float spread = 3.0F) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal(0.0F, spread);
  std::vector<float> logits(size);
  for (float& logit : logits) logit = normal(engine);
  return logits;
}

std::vector<std::uint32_t> mask_of(const std::vector<std::int32_t>& allowed, std::size_t vocab_size) {
  std::vector<std::uint32_t> mask((vocab_size + 31) / 32, 0);
  for (const std::int32_t token : allowed) mask[static_cast<std::size_t>(token) / 32] |= 1U << (token % 32);
  return mask;
}

std::string message_of(const std::function<void()>& action, ErrorKind kind) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind);
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return {};
}

TEST(Philox, GivesThePublishedNumbers) {
  // The known answers of the authors' library, Random123.
  using Counter = std::array<std::uint32_t, 4>;
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}), (Counter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  constexpr std::uint32_t kOnes = 0xffffffff;
  EXPECT_EQ(philox4x32({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}),
            (Counter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Counter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Sampler, KeepsTheTokensThatTransformersKeeps) {
  std::ifstream file(std::filesystem::path(PAJAMAS_TEST_DATA) / "text/sampling_goldens.json");
  const nlohmann::json goldens = nlohmann::json::parse(file);
  ASSERT_GE(goldens["cases"].size(), 160U);
  SamplerScratch scratch;
  for (std::size_t i = 0; i < goldens["cases"].size(); ++i) {
    const nlohmann::json& row = goldens["cases"][i];
    const auto logits = row["logits"].get<std::vector<float>>();
    const nlohmann::json& given = row["options"];
    SamplingOptions options;
    options.temperature = given["temperature"];
    options.top_k = given.value("top_k", 0);
    options.top_p = given.value("top_p", 1.0);
    options.min_p = given.value("min_p", 0.0);
    options.typical_p = given.value("typical_p", 1.0);
    options.repetition_penalty = given.value("repetition_penalty", 1.0);
    options.frequency_penalty = given.value("frequency_penalty", 0.0);
    options.presence_penalty = given.value("presence_penalty", 0.0);
    for (const auto& bias : given.value("logit_bias", nlohmann::json::array()))
      options.logit_bias.emplace_back(bias[0], bias[1]);
    options.num_logprobs = 0;
    Sampler sampler(options, static_cast<std::int32_t>(logits.size()));
    sampler.accept_prompt(row["prompt"].get<std::vector<std::int32_t>>());
    for (const std::int32_t token : row["output"]) sampler.accept(token);
    std::vector<std::uint32_t> mask;
    if (row.contains("allowed")) mask = mask_of(row["allowed"], logits.size());
    const auto actual = sampler.distribution(logits, scratch, mask);
    std::vector<std::int32_t> tokens;
    for (const TokenLogprob& entry : actual) tokens.push_back(entry.token_id);
    ASSERT_EQ(tokens, row["tokens"].get<std::vector<std::int32_t>>()) << "case " << i << " " << given;
    for (std::size_t t = 0; t < tokens.size(); ++t) {
      const double expected = row["probabilities"][t];
      EXPECT_NEAR(std::exp(actual[t].logprob), expected, 1e-6 + 1e-5 * expected) << "case " << i << " " << given;
    }
    // The log-probability of a token is of the logits as given.
    SamplingOptions only_first;
    only_first.temperature = 0;
    only_first.num_logprobs = 0;
    const auto first = mask_of({0}, logits.size());
    const auto sampled = Sampler(only_first, static_cast<std::int32_t>(logits.size())).sample(logits, scratch, first);
    EXPECT_EQ(sampled.token_id, 0);
    EXPECT_NEAR(*sampled.logprob, row["raw_logprob_of_token_0"].get<double>(), 2e-6);
  }
}

/// The greatest value that a correct sampler's chi-square exceeds once in some 10^5 trials (Wilson and Hilferty).
double chi_square_bound(double degrees) {
  const double z = 4.3;
  const double term = 1 - 2 / (9 * degrees) + z * std::sqrt(2 / (9 * degrees));
  return degrees * term * term * term;
}

TEST(Sampler, DrawsAsOftenAsProbable) {
  struct Case {
    double temperature, top_p, min_p, typical_p;
    std::int64_t top_k;
    std::uint64_t seed;
  };
  const std::vector<float> logits = normal_logits(40, 1, 1.5F);
  const std::vector<std::int32_t> allowed_tokens = {0, 3, 4, 9, 17, 31, 32, 33, 39};
  const auto mask = mask_of(allowed_tokens, logits.size());
  SamplerScratch scratch;
  for (const Case& c :
       {Case{1, 1, 0, 1, 0, 0}, Case{0.7, 1, 0, 1, 10, 1}, Case{1.3, 0.9, 0, 1, 0, 2}, Case{1, 1, 0.05, 1, 0, 3},
        Case{1, 1, 0, 0.8, 0, 4}, Case{1, 0.95, 0.01, 0.95, 20, 1ULL << 60}}) {
    for (const bool is_masked : {false, true}) {
      SamplingOptions options;
      options.temperature = c.temperature;
      options.top_p = c.top_p;
      options.min_p = c.min_p;
      options.typical_p = c.typical_p;
      options.top_k = c.top_k;
      options.seed = c.seed;
      Sampler sampler(options, static_cast<std::int32_t>(logits.size()), is_masked ? 1 : 0);
      const std::span<const std::uint32_t> used =
          is_masked ? std::span<const std::uint32_t>(mask) : std::span<const std::uint32_t>();
      const auto expected = sampler.distribution(logits, scratch, used);
      std::vector<int> counts(logits.size(), 0);
      constexpr int kDraws = 20'000;
      for (int i = 0; i < kDraws; ++i) {
        const std::int32_t token = sampler.sample(logits, scratch, used).token_id;
        ++counts[static_cast<std::size_t>(token)];
        sampler.accept(token);
      }
      double chi_square = 0;
      int num_counted = 0;
      for (const TokenLogprob& entry : expected) {
        const double mean = kDraws * std::exp(static_cast<double>(entry.logprob));
        const double off = counts[static_cast<std::size_t>(entry.token_id)] - mean;
        chi_square += off * off / mean;
        num_counted += counts[static_cast<std::size_t>(entry.token_id)];
      }
      EXPECT_EQ(num_counted, kDraws) << "tokens outside the distribution were drawn";
      if (expected.size() > 1) {
        EXPECT_LT(chi_square, chi_square_bound(static_cast<double>(expected.size()) - 1)) << "seed " << c.seed;
        EXPECT_GT(chi_square, 0) << "too good to be drawn";
      }
    }
  }
}

TEST(Sampler, RepeatsItselfByItsPlaceAlone) {
  const std::vector<float> logits = normal_logits(1000, 2, 1.0F);
  SamplingOptions options;
  options.seed = 42;
  SamplerScratch scratch;
  SamplerScratch other_scratch;
  Sampler one(options, 1000);
  Sampler two(options, 1000);
  Sampler another_seed(
      [&] {
        auto o = options;
        o.seed = 43;
        return o;
      }(),
      1000);
  Sampler another_stream(options, 1000, 1);
  int num_seed_differences = 0;
  int num_stream_differences = 0;
  for (int i = 0; i < 50; ++i) {
    const std::int32_t token = one.sample(logits, scratch).token_id;
    EXPECT_EQ(one.sample(logits, scratch).token_id, token) << "sampling changed the state";
    another_seed.sample(normal_logits(1000, 3), other_scratch);  // others in the batch
    EXPECT_EQ(two.sample(logits, other_scratch).token_id, token);
    num_seed_differences += another_seed.sample(logits, scratch).token_id != token ? 1 : 0;
    num_stream_differences += another_stream.sample(logits, scratch).token_id != token ? 1 : 0;
    for (Sampler* sampler : {&one, &two, &another_seed, &another_stream}) sampler->accept(token);
  }
  EXPECT_EQ(one.position(), 50U);
  EXPECT_GT(num_seed_differences, 40);
  EXPECT_GT(num_stream_differences, 40);
  const Sampler copy = one;
  EXPECT_EQ(copy.sample(logits, scratch).token_id, one.sample(logits, scratch).token_id);
}

TEST(Sampler, TakesTheLowestOfEquals) {
  SamplerScratch scratch;
  SamplingOptions greedy;
  greedy.temperature = 0;
  std::vector<float> logits(100, 1.0F);
  EXPECT_EQ(Sampler(greedy, 100).sample(logits, scratch).token_id, 0);
  EXPECT_EQ(Sampler(greedy, 100).sample(logits, scratch, mask_of({77, 50, 99}, 100)).token_id, 50);
  logits[64] = logits[70] = 2.0F;
  EXPECT_EQ(Sampler(greedy, 100).sample(logits, scratch).token_id, 64);
  SamplingOptions top_three;
  top_three.top_k = 3;
  const auto kept = Sampler(top_three, 100).distribution(logits, scratch);
  ASSERT_EQ(kept.size(), 3U);
  EXPECT_EQ(kept[0].token_id, 0);
  EXPECT_EQ(kept[1].token_id, 64);
  EXPECT_EQ(kept[2].token_id, 70);
}

TEST(Sampler, HeedsTheMaskAtEverySize) {
  SamplerScratch scratch;
  for (const std::size_t size : {1U, 2U, 31U, 32U, 33U, 63U, 64U, 65U, 100U, 1023U, 1025U, 5000U}) {
    const std::vector<float> logits = normal_logits(size, static_cast<std::uint32_t>(size));
    std::mt19937 engine(7);
    std::vector<std::int32_t> allowed;
    for (std::size_t i = 0; i < size; ++i) {
      if (engine() % 3 == 0) allowed.push_back(static_cast<std::int32_t>(i));
    }
    if (allowed.empty()) allowed.push_back(static_cast<std::int32_t>(size) - 1);
    const auto mask = mask_of(allowed, size);
    const std::int32_t best = *std::max_element(allowed.begin(), allowed.end(), [&](std::int32_t a, std::int32_t b) {
      return logits[static_cast<std::size_t>(a)] < logits[static_cast<std::size_t>(b)];
    });
    SamplingOptions options;
    options.temperature = 0;
    EXPECT_EQ(Sampler(options, static_cast<std::int32_t>(size)).sample(logits, scratch, mask).token_id, best) << size;
    options.temperature = 1;
    const auto left = Sampler(options, static_cast<std::int32_t>(size)).distribution(logits, scratch, mask);
    ASSERT_EQ(left.size(), allowed.size()) << size;
    for (std::size_t i = 0; i < left.size(); ++i) EXPECT_EQ(left[i].token_id, allowed[i]);
  }
}

TEST(Sampler, CountsPenaltiesOverTheWindow) {
  constexpr std::int32_t kVocab = 20;
  const std::vector<float> logits = normal_logits(kVocab, 11);
  std::mt19937 engine(12);
  SamplerScratch scratch;
  for (const std::int64_t window : {0, 1, 5, 17}) {
    SamplingOptions options;
    options.repetition_penalty = 1.3;
    options.frequency_penalty = 0.4;
    options.presence_penalty = -0.2;
    options.penalty_window = window;
    Sampler sampler(options, kVocab);
    std::vector<std::pair<std::int32_t, bool>> history;
    for (int i = 0; i < 40; ++i) {
      const auto token = static_cast<std::int32_t>(engine() % kVocab);
      const bool is_output = i >= 8;
      if (is_output) {
        sampler.accept(token);
      } else {
        sampler.accept_prompt(std::vector{token});
      }
      history.emplace_back(token, is_output);
      std::vector<float> expected = logits;
      const std::size_t begin = window > 0 && history.size() > static_cast<std::size_t>(window)
                                    ? history.size() - static_cast<std::size_t>(window)
                                    : 0;
      for (std::int32_t t = 0; t < kVocab; ++t) {
        int all = 0;
        int output = 0;
        for (std::size_t j = begin; j < history.size(); ++j) {
          if (history[j].first != t) continue;
          ++all;
          output += history[j].second ? 1 : 0;
        }
        float& logit = expected[static_cast<std::size_t>(t)];
        if (all > 0) logit = logit < 0 ? logit * 1.3F : logit / 1.3F;
        if (output > 0) logit -= 0.4F * static_cast<float>(output) - 0.2F;
      }
      const auto plain = Sampler(SamplingOptions(), kVocab).distribution(expected, scratch);
      const auto actual = sampler.distribution(logits, scratch);
      ASSERT_EQ(actual.size(), plain.size());
      for (std::size_t t = 0; t < plain.size(); ++t) EXPECT_NEAR(actual[t].logprob, plain[t].logprob, 1e-5);
    }
  }
}

TEST(Sampler, ReportsTheLikeliestTokens) {
  const std::vector<float> logits = normal_logits(5000, 21);
  SamplingOptions options;
  options.num_logprobs = 7;
  options.temperature = 0;
  SamplerScratch scratch;
  const auto mask = mask_of({17}, 5000);
  const SampledToken sampled = Sampler(options, 5000).sample(logits, scratch, mask);
  EXPECT_EQ(sampled.token_id, 17);
  std::vector<std::int32_t> order(5000);
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [&](auto a, auto b) { return logits[static_cast<std::size_t>(a)] > logits[static_cast<std::size_t>(b)]; });
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit));
  ASSERT_EQ(sampled.top_logprobs.size(), 7U);
  for (std::size_t i = 0; i < 7; ++i) {
    EXPECT_EQ(sampled.top_logprobs[i].token_id, order[i]);
    EXPECT_NEAR(sampled.top_logprobs[i].logprob,
                static_cast<double>(logits[static_cast<std::size_t>(order[i])]) - std::log(sum), 2e-6);
  }
  EXPECT_NEAR(*sampled.logprob, static_cast<double>(logits[17]) - std::log(sum), 2e-6);
  options.num_logprobs = -1;
  EXPECT_FALSE(Sampler(options, 5000).sample(logits, scratch).logprob.has_value());
}

TEST(Sampler, RefusesWhatCannotBeSampled) {
  SamplerScratch scratch;
  SamplingOptions options;
  const auto fails = [&](std::vector<float> logits, const std::vector<std::uint32_t>& mask = {}) {
    return message_of([&] { Sampler(options, 40).sample(logits, scratch, mask); }, ErrorKind::kBadInput);
  };
  for (const double temperature : {0.0, 1.0}) {
    options.temperature = temperature;
    std::vector<float> logits(40, 0.0F);
    logits[33] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_THAT(fails(logits), HasSubstr("token 33 is NaN"));
    EXPECT_THAT(fails(logits, {1, 0}), HasSubstr("token 33 is NaN"));
    logits[33] = kInfinity;
    EXPECT_THAT(fails(logits), HasSubstr("token 33 is infinite"));
    EXPECT_THAT(fails(std::vector<float>(40, -kInfinity)), HasSubstr("no token is left"));
    EXPECT_THAT(fails(std::vector<float>(40, 1.0F), {0, 0}), HasSubstr("no token is left"));
    EXPECT_THAT(fails(std::vector<float>(40, 1.0F), {0, 0xFFFFFF00}), HasSubstr("no token is left"));
    EXPECT_THAT(fails(std::vector<float>(39, 1.0F)), HasSubstr("39 logits"));
    EXPECT_THAT(fails(std::vector<float>(40, 1.0F), {1}), HasSubstr("mask of 1 words"));
  }
  options.logit_bias = {{3, -kInfinity}};
  std::vector<float> only(40, -kInfinity);
  only[3] = 1.0F;
  EXPECT_THAT(fails(only), HasSubstr("no token is left"));
  Sampler sampler(SamplingOptions(), 40);
  EXPECT_THROW(sampler.accept(40), Error);
  EXPECT_THROW(sampler.accept_prompt(std::vector<std::int32_t>{-1}), Error);
}

TEST(Sampler, NamesTheOptionOutOfRange) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const auto fails = [](auto change) {
    SamplingOptions options;
    change(options);
    return message_of([&] { check_sampling_options(options, 10); }, ErrorKind::kUsage);
  };
  for (const double bad : {-1.0, 1e-9, 101.0, nan}) {
    EXPECT_THAT(fails([&](auto& o) { o.temperature = bad; }), HasSubstr("temperature"));
  }
  for (const double bad : {0.0, 1.5, -1.0, nan}) {
    EXPECT_THAT(fails([&](auto& o) { o.top_p = bad; }), HasSubstr("top_p"));
    EXPECT_THAT(fails([&](auto& o) { o.typical_p = bad; }), HasSubstr("typical_p"));
  }
  for (const double bad : {1.0, -0.1, nan}) EXPECT_THAT(fails([&](auto& o) { o.min_p = bad; }), HasSubstr("min_p"));
  for (const double bad : {0.0, -1.0, 1e9, nan}) {
    EXPECT_THAT(fails([&](auto& o) { o.repetition_penalty = bad; }), HasSubstr("repetition_penalty"));
  }
  for (const double bad : {-2.5, 3.0, nan}) {
    EXPECT_THAT(fails([&](auto& o) { o.frequency_penalty = bad; }), HasSubstr("frequency_penalty"));
    EXPECT_THAT(fails([&](auto& o) { o.presence_penalty = bad; }), HasSubstr("presence_penalty"));
  }
  EXPECT_THAT(fails([](auto& o) { o.top_k = -1; }), HasSubstr("top_k"));
  EXPECT_THAT(fails([](auto& o) { o.penalty_window = -1; }), HasSubstr("penalty_window"));
  EXPECT_THAT(fails([](auto& o) { o.num_logprobs = 101; }), HasSubstr("num_logprobs"));
  EXPECT_THAT(fails([](auto& o) { o.logit_bias = {{10, 1.0F}}; }), HasSubstr("token 10"));
  EXPECT_THAT(fails([](auto& o) { o.logit_bias = {{1, kInfinity}}; }), HasSubstr("logit_bias"));
  EXPECT_NO_THROW(check_sampling_options(SamplingOptions(), 10));
}

TEST(LogitKernels, SelectTheHighestOfAnyArrangement) {
  for (const std::size_t size : {1U, 63U, 64U, 65U, 1000U, 20'000U}) {
    std::vector<std::vector<float>> arrangements = {normal_logits(size, 31), std::vector<float>(size, 1.0F)};
    arrangements.push_back(arrangements[0]);
    std::sort(arrangements.back().begin(), arrangements.back().end());
    arrangements.push_back(arrangements.back());
    std::reverse(arrangements.back().begin(), arrangements.back().end());
    arrangements.emplace_back(size);  // many equal ones, some banned
    for (std::size_t i = 0; i < size; ++i) {
      arrangements.back()[i] = i % 5 == 0 ? -kInfinity : static_cast<float>(i % 7);
    }
    for (const auto& logits : arrangements) {
      std::vector<LogitCandidate> all;
      for (std::size_t i = 0; i < size; ++i) {
        if (logits[i] > -kInfinity) all.push_back({logits[i], static_cast<std::int32_t>(i), 0.0F});
      }
      std::sort(all.begin(), all.end(), is_before);
      for (const std::size_t count :
           {std::size_t{0}, std::size_t{1}, std::size_t{50}, std::size_t{700}, size, size + 5}) {
        std::vector<LogitCandidate> chosen;
        select_highest(logits, count, chosen);
        ASSERT_EQ(chosen.size(), std::min(count, all.size()));
        for (std::size_t i = 0; i < chosen.size(); ++i) ASSERT_EQ(chosen[i].token_id, all[i].token_id);
      }
    }
  }
}

TEST(LogitKernels, KeepTheHeaviestAsASortDoes) {
  std::mt19937 engine(41);
  for (const std::size_t size : {1U, 10U, 2048U, 2049U, 50'000U}) {
    for (const int kind : {0, 1, 2}) {
      std::vector<LogitCandidate> all;
      double total = 0;
      for (std::size_t i = 0; i < size; ++i) {
        const float key = kind == 0   ? std::normal_distribution<float>(0, 3)(engine)
                          : kind == 1 ? 1.0F
                                      : static_cast<float>(engine() % 4) * (engine() % 100 == 0 ? 1e6F : 1.0F);
        const float weight = 0.5F + static_cast<float>(engine() % 1000) / 1000;
        all.push_back({key, static_cast<std::int32_t>(i), weight});
        total += static_cast<double>(weight);
      }
      std::vector<LogitCandidate> sorted = all;
      std::sort(sorted.begin(), sorted.end(), is_before);
      for (const double share : {1e-9, 0.1, 0.5, 0.9, 2.0}) {
        std::vector<LogitCandidate> kept = all;
        std::vector<LogitCandidate> buffer;
        keep_heaviest(kept, share * total, buffer);
        ASSERT_TRUE(std::is_sorted(kept.begin(), kept.end(),
                                   [](const auto& a, const auto& b) { return a.token_id < b.token_id; }));
        std::size_t num_expected = 0;
        for (double mass = 0; num_expected < size && mass < share * total; ++num_expected) {
          mass += static_cast<double>(sorted[num_expected].weight);
        }
        ASSERT_EQ(kept.size(), num_expected) << size << " " << kind << " " << share;
        std::sort(kept.begin(), kept.end(), is_before);
        for (std::size_t i = 0; i < kept.size(); ++i) ASSERT_EQ(kept[i].token_id, sorted[i].token_id);
      }
    }
  }
}

TEST(LogitKernels, ExponentiateNearlyExactly) {
  std::vector<float> logits;
  for (float x = 0.0F; x > -90.0F; x -= 0.0137F) logits.push_back(x);
  logits.push_back(-kInfinity);
  logits.push_back(-1e30F);
  std::vector<float> weights(logits.size());
  const double sum = exponentiate(logits, 0.0F, 1.0F, weights);
  double expected_sum = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const double expected = std::exp(static_cast<double>(logits[i]));
    if (logits[i] >= -87.0F) {
      EXPECT_NEAR(weights[i], expected, 2.5e-7 * expected) << logits[i];
    } else {
      EXPECT_EQ(weights[i], 0.0F);
    }
    expected_sum += expected;
  }
  EXPECT_NEAR(sum, expected_sum, 1e-6 * expected_sum);
  EXPECT_DOUBLE_EQ(sum_of_exponentials(logits, 0.0F), sum);
}

}  // namespace
}  // namespace pajamas
