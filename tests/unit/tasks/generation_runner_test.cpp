// The generator over a fake engine and a fake text: every answer must be the one that a model without cache, batch and
// neighbours gives; and faults of requests, engines, callbacks and callers.
#include "tasks/generation/generation_runner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <mutex>
#include <random>
#include <set>
#include <stdexcept>
#include <thread>

#include "support/fake_language_engine.h"
#include "support/fake_language_text.h"
#include "tasks/generation/cache_size.h"

namespace pajamas {
namespace {

using test::FakeLanguageEngine;
using test::FakeLanguageOptions;
using test::FakeText;
using testing::HasSubstr;
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
  explicit Rig(RigOptions options = {}) : options_(std::move(options)) {
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
    Tokens tokens = test::fake_greedy(prompt, num_tokens, options_.engine);
    const auto end = std::find(tokens.begin(), tokens.end(), FakeText::kEnd);
    if (end != tokens.end()) tokens.erase(end + 1, tokens.end());
    return tokens;
  }
  GenerationResult generate(GenerationRequest request) const { return runner->generate(std::move(request), {}); }
  std::unique_ptr<GenerationRunner> runner;

 private:
  RigOptions options_;
};

Tokens ids_of(const std::vector<GeneratedToken>& tokens) {
  Tokens ids;
  for (const GeneratedToken& token : tokens) ids.push_back(token.token_id);
  return ids;
}

std::string text_of(const Tokens& tokens) {
  const auto stream = FakeText().new_stream();
  std::string text;
  for (const std::int32_t token : tokens) text += stream->push(token);
  return text + stream->finish();
}

GenerationRequest request_of(Tokens prompt, std::int64_t max_tokens) {
  GenerationRequest request;
  request.prompt_tokens = std::move(prompt);
  request.max_tokens = max_tokens;
  return request;
}

Tokens random_prompt(std::mt19937& random, std::size_t length) {
  Tokens tokens(length);
  for (auto& token : tokens) token = static_cast<std::int32_t>(2 + random() % 62);
  return tokens;
}

SamplingOptions seeded(std::uint64_t seed) {
  SamplingOptions options;
  options.seed = seed;
  return options;
}

ErrorKind kind_of(const std::function<void()>& call, std::string* message = nullptr) {
  try {
    call();
  } catch (const Error& error) {
    if (message != nullptr) *message = error.what();
    return error.kind();
  }
  ADD_FAILURE() << "nothing was thrown";
  return ErrorKind::kInternal;
}

TEST(GenerationRunner, GreedyTextIsTheModels) {
  const Rig rig;
  std::mt19937 random(1);
  for (const std::size_t length : {1U, 4U, 7U, 100U}) {
    const Tokens prompt = random_prompt(random, length);
    const GenerationResult result = rig.generate(request_of(prompt, 20));
    ASSERT_EQ(result.answers.size(), 1U);
    const Tokens ids = ids_of(result.answers[0].tokens);
    EXPECT_EQ(ids, rig.expected(prompt, 20));
    EXPECT_EQ(result.answers[0].finish, ids.back() == FakeText::kEnd ? FinishReason::kStop : FinishReason::kLength);
    EXPECT_EQ(result.num_prompt_tokens, static_cast<std::int64_t>(length));
    EXPECT_GT(result.time_to_first_token.count(), 0);
    EXPECT_GE(result.total_time, result.time_to_first_token);
  }
}

TEST(GenerationRunner, PromptsAndMessagesAreTokenized) {
  const Rig rig;
  GenerationRequest plain;
  plain.prompt = "abc";
  plain.max_tokens = 5;
  EXPECT_EQ(ids_of(rig.generate(plain).answers[0].tokens), rig.expected({FakeText::kBegin, 2, 3, 4}, 5));
  GenerationRequest empty;  // the beginning token alone
  empty.max_tokens = 5;
  EXPECT_EQ(ids_of(rig.generate(empty).answers[0].tokens), rig.expected({FakeText::kBegin}, 5));
  GenerationRequest chat;
  chat.messages = {{"user", "abc"}};
  chat.max_tokens = 5;
  const Tokens rendered = FakeText().encode("{user:abc}{", false);
  EXPECT_EQ(ids_of(rig.generate(chat).answers[0].tokens), rig.expected(rendered, 5));
}

// The case, through the public side, with sampling: texts are equal to one at a time.
TEST(GenerationRunner, SixtyFourRequestsOverACacheForSixteen) {
  std::mt19937 random(2);
  std::vector<GenerationRequest> requests;
  std::int64_t num_blocks = 0;
  for (std::uint64_t i = 0; i < 64; ++i) {
    requests.push_back(request_of(random_prompt(random, 1 + random() % 60), 1 + static_cast<int>(random() % 60)));
    if (i % 2 == 0) requests.back().sampling = seeded(i);
    requests.back().is_stop_token_ignored = true;
    num_blocks +=
        (static_cast<std::int64_t>(requests.back().prompt_tokens.size()) + requests.back().max_tokens) / 4 + 1;
  }
  std::vector<GenerationResult> alone;
  {
    RigOptions options;
    options.num_blocks = 30;
    const Rig rig(options);
    for (const GenerationRequest& request : requests) alone.push_back(rig.generate(request));
  }
  RigOptions options;
  options.num_blocks = num_blocks / 4;
  const Rig rig(options);
  std::vector<std::promise<GenerationResult>> results(requests.size());
  for (std::size_t i = 0; i < requests.size(); ++i) {
    rig.runner->submit(requests[i], {}, [&, i](const GenerationResult& result) { results[i].set_value(result); });
  }
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const GenerationResult result = results[i].get_future().get();
    EXPECT_EQ(ids_of(result.answers[0].tokens), ids_of(alone[i].answers[0].tokens)) << "request " << i;
    EXPECT_EQ(result.answers[0].text, alone[i].answers[0].text) << "request " << i;
    EXPECT_EQ(result.answers[0].finish, FinishReason::kLength);
  }
  EXPECT_EQ(rig.runner->statistics().num_finished, 64);
}

