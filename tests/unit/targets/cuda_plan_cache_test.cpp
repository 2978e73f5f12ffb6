// The bounded cache of plans: least recently used out, made once, failures forgotten, several threads. No GPU.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "targets/cuda/runtime/plan_cache.h"

namespace pajamas::cuda {
namespace {

using Cache = PlanCache<int, std::string>;

Cache::Pointer made(const std::string& text) { return std::make_shared<const std::string>(text); }

TEST(CudaPlanCache, makes_what_it_lacks_once) {
  Cache cache(2);
  int num_made = 0;
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(*cache.get(7,
                         [&] {
                           ++num_made;
                           return made("seven");
                         }),
              "seven");
  }
  EXPECT_EQ(num_made, 1);
}

TEST(CudaPlanCache, puts_the_least_recently_used_out) {
  Cache cache(2);
  cache.get(1, [] { return made("1"); });
  const auto kept = cache.get(2, [] { return made("2"); });
  cache.get(1, [] { return made("again"); });
  cache.get(3, [] { return made("3"); });
  EXPECT_TRUE(cache.contains(1));
  EXPECT_FALSE(cache.contains(2));
  EXPECT_TRUE(cache.contains(3));
  EXPECT_EQ(cache.size(), 2U);
  EXPECT_EQ(*kept, "2");  // Whoever has it keeps it.
}

TEST(CudaPlanCache, works_with_a_capacity_of_one) {
  Cache cache(1);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(*cache.get(i, [&] { return made(std::to_string(i)); }), std::to_string(i));
  EXPECT_EQ(cache.size(), 1U);
}

TEST(CudaPlanCache, forgets_a_failure) {
  Cache cache(2);
  EXPECT_THROW(cache.get(1, []() -> Cache::Pointer { throw std::runtime_error("no"); }), std::runtime_error);
  EXPECT_EQ(cache.size(), 0U);
  EXPECT_EQ(*cache.get(1, [] { return made("now"); }), "now");
}

TEST(CudaPlanCache, makes_it_once_for_threads_that_ask_at_once) {
  Cache cache(4);
  std::atomic<int> num_made{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      const auto value = cache.get(1, [&] {
        ++num_made;
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        return made("one");
      });
      EXPECT_EQ(*value, "one");
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(num_made, 1);
}

TEST(CudaPlanCache, does_not_keep_others_waiting_while_it_makes_one) {
  Cache cache(4);
  std::atomic<bool> is_other_done{false};
  cache.get(1, [&] {
    std::thread([&] {
      cache.get(2, [] { return made("2"); });
      is_other_done = true;
    }).join();
    return made("1");
  });
  EXPECT_TRUE(is_other_done);
}

TEST(CudaPlanCache, survives_many_threads_and_few_places) {
  Cache cache(2);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&cache, t] {
      for (int i = 0; i < 500; ++i) {
        const int key = (i * (t + 1)) % 5;
        EXPECT_EQ(*cache.get(key, [&] { return made(std::to_string(key)); }), std::to_string(key));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(cache.size(), 2U);
}

}  // namespace
}  // namespace pajamas::cuda
