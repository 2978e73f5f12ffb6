// The generator over a fake engine and a fake text: every answer must be the one that a model without cache, batch and
// neighbours gives. Faults of requests, engines, callbacks and callers: generation_faults_test.cpp.
#include "tasks/generation/generation_runner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <random>
#include <set>
#include <thread>

#include "generation_rig.h"

namespace pajamas {
namespace {

using test::FakeLanguageOptions;
using test::FakeText;
using test::ids_of;
using test::kind_of;
using test::random_prompt;
using test::request_of;
using test::Rig;
using test::RigOptions;
using test::seeded;
using test::text_of;
using test::Tokens;
using testing::HasSubstr;

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

}  // namespace
}  // namespace pajamas