TEST(GenerationRunner, ChunksJoinToTheAnswerInWholeCharacters) {
  const Rig rig;
  bool has_euro = false;
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    GenerationRequest request = request_of({2, 3, static_cast<std::int32_t>(2 + seed)}, 40);
    request.sampling = seeded(seed);
    request.sampling->logit_bias = {{61, 6.0F}, {62, 6.0F}, {63, 6.0F}};
    std::string text;
    Tokens tokens;
    int num_ends = 0;
    const GenerationResult result = rig.runner->generate(request, [&](const GenerationChunk& chunk) {
      EXPECT_EQ(num_ends, 0) << "a chunk after the last";
      num_ends += chunk.finish ? 1 : 0;
      if (!chunk.text.empty()) {
        EXPECT_NE(static_cast<unsigned char>(chunk.text.front()) & 0xC0U, 0x80U) << "half a character";
      }
      text += chunk.text;
      for (const GeneratedToken& token : chunk.tokens) tokens.push_back(token.token_id);
    });
    EXPECT_EQ(num_ends, 1);
    EXPECT_EQ(text, result.answers[0].text);
    EXPECT_EQ(tokens, ids_of(result.answers[0].tokens));
    has_euro = has_euro || text.find("\xE2\x82\xAC") != std::string::npos;
  }
  EXPECT_TRUE(has_euro);
}

TEST(GenerationRunner, StopTextsEndTheAnswerAndAreNoPartOfIt) {
  const Rig rig;
  GenerationRequest request = request_of({5, 6, 7}, 40);
  request.is_stop_token_ignored = true;
  const std::string whole = rig.generate(request).answers[0].text;
  ASSERT_GT(whole.size(), 20U);
  const std::string stop = whole.substr(10, 3);
  const std::string expected = whole.substr(0, whole.find(stop));
  request.stop = {"no such text", stop};
  std::string streamed;
  const GenerationResult result =
      rig.runner->generate(request, [&](const GenerationChunk& chunk) { streamed += chunk.text; });
  EXPECT_EQ(result.answers[0].text, expected);
  EXPECT_EQ(streamed, expected);
  EXPECT_EQ(result.answers[0].finish, FinishReason::kStop);
}

