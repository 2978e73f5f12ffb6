// The generator over a fake engine and a fake text: what it refuses, and faults of requests, engines, callbacks and
// callers, none of which may touch other requests. Answers: generation_runner_test.cpp.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <stdexcept>
#include <thread>

#include "generation_rig.h"
#include "tasks/generation/cache_size.h"

namespace pajamas {
namespace {

using test::FakeLanguageOptions;
using test::ids_of;
using test::kind_of;
using test::request_of;
using test::Rig;
using test::RigOptions;
using test::Tokens;
using testing::HasSubstr;

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

TEST(GenerationRunner, OptionsOutOfRangeAreRefused) {
  RigOptions options;
  options.max_queue = 0;
  EXPECT_EQ(kind_of([&] { Rig rig(options); }), ErrorKind::kUsage);
  options.max_queue = 1;
  options.max_sequences = 0;
  EXPECT_EQ(kind_of([&] { Rig rig(options); }), ErrorKind::kUsage);
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
