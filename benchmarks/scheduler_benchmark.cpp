// What scheduling costs a step of a language model, with an engine that costs nothing: decode of 1 and 64 sequences in
// the middle of their answers. `plan`: scheduler and inputs of the session alone; `worker`: the whole of a step, with
// drawing from a small vocabulary, text and callbacks. Goals: 20 us for one sequence, 200 us for 64.
#include <benchmark/benchmark.h>

#include <atomic>
#include <memory>
#include <vector>

#include "support/fake_language_engine.h"
#include "support/fake_language_text.h"
#include "tasks/generation/generation_runner.h"

namespace pajamas {
namespace {

constexpr std::int64_t kBlockSize = 32;
constexpr std::int64_t kPromptLength = 1024;

test::FakeLanguageOptions free_engine() {
  test::FakeLanguageOptions options;
  options.block_size_tokens = kBlockSize;
  options.is_free = true;
  return options;
}

void plan(benchmark::State& state) {
  const auto num_sequences = static_cast<std::uint64_t>(state.range(0));
  const std::int64_t num_blocks = 1 << 17;
  const auto engine = std::make_shared<test::FakeLanguageEngine>(free_engine());
  BlockPool pool(num_blocks, kBlockSize);
  Scheduler scheduler({64, 8192}, pool);
  StepRunner runner(engine, engine->new_kv_cache(num_blocks), engine->options().vocab_size);
  std::vector<std::int32_t> prompt(kPromptLength, 5);
  for (std::uint64_t i = 0; i < num_sequences; ++i) {
    prompt[0] = static_cast<std::int32_t>(i % 64);
    scheduler.add({i, 0}, prompt, true);
  }
  const auto step = [&] {
    const StepPlan& plan = scheduler.plan_step();
    runner.run(plan);
    scheduler.complete_step();
    for (const StepItem& item : plan.items) {
      if (item.has_logits) scheduler.append_token(item.key, 7);
    }
  };
  for (int i = 0; i < 20; ++i) step();  // the prompts
  for (auto _ : state) step();
}
// The number of steps is fixed, so that the contexts are of one length in every run.
BENCHMARK(plan)->Arg(1)->Arg(64)->Iterations(2000)->Unit(benchmark::kMicrosecond);

void worker(benchmark::State& state) {
  const int num_sequences = static_cast<int>(state.range(0));
  constexpr std::int64_t kNumTokens = 1000;
  for (auto _ : state) {
    GenerationFacts facts;
    facts.vocab_size = test::FakeText::kVocabSize;
    facts.context_length = 4096;
    facts.defaults.is_greedy = true;
    GeneratorOptions options;
    options.max_step_tokens = 8192;
    options.kv_cache_bytes = std::size_t{1} << 27;
    GenerationRunner runner(facts, std::make_shared<test::FakeLanguageEngine>(free_engine()),
                            std::make_shared<test::FakeText>(), options);
    std::atomic<int> num_done{0}, num_begun{0};
    std::atomic<std::int64_t> begin_ns{0}, end_ns{0};
    const auto now_ns = [] { return std::chrono::steady_clock::now().time_since_epoch().count(); };
    for (int i = 0; i < num_sequences; ++i) {
      GenerationRequest request;
      request.prompt_tokens.assign(kPromptLength, 5);
      request.prompt_tokens[0] = i % 64;
      request.max_tokens = kNumTokens;
      request.is_stop_token_ignored = true;
      runner.submit(
          request,
          [&, is_first = true](const GenerationChunk&) mutable {
            if (std::exchange(is_first, false) && ++num_begun == num_sequences) begin_ns = now_ns();
          },
          [&](const GenerationResult&) {
            if (num_done == 0) end_ns = now_ns();
            ++num_done;
          });
    }
    while (num_done < num_sequences) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    // From the last one's first token to the first one's end all decode together, but for the steps between arrivals.
    const double steps = static_cast<double>(kNumTokens - 1 - 8192 / kPromptLength);
    state.SetIterationTime(static_cast<double>(end_ns - begin_ns) * 1e-9 / steps);
  }
}
BENCHMARK(worker)->Arg(1)->Arg(64)->UseManualTime()->Iterations(5)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace pajamas

BENCHMARK_MAIN();