TEST(GenerationRunner, StopTokensEndTheAnswerUnlessIgnored) {
  const Rig rig;
  GenerationRequest request = request_of({5, 6, 7}, 30);
  request.is_stop_token_ignored = true;
  const Tokens whole = ids_of(rig.generate(request).answers[0].tokens);
  ASSERT_EQ(whole.size(), 30U);
  request.is_stop_token_ignored = false;
  request.stop_token_ids = {whole[7]};
  const GenerationResult result = rig.generate(request);
  const Tokens ids = ids_of(result.answers[0].tokens);
  EXPECT_EQ(result.answers[0].finish, FinishReason::kStop);
  EXPECT_EQ(ids.back(), std::find(whole.begin(), whole.end(), whole[7]) == whole.end() ? -1 : whole[7]);
  EXPECT_LE(ids.size(), 8U);
EXPECT_EQ(result.answers[0].text, text_of(Tokens(ids.begin(), ids.end() - 1))) << "a stop token writes nothing";
}

TEST(GenerationRunner, SeveralAnswersEqualRequestsOfTheirOwn) {
  for (const std::int64_t max_sequences : {2, 64}) {
    RigOptions options;
    options.max_sequences = max_sequences;
    options.num_blocks = 40;
    const Rig rig(options);
    for (const std::size_t length : {1U, 6U, 8U}) {
      std::mt19937 random(3);
      GenerationRequest request = request_of(random_prompt(random, length), 20);
      request.sampling = seeded(100);
      request.num_answers = 5;
      std::set<int> ended;
      const GenerationResult result = rig.runner->generate(request, [&](const GenerationChunk& chunk) {
        const bool is_first = !chunk.finish || ended.insert(chunk.answer_index).second;
        EXPECT_TRUE(is_first);
      });
      ASSERT_EQ(result.answers.size(), 5U);
      EXPECT_EQ(ended.size(), 5U);
      request.num_answers = 1;
      for (std::size_t i = 0; i < 5; ++i) {
        request.sampling->seed = 100 + i;
        const GenerationResult own = rig.generate(request);
        EXPECT_EQ(ids_of(result.answers[i].tokens), ids_of(own.answers[0].tokens)) << "answer " << i;
        EXPECT_EQ(result.answers[i].text, own.answers[0].text);
      }
    }
  }
}

TEST(GenerationRunner, EndsAtTheContext) {
  RigOptions options;
  options.context_length = 20;
  const Rig rig(options);
  GenerationRequest request = request_of(Tokens(15, 9), 0);
  request.is_stop_token_ignored = true;
  EXPECT_EQ(rig.generate(request).answers[0].tokens.size(), 5U);
  request.max_tokens = 1000;
  const GenerationResult result = rig.generate(request);
  EXPECT_EQ(result.answers[0].tokens.size(), 5U);
  EXPECT_EQ(result.answers[0].finish, FinishReason::kLength);
  request.prompt_tokens.resize(19, 9);
  EXPECT_EQ(rig.generate(request).answers[0].tokens.size(), 1U);
  request.prompt_tokens.resize(20, 9);
  std::string message;
  EXPECT_EQ(kind_of([&] { rig.generate(request); }, &message), ErrorKind::kBadInput);
  EXPECT_THAT(message, HasSubstr("20 tokens"));
}

TEST(GenerationRunner, WhatCanNeverFitTheCacheIsRefusedAtOnce) {
  RigOptions options;
  options.num_blocks = 3;  // 12 tokens
  const Rig rig(options);
  GenerationRequest request = request_of(Tokens(10, 9), 4);
  request.is_stop_token_ignored = true;
  std::string message;
  EXPECT_EQ(kind_of([&] { rig.generate(request); }, &message), ErrorKind::kBadInput);
  EXPECT_THAT(message, HasSubstr("the key/value cache holds 12"));
  request.max_tokens = 3;  // the last is drawn but not kept
  EXPECT_EQ(rig.generate(request).answers[0].tokens.size(), 3U);
  request.max_tokens = 0;  // as many as there is room for
  EXPECT_EQ(rig.generate(request).answers[0].tokens.size(), 3U);
  request.prompt_tokens.resize(13, 9);
  EXPECT_EQ(kind_of([&] { rig.generate(request); }), ErrorKind::kBadInput);
}

