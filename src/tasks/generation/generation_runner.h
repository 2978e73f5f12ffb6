// GenerationRunner: the generation task over any engine and text; what Generator is made of, without the bundle. One
// worker thread owns the session and everything of the requests that run. See docs/language-scheduler.md.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "bundle/task_facts.h"
#include "engine/target.h"
#include "pajamas/error.h"
#include "pajamas/generation.h"
#include "tasks/generation/answer.h"
#include "tasks/generation/block_pool.h"
#include "tasks/generation/language_text.h"
#include "tasks/generation/scheduler.h"
#include "tasks/generation/step_runner.h"
#include "tasks/generation/thread_team.h"

namespace pajamas {

/// Semantics and errors of the public functions: pajamas/generation.h. Any thread.
class GenerationRunner {
 public:
  GenerationRunner(const GenerationFacts& facts, std::shared_ptr<const Engine> engine,
                   std::shared_ptr<const LanguageText> text, const GeneratorOptions& options);
  ~GenerationRunner();
  GenerationRunner(const GenerationRunner&) = delete;
  GenerationRunner& operator=(const GenerationRunner&) = delete;

  RequestId submit(GenerationRequest request, Generator::OnChunk on_chunk, Generator::OnDone on_done);
  void cancel(RequestId request);
  GenerationResult generate(GenerationRequest request, const Generator::OnChunk& on_chunk);
  GeneratorStatistics statistics() const;
  const SamplingOptions& default_sampling() const { return default_sampling_; }
  const GenerationFacts& facts() const { return facts_; }
  const LanguageText& text() const { return *text_; }

 private:
  using Clock = std::chrono::steady_clock;
  /// The end of a request: its result, and what generate() throws instead of returning it.
  using OnEnd = std::function<void(GenerationResult&&, std::exception_ptr&&)>;
  struct Request;
  /// One token to draw: whose, from which row of the logits.
  struct Draw {
    SequenceKey key;
    Answer* answer = nullptr;
    std::size_t row = 0;
    std::exception_ptr error;
  };

  RequestId submit_request(GenerationRequest request, Generator::OnChunk on_chunk, OnEnd on_end);
  std::unique_ptr<Request> prepare(GenerationRequest&& request) const;
  std::vector<std::int32_t> prompt_tokens(const GenerationRequest& request) const;
  std::int64_t answer_limit(const GenerationRequest& request, std::int64_t num_prompt_tokens) const;

  // The rest runs on the worker.
  void work();
  bool take_inbox();
  void end_overdue();
  void run_step();
  std::vector<Draw> list_draws(const StepPlan& plan);
  void draw_all(std::vector<Draw>& draws);
  void deliver(const Draw& draw);
  void deliver_chunk(Request& request, int answer_index);
  void drop(RequestId id, FinishReason reason, const std::exception_ptr& error, bool is_withdrawn = false);
  void finish_request(Request& request);
  void note_started(Request& request);
  void update_statistics();

  GenerationFacts facts_;
  GeneratorOptions options_;
  SamplingOptions default_sampling_;
  std::shared_ptr<const Engine> engine_;
  std::shared_ptr<const LanguageText> text_;
  std::shared_ptr<KvCache> cache_;
  BlockPool pool_;
  Scheduler scheduler_;
  StepRunner step_runner_;
  std::map<RequestId, std::unique_ptr<Request>> requests_;
  std::vector<SamplerScratch> scratch_;  // of each thread of the team
  std::int64_t num_generated_tokens_ = 0;
  ThreadTeam team_;

  mutable std::mutex mutex_;  // of all below
  std::condition_variable has_news_;
  std::vector<std::unique_ptr<Request>> new_requests_;
  std::vector<RequestId> cancelled_;
  bool is_stopping_ = false;
  std::int64_t num_waiting_ = 0;
  RequestId next_id_ = 1;
  GeneratorStatistics statistics_;

  std::thread worker_;  // last: begins when all else is there
};

}  // namespace pajamas
