// Scheduler and StepRunner over an engine whose logits are a hash of what its cache holds: whatever the scheduler does,
// every text must be the one that a model without any cache gives.
#include "tasks/generation/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <vector>

#include "pajamas/error.h"
#include "support/fake_language_engine.h"
#include "tasks/generation/step_runner.h"

namespace pajamas {
namespace {

using test::FakeCache;
using test::FakeLanguageEngine;
using test::FakeLanguageOptions;
using Tokens = std::vector<std::int32_t>;

struct TestRequest {
  Tokens prompt;
  std::size_t num_new = 1;
  bool is_prefix_cache_used = true;
};

Tokens random_tokens(std::mt19937& random, std::size_t count, std::int64_t vocab_size = 64) {
  Tokens tokens(count);
  for (auto& token : tokens) token = static_cast<std::int32_t>(random() % static_cast<std::uint64_t>(vocab_size));
  return tokens;
}

std::int32_t best_of(std::span<const float> logits) {
  return static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

/// Runs requests greedily to their end, new ones coming in while others run.
class Bench {
 public:
  Bench(SchedulerOptions options, std::int64_t num_blocks, FakeLanguageOptions engine_options = {},
        bool has_prefix_cache = true)
      : options_(options),
        engine_(std::make_shared<FakeLanguageEngine>(engine_options)),
        cache_(std::dynamic_pointer_cast<FakeCache>(engine_->new_kv_cache(num_blocks))),
        pool_(num_blocks, engine_options.block_size_tokens, has_prefix_cache),
        scheduler_(options, pool_),
        runner_(engine_, cache_, engine_options.vocab_size) {}

  void add(std::uint64_t id, const TestRequest& request) {
    requests_[id] = request;
    scheduler_.add({id, 0}, request.prompt, request.is_prefix_cache_used);
  }
  /// False when there was nothing to do.
  bool step() {
    const StepPlan& plan = scheduler_.plan_step();
    if (plan.items.empty()) return false;
    ++num_steps;
    EXPECT_LE(plan.num_tokens, options_.max_step_tokens);
    EXPECT_LE(static_cast<std::int64_t>(plan.items.size()), options_.max_sequences);
    max_items = std::max(max_items, plan.items.size());
    num_tokens += plan.num_tokens;
    std::vector<SequenceKey> rows;
    for (const StepItem& item : plan.items) {
      if (item.has_logits) rows.push_back(item.key);
    }
    runner_.run(plan);
    EXPECT_EQ(runner_.num_rows(), rows.size());
    scheduler_.complete_step();
    for (std::size_t row = 0; row < rows.size(); ++row) draw(rows[row], best_of(runner_.logits(row)));
    return true;
  }
  void run() {
    while (step()) {
    }
    EXPECT_TRUE(scheduler_.is_idle());
    EXPECT_EQ(pool_.num_available(), pool_.num_blocks()) << "blocks are leaked";
  }
  void expect_equal_texts() {
    for (const auto& [id, request] : requests_) {
      EXPECT_EQ(texts[id], test::fake_greedy(request.prompt, request.num_new, engine_->options())) << "request " << id;
    }
  }

  std::map<std::uint64_t, Tokens> texts;
  std::vector<std::uint64_t> finished;
  std::map<std::uint64_t, std::int64_t> num_cached;
  std::int64_t num_steps = 0, num_tokens = 0;
  std::size_t max_items = 0;
  Scheduler& scheduler() { return scheduler_; }
  BlockPool& pool() { return pool_; }
  FakeCache& cache() { return *cache_; }
  StepRunner& runner() { return runner_; }

 private:
  void draw(const SequenceKey& key, std::int32_t token) {
    Tokens& text = texts[key.request];
    text.push_back(token);
    if (text.size() < requests_[key.request].num_new) {
      scheduler_.append_token(key, token);
      return;
    }
    num_cached[key.request] = scheduler_.num_cached_tokens(key);
    finished.push_back(key.request);
    scheduler_.finish(key);
  }

  SchedulerOptions options_;
  std::shared_ptr<FakeLanguageEngine> engine_;
  std::shared_ptr<FakeCache> cache_;
  BlockPool pool_;
  Scheduler scheduler_;
  StepRunner runner_;
  std::map<std::uint64_t, TestRequest> requests_;
};

TEST(Scheduler, OneRequestOfEachLength) {
  std::mt19937 random(1);
  for (std::size_t length = 1; length < 14; ++length) {
    for (const std::int64_t max_step_tokens : {1, 3, 4, 64}) {
      Bench bench({4, max_step_tokens}, 8);
      bench.add(0, {random_tokens(random, length), 9});
      bench.run();
      bench.expect_equal_texts();
    }
  }
}

TEST(Scheduler, RefusesOptionsOutOfRange) {
  BlockPool pool(4, 4);
  EXPECT_THROW(Scheduler({0, 1}, pool), Error);
  EXPECT_THROW(Scheduler({1, 0}, pool), Error);
}

TEST(Scheduler, SaysWhatFits) {
  BlockPool pool(4, 4);
  const Scheduler scheduler({1, 8}, pool);
  EXPECT_TRUE(scheduler.fits(17));  // the 17th token is drawn, never computed
  EXPECT_FALSE(scheduler.fits(18));
}

// The case: 64 requests of mixed lengths over a cache that holds 16 of them.
TEST(Scheduler, SixtyFourRequestsOverACacheForSixteen) {
  std::mt19937 random(2);
  std::vector<TestRequest> requests(64);
  std::int64_t num_blocks = 0;
  for (auto& request : requests) {
    request = {random_tokens(random, 1 + random() % 60), 1 + random() % 40};
    num_blocks += static_cast<std::int64_t>(request.prompt.size() + request.num_new) / 4 + 1;
  }
  for (const bool has_prefix_cache : {true, false}) {
    Bench bench({64, 48}, num_blocks / 4, {}, has_prefix_cache);
    for (std::size_t i = 0; i < requests.size(); ++i) bench.add(i, requests[i]);
    bench.run();
    bench.expect_equal_texts();
    EXPECT_EQ(bench.finished.size(), 64U);
    EXPECT_GT(bench.max_items, 8U);
  }
}

// Short prompts with long answers: all are let in, then grow beyond the cache.
TEST(Scheduler, PreemptedRequestsLoseNothing) {
  std::mt19937 random(12);
  for (const bool has_prefix_cache : {true, false}) {
    Bench bench({16, 64}, 40, {}, has_prefix_cache);
    for (std::uint64_t i = 0; i < 16; ++i) bench.add(i, {random_tokens(random, 1 + random() % 6), 30 + random() % 30});
    bench.run();
    bench.expect_equal_texts();
    EXPECT_EQ(bench.max_items, 16U);
    EXPECT_GT(bench.scheduler().num_preemptions(), 4);
  }
}

TEST(Scheduler, TheSmallestCacheThatFitsFinishesAll) {
  std::mt19937 random(3);
  Bench bench({8, 16}, 10);
  for (std::uint64_t i = 0; i < 20; ++i) bench.add(i, {random_tokens(random, 1 + random() % 20), 20});
  bench.run();
  bench.expect_equal_texts();
}

TEST(Scheduler, CutsPromptsAndKeepsDecodingBesideThem) {
  std::mt19937 random(4);
  Bench bench({8, 8}, 100);
  bench.add(0, {random_tokens(random, 5), 40});
  bench.step();
  bench.add(1, {random_tokens(random, 100), 5});
  for (int i = 0; i < 10; ++i) {
    const std::size_t before = bench.texts[0].size();
    ASSERT_TRUE(bench.step());
    EXPECT_EQ(bench.texts[0].size(), before + 1) << "a long prompt holds up what is decoding";
  }
  EXPECT_TRUE(bench.texts[1].empty());
  bench.run();
  bench.expect_equal_texts();
}

TEST(Scheduler, FirstComeFirstServed) {
  std::mt19937 random(5);
  Bench bench({3, 16}, 200);
  for (std::uint64_t i = 0; i < 12; ++i) bench.add(i, {random_tokens(random, 10), 6});
  bench.run();
  EXPECT_TRUE(std::is_sorted(bench.finished.begin(), bench.finished.end()));
  EXPECT_EQ(bench.max_items, 3U);
}

// A long request among short ones that never stop coming still gets its turn.
TEST(Scheduler, NobodyStarves) {
  std::mt19937 random(6);
  Bench bench({4, 16}, 24);
  std::uint64_t id = 0;
  for (; id < 6; ++id) bench.add(id, {random_tokens(random, 6), 6});
  const std::uint64_t large = id++;
  bench.add(large, {random_tokens(random, 60), 30});
  int num_steps = 0;
  while (std::find(bench.finished.begin(), bench.finished.end(), large) == bench.finished.end()) {
    bench.add(id++, {random_tokens(random, 6), 6});
    ASSERT_TRUE(bench.step());
    ASSERT_LT(++num_steps, 100);
  }
  bench.run();
  bench.expect_equal_texts();
}

TEST(Scheduler, SharesPrefixesAndCountsThem) {
  std::mt19937 random(7);
  const Tokens common = random_tokens(random, 40);
  Bench bench({8, 64}, 200);
  for (std::uint64_t i = 0; i < 8; ++i) {
    Tokens prompt = common;
    prompt.push_back(static_cast<std::int32_t>(i));
    bench.add(i, {prompt, 4});
  }
  bench.run();
  bench.expect_equal_texts();
  EXPECT_EQ(bench.num_cached[0], 0);
  for (std::uint64_t i = 1; i < 8; ++i) EXPECT_EQ(bench.num_cached[i], 40) << i;
  // The common part was computed once although all came at once.
  EXPECT_EQ(bench.num_tokens, 40 + 8 * 4);
  // The very same prompt again: all but the block with its last token.
  bench.add(9, {common, 4});
  bench.run();
  EXPECT_EQ(bench.num_cached[9], 36);
  bench.expect_equal_texts();
}

TEST(Scheduler, ARequestMayDeclineThePrefixCache) {
  std::mt19937 random(8);
  const Tokens prompt = random_tokens(random, 20);
  Bench bench({8, 64}, 50);
  bench.add(0, {prompt, 4, false});
  bench.run();
  EXPECT_EQ(bench.pool().num_cached(), 0);
  bench.add(1, {prompt, 4, true});
  bench.run();
  EXPECT_EQ(bench.num_cached[1], 0);
  bench.add(2, {prompt, 4, false});
  bench.run();
  EXPECT_EQ(bench.num_cached[2], 0);
  bench.expect_equal_texts();
}

// Copies of one sequence go on with different tokens; the part-filled block is copied once less than there are copies.
TEST(Scheduler, CopiesShareBlocksUntilTheyPart) {
  for (const std::int64_t max_sequences : {2, 8}) {
    for (const std::size_t length : {1U, 3U, 4U, 6U, 8U}) {
      SCOPED_TRACE(testing::Message() << max_sequences << " at once, prompt of " << length);
      std::mt19937 random(9);
      const FakeLanguageOptions options;
      Bench bench({max_sequences, 64}, 40, options);
      const Tokens prompt = random_tokens(random, length);
      Scheduler& scheduler = bench.scheduler();
      scheduler.add({0, 0}, prompt, true);
      bench.runner().run(scheduler.plan_step());
      scheduler.complete_step();
      const std::int64_t num_available = bench.pool().num_available();
      for (int i = 1; i < 4; ++i) scheduler.fork({0, 0}, {0, i});
      EXPECT_EQ(bench.pool().num_available(), num_available) << "copies take no blocks";
      std::map<int, Tokens> texts;
      for (int i = 0; i < 4; ++i) {
        texts[i] = prompt;
        texts[i].push_back(10 + i);
        scheduler.append_token({0, i}, 10 + i);
      }
      std::map<int, Tokens> drawn;
      while (!scheduler.is_idle()) {
        const StepPlan& plan = scheduler.plan_step();
        ASSERT_FALSE(plan.items.empty());
        std::vector<SequenceKey> keys;
        for (const StepItem& item : plan.items) {
          if (item.has_logits) keys.push_back(item.key);
        }
        bench.runner().run(plan);
        scheduler.complete_step();
        for (std::size_t row = 0; row < keys.size(); ++row) {
          const std::int32_t token = best_of(bench.runner().logits(row));
          drawn[keys[row].answer].push_back(token);
          if (drawn[keys[row].answer].size() == 7) {
            scheduler.finish(keys[row]);
          } else {
            scheduler.append_token(keys[row], token);
          }
        }
      }
      for (int i = 0; i < 4; ++i) EXPECT_EQ(drawn[i], test::fake_greedy(texts[i], 7, options)) << "copy " << i;
      if (max_sequences == 8) {
        EXPECT_EQ(bench.cache().num_copies, length % 4 == 0 ? 0 : 3);
      }
      EXPECT_EQ(bench.pool().num_available(), 40);
    }
  }
}

TEST(Scheduler, AFailedStepCanBeAbandoned) {
  std::mt19937 random(10);
  Bench bench({8, 64}, 40);
  bench.add(0, {random_tokens(random, 9), 5});
  bench.add(1, {random_tokens(random, 9), 5});
  bench.step();
  bench.scheduler().plan_step();
  bench.scheduler().abandon_step();
  bench.scheduler().finish({1, 0}, true);
  bench.texts[1] = {};
  while (bench.step()) {
  }
  EXPECT_EQ(bench.finished, std::vector<std::uint64_t>{0});
  EXPECT_EQ(bench.pool().num_available(), 40);
}

TEST(Scheduler, FaultsOfTheOwnerAreNamed) {
  BlockPool pool(4, 4);
  Scheduler scheduler({4, 8}, pool);
  EXPECT_THROW(scheduler.add({0, 0}, {}, true), Error);
  EXPECT_THROW(scheduler.finish({0, 0}), Error);
  EXPECT_THROW(scheduler.append_token({0, 0}, 1), Error);
  scheduler.add({0, 0}, {1, 2, 3, 4, 5, 6, 7, 8, 9}, true);
  EXPECT_THROW(scheduler.add({0, 0}, {1}, true), Error);
  scheduler.plan_step();
  scheduler.complete_step();
  EXPECT_THROW(scheduler.append_token({0, 0}, 1), Error);  // one token is not computed yet
  EXPECT_THROW(scheduler.fork({0, 0}, {0, 1}), Error);
}

// Arrivals, copies, cancellations and tight memory by chance; every text that ends is right and no block is left.
TEST(Scheduler, RandomSoak) {
  for (unsigned seed = 0; seed < 12; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    const SchedulerOptions options{static_cast<std::int64_t>(1 + random() % 10),
                                   static_cast<std::int64_t>(1 + random() % 40)};
    Bench bench(options, 14, {}, seed % 4 != 3);
    std::map<std::uint64_t, bool> is_open;
    std::vector<TestRequest> requests;
    for (int i = 0; i < 400; ++i) {
      if (random() % 3 == 0) {
        // Beginnings repeat, so that the prefix cache has something to find.
        Tokens prompt(4 * (random() % 4), static_cast<std::int32_t>(random() % 2));
        const Tokens rest = random_tokens(random, 1 + random() % 12);
        prompt.insert(prompt.end(), rest.begin(), rest.end());
        requests.push_back({prompt, 1 + random() % 25, random() % 8 != 0});
        bench.add(requests.size() - 1, requests.back());
      }
      if (random() % 16 == 0 && !requests.empty()) {
        const SequenceKey key{random() % requests.size(), 0};
        if (bench.scheduler().has(key)) {
          bench.scheduler().finish(key, random() % 2 == 0);
          requests[key.request].num_new = bench.texts[key.request].size();
        }
      }
      bench.step();
    }
    bench.run();
    for (std::size_t i = 0; i < requests.size(); ++i) {
      EXPECT_EQ(bench.texts[i], test::fake_greedy(requests[i].prompt, requests[i].num_new, FakeLanguageOptions{})) << i;
    }
  }
}

TEST(StepRunner, NamesWhatAnEngineLacks) {
  const FakeLanguageEngine engine({});
  auto inputs = engine.inputs();
  EXPECT_NO_THROW(check_language_tensors(inputs, engine.outputs(), 64));
  EXPECT_NO_THROW(check_language_tensors(inputs, engine.outputs(), 0));
  EXPECT_THROW(check_language_tensors(inputs, engine.outputs(), 65), Error);
  inputs[2].dtype = DType::kInt32;
  EXPECT_THROW(check_language_tensors(inputs, engine.outputs(), 64), Error);
  inputs = engine.inputs();
  inputs.push_back(inputs[0]);
  inputs.back().name = "attention_mask";
  EXPECT_THROW(check_language_tensors(inputs, engine.outputs(), 64), Error);
  inputs = engine.inputs();
  inputs.erase(inputs.begin());
  try {
    check_language_tensors(inputs, engine.outputs(), 64);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("logit_rows"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace pajamas