TEST(GenerationRunner, MalformedRequestsAreNamed) {
  const Rig rig;
  const auto refused = [&](const std::function<void(GenerationRequest&)>& spoil, ErrorKind kind, const char* text) {
    GenerationRequest request = request_of({5, 6}, 3);
    spoil(request);
    std::string message;
    EXPECT_EQ(kind_of([&] { rig.generate(request); }, &message), kind) << text;
    EXPECT_THAT(message, HasSubstr(text));
  };
  const ErrorKind usage = ErrorKind::kUsage;
  refused([](auto& r) { r.prompt = "a"; }, usage, "more than one");
  refused([](auto& r) { r.messages = {{"user", "a"}}; }, usage, "more than one");
  refused([](auto& r) { r.tools_json = "[]"; }, usage, "no messages");
  refused([](auto& r) { r.max_tokens = -1; }, usage, "max_tokens");
  refused([](auto& r) { r.num_answers = 0; }, usage, "num_answers");
  refused([](auto& r) { r.num_answers = 65; }, usage, "num_answers");
  refused([](auto& r) { r.deadline = std::chrono::milliseconds(-1); }, usage, "deadline");
  refused([](auto& r) { r.prompt_tokens = {64}; }, usage, "token 64");
  refused([](auto& r) { r.prompt_tokens = {-1}; }, usage, "token -1");
  refused([](auto& r) { r.stop_token_ids = {640}; }, usage, "token 640");
  refused([](auto& r) { r.stop = {""}; }, usage, "stop");
  refused([](auto& r) { r.sampling.emplace().temperature = -1; }, usage, "temperature");
  refused([](auto& r) { r.grammar.text = "a"; }, usage, "grammar");
  refused(
      [](auto& r) {
        r.grammar = {OutputGrammar::Kind::kRegex, "a"};
        r.is_stop_token_ignored = true;
      },
      usage, "grammar");
  for (const char* bad :
       {"\xFF", "a\x80", "\xC0\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE2\x82", "\xF0\x80\x80\x80"}) {
    refused(
        [&](auto& r) {
          r.prompt_tokens.clear();
          r.prompt = bad;
        },
        ErrorKind::kBadInput, "not UTF-8 at byte");
  }
  refused(
      [](auto& r) {
        r.prompt_tokens.clear();
        r.messages = {{"user", "\xFF"}};
      },
      ErrorKind::kBadInput, "messages[0].content");
  EXPECT_EQ(rig.runner->statistics().num_finished, 0);
}

TEST(GenerationRunner, AFullQueueIsBusy) {
  std::promise<void> gate;
  std::shared_future<void> open = gate.get_future().share();
  RigOptions options;
  options.max_queue = 3;
  options.max_sequences = 1;
  options.engine.on_step = [open](std::int64_t) { open.wait(); };
  const Rig rig(options);
  std::atomic<int> num_done{0};
  const auto submit = [&] { rig.runner->submit(request_of({5}, 2), {}, [&](const GenerationResult&) { ++num_done; }); };
  submit();
  while (rig.runner->statistics().num_waiting > 0) std::this_thread::yield();  // it runs, and holds the worker
  for (int i = 0; i < 3; ++i) submit();
  EXPECT_EQ(rig.runner->statistics().num_waiting, 3);
  EXPECT_EQ(kind_of(submit), ErrorKind::kBusy);
  gate.set_value();
  while (num_done < 4) std::this_thread::yield();
  submit();
  while (num_done < 5) std::this_thread::yield();
}

