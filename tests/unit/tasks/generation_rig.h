// A generation runner over a fake engine and a fake text, and what its tests ask of it. The tests themselves:
// generation_runner_test.cpp (answers), generation_faults_test.cpp (refusals, callbacks, cancelling, failures).
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "pajamas/error.h"
#include "support/fake_language_engine.h"
#include "support/fake_language_text.h"
#include "tasks/generation/generation_runner.h"

namespace pajamas::test {

using Tokens = std::vector<std::int32_t>;

struct RigOptions {
  FakeLanguageOptions engine;
  std::int64_t num_blocks = 400;
  std::int64_t context_length = 256;
  std::int64_t max_sequences = 64, max_step_tokens = 64, max_queue = 1024;
  std::vector<std::int64_t> stop_token_ids{FakeText::kEnd};
  int num_threads = 3;
};

class Rig {
 public:
  Rig() : Rig(RigOptions()) {}
  explicit Rig(RigOptions options) : options_(std::move(options)) {
    GenerationFacts facts;
    facts.vocab_size = options_.engine.vocab_size;
    facts.context_length = options_.context_length;
    facts.stop_token_ids = options_.stop_token_ids;
    facts.defaults.is_greedy = true;
    GeneratorOptions generator;
    generator.num_threads = options_.num_threads;
    generator.max_sequences = options_.max_sequences;
    generator.max_step_tokens = options_.max_step_tokens;
    generator.max_queue = options_.max_queue;
    generator.kv_cache_bytes = static_cast<std::size_t>(options_.num_blocks) * options_.engine.block_bytes;
    runner = std::make_unique<GenerationRunner>(facts, std::make_shared<FakeLanguageEngine>(options_.engine),
                                                std::make_shared<FakeText>(), generator);
  }
  ~Rig() {
    if (runner) expect_no_leak();
  }
  Rig(const Rig&) = delete;
  Rig& operator=(const Rig&) = delete;
  /// All blocks are back once the worker has nothing left to do.
  void expect_no_leak() const {
    GeneratorStatistics statistics;
    for (int i = 0; i < 1000; ++i) {
      statistics = runner->statistics();
      if (statistics.num_free_blocks == statistics.num_blocks && statistics.num_waiting == 0) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    EXPECT_EQ(statistics.num_free_blocks, statistics.num_blocks) << "blocks are leaked";
    EXPECT_EQ(statistics.num_waiting, 0);
  }
  /// The greedy answer up to a stop token, computed without any cache.
  Tokens expected(const Tokens& prompt, std::size_t num_tokens) const {
    Tokens tokens = fake_greedy(prompt, num_tokens, options_.engine);
    const auto end = std::find(tokens.begin(), tokens.end(), FakeText::kEnd);
    if (end != tokens.end()) tokens.erase(end + 1, tokens.end());
    return tokens;
  }
  GenerationResult generate(GenerationRequest request) const { return runner->generate(std::move(request), {}); }
  std::unique_ptr<GenerationRunner> runner;

 private:
  RigOptions options_;
};

inline Tokens ids_of(const std::vector<GeneratedToken>& tokens) {
  Tokens ids;
  for (const GeneratedToken& token : tokens) ids.push_back(token.token_id);
  return ids;
}

inline std::string text_of(const Tokens& tokens) {
  const auto stream = FakeText().new_stream();
  std::string text;
  for (const std::int32_t token : tokens) text += stream->push(token);
  return text + stream->finish();
}

inline GenerationRequest request_of(Tokens prompt, std::int64_t max_tokens) {
  GenerationRequest request;
  request.prompt_tokens = std::move(prompt);
  request.max_tokens = max_tokens;
  return request;
}

inline Tokens random_prompt(std::mt19937& random, std::size_t length) {
  Tokens tokens(length);
  for (auto& token : tokens) token = static_cast<std::int32_t>(2 + random() % 62);
  return tokens;
}

inline SamplingOptions seeded(std::uint64_t seed) {
  SamplingOptions options;
  options.seed = seed;
  return options;
}

inline ErrorKind kind_of(const std::function<void()>& call, std::string* message = nullptr) {
  try {
    call();
  } catch (const Error& error) {
    if (message != nullptr) *message = error.what();
    return error.kind();
  }
  ADD_FAILURE() << "nothing was thrown";
  return ErrorKind::kInternal;
}

}  // namespace pajamas::test