TEST(GenerationRunner, CancelGivesWhatIsThere) {
  RigOptions options;
  options.engine.delay = std::chrono::microseconds(300);
  const Rig rig(options);
  GenerationRequest request = request_of({5, 6, 7}, 200);
  request.is_stop_token_ignored = true;
  std::atomic<RequestId> id{0};
  std::promise<GenerationResult> done;
  std::promise<void> begun;
  std::atomic<int> num_chunks{0};
  id = rig.runner->submit(
      request,
      [&](const GenerationChunk&) {
        if (++num_chunks == 3) begun.set_value();
      },
      [&](const GenerationResult& result) { done.set_value(result); });
  begun.get_future().get();
  rig.runner->cancel(id);
  const GenerationResult result = done.get_future().get();
  EXPECT_EQ(result.answers[0].finish, FinishReason::kCancelled);
  const Tokens ids = ids_of(result.answers[0].tokens);
  EXPECT_GE(ids.size(), 3U);
  EXPECT_LT(ids.size(), 200U);
  EXPECT_EQ(ids, test::fake_greedy(request.prompt_tokens, ids.size(), FakeLanguageOptions{}));
  EXPECT_EQ(result.error, "");
  rig.runner->cancel(id);  // done already
  rig.runner->cancel(4711);
}

TEST(GenerationRunner, CallbacksMaySubmitAndCancel) {
  const Rig rig;
  std::promise<GenerationResult> first, second;
  std::atomic<RequestId> id{0};
  std::promise<void> has_id;
  std::shared_future<void> id_known = has_id.get_future().share();
  GenerationRequest request = request_of({5, 6, 7}, 100);
  request.is_stop_token_ignored = true;
  id = rig.runner->submit(
      request,
      [&](const GenerationChunk& chunk) {
        if (chunk.finish) return;
        id_known.wait();
        rig.runner->cancel(id);
        rig.runner->statistics();
      },
      [&](const GenerationResult& result) {
        first.set_value(result);
        rig.runner->submit(request_of({8}, 3), {}, [&](const GenerationResult& next) { second.set_value(next); });
      });
  has_id.set_value();
  const GenerationResult result = first.get_future().get();
  EXPECT_EQ(result.answers[0].finish, FinishReason::kCancelled);
  EXPECT_LE(result.answers[0].tokens.size(), 2U);
  EXPECT_EQ(ids_of(second.get_future().get().answers[0].tokens), rig.expected({8}, 3));
}

TEST(GenerationRunner, GenerateFromACallbackIsRefused) {
  const Rig rig;
  std::promise<ErrorKind> kind;
  bool is_set = false;
  rig.runner->generate(request_of({5}, 2), [&](const GenerationChunk&) {
    if (std::exchange(is_set, true)) return;
    kind.set_value(kind_of([&] { rig.runner->generate(request_of({6}, 2), {}); }));
  });
  EXPECT_EQ(kind.get_future().get(), ErrorKind::kUsage);
}

TEST(GenerationRunner, ExceptionsFromCallbacksEndTheirRequestOnly) {
  const Rig rig;
  std::promise<GenerationResult> spoiled;
  int num_chunks = 0;
  GenerationRequest long_request = request_of({5}, 100);
  long_request.is_stop_token_ignored = true;
  rig.runner->submit(
      long_request,
      [&](const GenerationChunk&) {
        ++num_chunks;
        throw std::runtime_error("the reader is gone");
      },
      [&](const GenerationResult& result) {
        spoiled.set_value(result);
        throw 42;
      });
  EXPECT_EQ(ids_of(rig.generate(request_of({6}, 10)).answers[0].tokens), rig.expected({6}, 10));
  const GenerationResult result = spoiled.get_future().get();
  EXPECT_EQ(result.answers[0].finish, FinishReason::kCancelled);
  EXPECT_EQ(result.error, "the reader is gone");
  EXPECT_EQ(num_chunks, 1);
  EXPECT_THROW(rig.runner->generate(long_request, [](const GenerationChunk&) { throw std::out_of_range("mine"); }),
               std::out_of_range);
}

TEST(GenerationRunner, DeadlinesCountFromSubmission) {
  RigOptions options;
  options.engine.delay = std::chrono::milliseconds(2);
  options.max_sequences = 1;
  const Rig rig(options);
  GenerationRequest request = request_of({5, 6}, 250);
  request.is_stop_token_ignored = true;
  request.deadline = std::chrono::milliseconds(60);
  std::vector<std::promise<GenerationResult>> results(3);
  for (auto& done : results) {
    rig.runner->submit(request, {}, [&](const GenerationResult& result) { done.set_value(result); });
  }
  const GenerationResult first = results[0].get_future().get();
  EXPECT_EQ(first.answers[0].finish, FinishReason::kDeadline);
  EXPECT_GT(first.answers[0].tokens.size(), 0U);
  EXPECT_GE(first.total_time, std::chrono::milliseconds(60));
  const GenerationResult waiting = results[2].get_future().get();  // never had its turn
  EXPECT_EQ(waiting.answers[0].finish, FinishReason::kDeadline);
  EXPECT_TRUE(waiting.answers[0].tokens.empty());
  results[1].get_future().get();
  GenerationRequest relaxed = request_of({5, 6}, 3);
  relaxed.deadline = std::chrono::milliseconds::max();
  EXPECT_NE(rig.generate(relaxed).answers[0].finish, FinishReason::kDeadline);
}

TEST(GenerationRunner, AFailedStepEndsItsRequestsAndNoOthers) {
  std::atomic<bool> is_failing{false};
  RigOptions options;
  options.max_sequences = 2;
  options.engine.on_step = [&](std::int64_t step) {
    if (step == 4) is_failing = true;
    if (is_failing.exchange(false)) throw Error(ErrorKind::kDeviceMissing, "the device is gone");
  };
  const Rig rig(options);
  GenerationRequest request = request_of({5, 6, 7, 8, 9}, 30);
  request.is_stop_token_ignored = true;
  std::vector<std::promise<GenerationResult>> results(5);
  for (auto& done : results) {
    rig.runner->submit(request, {}, [&](const GenerationResult& result) { done.set_value(result); });
  }
  int num_failed = 0;
  for (auto& done : results) {
    const GenerationResult result = done.get_future().get();
    if (result.answers[0].finish == FinishReason::kError) {
      ++num_failed;
      EXPECT_THAT(result.error, HasSubstr("the device is gone"));
      EXPECT_LE(result.answers[0].tokens.size(), 4U);
    } else {
      EXPECT_EQ(ids_of(result.answers[0].tokens), test::fake_greedy(request.prompt_tokens, 30, FakeLanguageOptions{}));
    }
  }
  EXPECT_GE(num_failed, 1);
  EXPECT_LE(num_failed, 2);
  is_failing = true;
  EXPECT_EQ(kind_of([&] { rig.generate(request); }), ErrorKind::kDeviceMissing);
  EXPECT_EQ(rig.generate(request).answers[0].tokens.size(), 30U);
}

TEST(GenerationRunner, LogitsThatAreNoNumbersFailTheirRequestAlone) {
  RigOptions options;
  options.engine.poison_token = 50;
  const Rig rig(options);
  GenerationRequest sick = request_of({2, 3, 4, 50, 6, 7, 8, 9, 10}, 10);
  GenerationRequest well = request_of({2, 3, 4, 5, 6}, 10);
  well.sampling = SamplingOptions{};
  well.sampling->temperature = 0;
  well.sampling->logit_bias = {{50, -100.0F}};
  std::promise<GenerationResult> sick_result, well_result;
  rig.runner->submit(sick, {}, [&](const GenerationResult& result) { sick_result.set_value(result); });
  rig.runner->submit(well, {}, [&](const GenerationResult& result) { well_result.set_value(result); });
  const GenerationResult result = sick_result.get_future().get();
  EXPECT_EQ(result.answers[0].finish, FinishReason::kError);
  EXPECT_THAT(result.error, HasSubstr("NaN"));
  EXPECT_NE(well_result.get_future().get().answers[0].finish, FinishReason::kError);
  EXPECT_EQ(kind_of([&] { rig.generate(sick); }), ErrorKind::kBadInput);
  EXPECT_EQ(rig.runner->statistics().num_cached_tokens, 0) << "what a sick request computed is used again";
}

TEST(GenerationRunner, DestructionCancelsWhatRuns) {
  RigOptions options;
  options.engine.delay = std::chrono::microseconds(200);
  options.max_sequences = 2;
  Rig rig(options);
  GenerationRequest request = request_of({5}, 250);
  request.is_stop_token_ignored = true;
  std::atomic<int> num_done{0}, num_refused{0};
  for (int i = 0; i < 6; ++i) {
    rig.runner->submit(request, {}, [&](const GenerationResult& result) {
      EXPECT_EQ(result.answers[0].finish, FinishReason::kCancelled);
      ++num_done;
      try {
        rig.runner->submit(request, {}, {});
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::kCancelled);
        ++num_refused;
      }
    });
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  // reset() would clear the pointer first, which the callbacks use.
  auto* raw = rig.runner.get();
  delete raw;
  (void)rig.runner.release();
  EXPECT_EQ(num_done, 6);
  EXPECT_EQ(num_refused, 6);
}

TEST(GenerationRunner, SharedBeginningsAreFound) {
  const Rig rig;
  std::mt19937 random(4);
  const Tokens common = random_prompt(random, 40);
  for (int i = 0; i < 3; ++i) {
    GenerationRequest request = request_of(common, 4);
    request.prompt_tokens.push_back(2 + i);
    const GenerationResult result = rig.generate(request);
    EXPECT_EQ(result.num_cached_tokens, i == 0 ? 0 : 40);
    EXPECT_EQ(ids_of(result.answers[0].tokens), rig.expected(request.prompt_tokens, 4));
  }
  EXPECT_EQ(rig.runner->statistics().num_cached_tokens, 80);
  EXPECT_EQ(rig.runner->statistics().num_prompt_tokens, 3 * 41);
}

TEST(GenerationRunner, LogprobsComeWithTheTokens) {
  const Rig rig;
  GenerationRequest request = request_of({5, 6}, 4);
  request.sampling = SamplingOptions{};
  request.sampling->temperature = 0;
  request.sampling->num_logprobs = 3;
  const GenerationResult result = rig.generate(request);
  for (const GeneratedToken& token : result.answers[0].tokens) {
    ASSERT_EQ(token.top.size(), 3U);
    EXPECT_EQ(token.top[0].token_id, token.token_id);
    EXPECT_FLOAT_EQ(token.top[0].logprob, token.logprob);
    EXPECT_LT(token.logprob, 0.0F);
  }
  request.sampling->num_logprobs = -1;
  EXPECT_TRUE(rig.generate(request).answers[0].tokens[0].top.empty());
}

TEST(GenerationRunner, GrammarsHoldWhateverTheModelSays) {
  const Rig rig;
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    GenerationRequest request = request_of({5, 6}, 60);
    request.sampling = seeded(seed);
    request.grammar = {OutputGrammar::Kind::kRegex, "(abc|ab[xyz]{3,5}):[01]+,"};
    request.num_answers = 3;
    const GenerationResult result = rig.generate(request);
    for (const GenerationAnswer& answer : result.answers) {
      EXPECT_THAT(answer.text, testing::MatchesRegex("(abc|ab[xyz]{3,5}):[01]+,?"));
      EXPECT_EQ(answer.text.back() == ',', answer.finish == FinishReason::kStop);
    }
  }
  GenerationRequest impossible = request_of({5, 6}, 60);
  impossible.grammar = {OutputGrammar::Kind::kRegex, "a("};
  EXPECT_EQ(kind_of([&] { rig.generate(impossible); }), ErrorKind::kBadInput);
}

TEST(GenerationRunner, ACompleteTextEndsWhereTheModelHasNoStopToken) {
  RigOptions options;
  options.stop_token_ids = {};
  const Rig rig(options);
  GenerationRequest request = request_of({5, 6}, 60);
  request.grammar = {OutputGrammar::Kind::kRegex, "abc"};
  const GenerationResult result = rig.generate(request);
  EXPECT_EQ(result.answers[0].text, "abc");
  EXPECT_EQ(result.answers[0].finish, FinishReason::kStop);
}

TEST(GenerationRunner, OptionsOutOfRangeAreRefused) {
  RigOptions options;
  options.max_queue = 0;
  EXPECT_EQ(kind_of([&] { Rig rig(options); }), ErrorKind::kUsage);
  options.max_queue = 1;
  options.max_sequences = 0;
  EXPECT_EQ(kind_of([&] { Rig rig(options); }), ErrorKind::kUsage);
}

// Submissions from several threads, cancellations, deadlines, answers in parallel, tight memory and failing steps.
TEST(GenerationRunner, RandomSoak) {
  RigOptions options;
  options.num_blocks = 40;
  options.max_sequences = 9;
  options.max_step_tokens = 23;
  options.engine.on_step = [](std::int64_t step) {
    if (step % 97 == 96) throw Error(ErrorKind::kInternal, "injected");
  };
  const Rig rig(options);
  std::atomic<int> num_submitted{0}, num_done{0}, num_wrong{0}, num_ends{0};
  const auto client = [&](unsigned seed) {
    std::mt19937 random(seed);
    std::vector<RequestId> ids;
    for (int i = 0; i < 60; ++i) {
      Tokens prompt(4 * (random() % 4), 7);
      const Tokens rest = random_prompt(random, 1 + random() % 20);
      prompt.insert(prompt.end(), rest.begin(), rest.end());
      GenerationRequest request = request_of(prompt, 1 + static_cast<int>(random() % 40));
      request.is_stop_token_ignored = true;
      request.num_answers = random() % 5 == 0 ? 3 : 1;
      request.is_prefix_cache_used = random() % 6 != 0;
      if (random() % 10 == 0) request.deadline = std::chrono::milliseconds(1 + random() % 10);
      ++num_submitted;
      num_ends += request.num_answers;
      ids.push_back(rig.runner->submit(
          request, [&](const GenerationChunk& chunk) { num_ends -= chunk.finish ? 1 : 0; },
          [&, prompt, is_shared = request.num_answers > 1](const GenerationResult& result) {
            for (const GenerationAnswer& answer : result.answers) {
              // Greedy: whatever ended it, what is there is right.
              if (ids_of(answer.tokens) != test::fake_greedy(prompt, answer.tokens.size(), FakeLanguageOptions{})) {
                ++num_wrong;
              }
            }
            ++num_done;
          }));
      if (random() % 6 == 0) rig.runner->cancel(ids[random() % ids.size()]);
      if (random() % 4 == 0) std::this_thread::sleep_for(std::chrono::microseconds(random() % 500));
    }
  };
  std::vector<std::thread> clients;
  for (unsigned seed = 0; seed < 4; ++seed) clients.emplace_back(client, seed);
  for (std::thread& thread : clients) thread.join();
  while (num_done < num_submitted) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_EQ(num_done, 240);
  EXPECT_EQ(num_wrong, 0);
  EXPECT_EQ(num_ends, 0) << "each answer has one last chunk";
}

TEST(ChooseNumBlocks, DefaultsAndLimits) {
  KvCacheLayout layout;
  layout.block_size_tokens = 32;
  layout.block_bytes = 1000;
  EXPECT_EQ(choose_num_blocks(layout, 320, 0, 1'000'000), 40);  // 4 sequences
  EXPECT_EQ(choose_num_blocks(layout, 321, 0, 1'000'000), 44);  // rounded up
  EXPECT_EQ(choose_num_blocks(layout, 320, 0, 100'000), 25);    // a quarter of what is free
  EXPECT_EQ(choose_num_blocks(layout, 320, 0, 20'000), 10);     // one sequence fits three quarters
  EXPECT_EQ(choose_num_blocks(layout, 320, 0, 8'000), 6);
  EXPECT_EQ(choose_num_blocks(layout, 320, 7'999, 8'000), 7);
  std::string message;
  EXPECT_EQ(kind_of([&] { choose_num_blocks(layout, 320, 8'001, 8'000); }, &message), ErrorKind::kDeviceMissing);
  EXPECT_THAT(message, HasSubstr("8001 bytes"));
  EXPECT_THAT(message, HasSubstr("8000 bytes are free"));
  EXPECT_EQ(kind_of([&] { choose_num_blocks(layout, 320, 999, 8'000); }), ErrorKind::kUsage);
  EXPECT_EQ(kind_of([&] { choose_num_blocks(layout, 320, 0, 1'000); }), ErrorKind::kDeviceMissing);
  EXPECT_EQ(choose_num_blocks(layout, std::int64_t{1} << 32, 0, UINT64_MAX), std::int64_t{1} << 29);
}

}  // namespace
}  // namespace pajamas
