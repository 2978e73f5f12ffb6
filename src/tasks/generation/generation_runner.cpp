// The worker of GenerationRunner, and its public side. What a request must be: request_checks.cpp.
#include "tasks/generation/generation_runner.h"

#include <algorithm>
#include <future>
#include <limits>
#include <string>
#include <utility>

#include "base/log.h"
#include "tasks/generation/cache_size.h"
#include "tasks/generation/request_checks.h"

namespace pajamas {
namespace {

/// Logits to draw from, above which one step's draws are worth sharing between threads: about 1 ms of one.
constexpr std::size_t kLogitsWorthThreads = std::size_t{1} << 20;
constexpr std::size_t kMaxHelpers = 7;

std::size_t num_helpers(int num_threads) {
  std::size_t threads = std::max(1U, std::thread::hardware_concurrency());
  if (num_threads > 0) threads = std::min(threads, static_cast<std::size_t>(num_threads));
  return std::min(threads - 1, kMaxHelpers);
}

std::int64_t checked_num_blocks(const Engine& engine, const GenerationFacts& facts, const GeneratorOptions& options) {
  if (options.max_queue < 1) {
    throw Error(ErrorKind::kUsage, "max_queue is " + std::to_string(options.max_queue), {}, "give at least 1");
  }
  const KvCacheLayout* layout = engine.kv_cache_layout();
  if (layout == nullptr) {
    throw Error(ErrorKind::kBadInput, "the engine has no key/value cache, so it is no language model's", {},
                "build the bundle again from a checkpoint or GGUF file");
  }
  return choose_num_blocks(*layout, facts.context_length, options.kv_cache_bytes, engine.free_cache_bytes());
}

/// The error as it is where it is ours.
std::string text_of(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& known) {
    return known.what();
  } catch (...) {
    return "an exception of unknown type";
  }
}

ErrorKind kind_of(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const Error& known) {
    return known.kind();
  } catch (...) {
    return ErrorKind::kInternal;
  }
}

/// An exception object of one owner: generate() throws it in its own thread, while others fail for the same reason.
std::exception_ptr copy_of(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const Error& known) {
    return std::make_exception_ptr(Error(known.kind(), known.message(), known.where(), known.remedy()));
  } catch (...) {
    return std::make_exception_ptr(Error(ErrorKind::kInternal, text_of(error)));
  }
}

}  // namespace

struct GenerationRunner::Request {
  RequestId id = 0;
  std::vector<std::int32_t> prompt;
  std::vector<std::unique_ptr<Answer>> answers;
  std::size_t num_open = 0;  ///< Answers whose last chunk is not delivered.
  bool is_prefix_cache_used = true;
  bool is_forked = false;   ///< Each answer has a sequence of its own.
  bool is_started = false;  ///< Part of a step at least once.
  bool is_muted = false;    ///< on_chunk threw.
  Generator::OnChunk on_chunk;
  OnEnd on_end;
  std::exception_ptr error;
  Clock::time_point submitted, started, first_token;
  bool has_token = false;
  Clock::time_point deadline = Clock::time_point::max();
  GenerationResult result;
};

GenerationRunner::GenerationRunner(const GenerationFacts& facts, std::shared_ptr<const Engine> engine,
                                   std::shared_ptr<const LanguageText> text, const GeneratorOptions& options)
    : facts_(facts),
      options_(options),
      default_sampling_(sampling_of(facts.defaults)),
      engine_(std::move(engine)),
      text_(std::move(text)),
      cache_(engine_->new_kv_cache(checked_num_blocks(*engine_, facts, options))),
      pool_(cache_->num_blocks(), cache_->layout().block_size_tokens, options.has_prefix_cache),
      scheduler_({options.max_sequences, options.max_step_tokens}, pool_),
      step_runner_(engine_, cache_, facts.vocab_size),
      team_(num_helpers(options.num_threads)) {
  scratch_.resize(team_.num_threads());
  statistics_.num_blocks = statistics_.num_free_blocks = pool_.num_blocks();
  statistics_.block_size_tokens = pool_.block_size_tokens();
  statistics_.block_bytes = cache_->layout().block_bytes;
  worker_ = std::thread([this] { work(); });
}

GenerationRunner::~GenerationRunner() {
  {
    const std::lock_guard lock(mutex_);
    is_stopping_ = true;
  }
  has_news_.notify_all();
  worker_.join();
}

std::int64_t GenerationRunner::answer_limit(const GenerationRequest& request, std::int64_t num_prompt_tokens) const {
  const std::int64_t num_left = facts_.context_length - num_prompt_tokens;
  if (num_left < 1) {
    throw Error(ErrorKind::kBadInput,
                "the prompt has " + std::to_string(num_prompt_tokens) + " tokens, but the context holds " +
                    std::to_string(facts_.context_length) + ", the answer included",
                "prompt", "shorten it, or use a bundle built with a longer --context");
  }
  std::int64_t limit = request.max_tokens > 0 ? std::min(request.max_tokens, num_left) : num_left;
  if (scheduler_.fits(num_prompt_tokens + limit)) return limit;
  // The last token is drawn, but never kept.
  const std::int64_t num_cache_tokens = pool_.num_blocks() * pool_.block_size_tokens() + 1;
  if (request.max_tokens > 0 || num_cache_tokens <= num_prompt_tokens) {
    throw Error(ErrorKind::kBadInput,
                "prompt and answer may come to " + std::to_string(num_prompt_tokens + limit) +
                    " tokens, but the key/value cache holds " + std::to_string(num_cache_tokens - 1),
                "max_tokens", "ask for fewer tokens, or give the generator a larger kv_cache_bytes");
  }
  return num_cache_tokens - num_prompt_tokens;
}

std::vector<std::int32_t> GenerationRunner::prompt_tokens(const GenerationRequest& request) const {
  if (!request.messages.empty()) return text_->encode_chat(text_->render_chat(request));
  if (!request.prompt_tokens.empty()) return request.prompt_tokens;
  return text_->encode(request.prompt, true);
}

std::unique_ptr<GenerationRunner::Request> GenerationRunner::prepare(GenerationRequest&& request) const {
  check_request(request, facts_);
  auto prepared = std::make_unique<Request>();
  prepared->prompt = prompt_tokens(request);
  if (prepared->prompt.empty()) {
    throw Error(ErrorKind::kUsage, "the prompt is empty, and this model has no token that begins a text", "prompt",
                "give at least one character");
  }
  check_tokens(prepared->prompt, facts_.vocab_size, "the prompt");
  AnswerOptions options;
  options.sampling = request.sampling.value_or(default_sampling_);
  options.stop.stop_strings = std::move(request.stop);
  options.stop.stop_token_ids = std::move(request.stop_token_ids);
  for (const std::int64_t id : facts_.stop_token_ids) {
    options.stop.stop_token_ids.push_back(static_cast<std::int32_t>(id));
  }
  options.is_stop_token_ignored = request.is_stop_token_ignored;
  options.max_tokens = answer_limit(request, static_cast<std::int64_t>(prepared->prompt.size()));
  options.vocab_size = static_cast<std::int32_t>(facts_.vocab_size);
  std::optional<TokenGrammar> grammar;
  if (request.grammar.kind != OutputGrammar::Kind::kNone) grammar = text_->compile_grammar(request.grammar);
  for (int i = 0; i < request.num_answers; ++i) {
    prepared->answers.push_back(std::make_unique<Answer>(options, text_->new_stream(), grammar, prepared->prompt));
    ++options.sampling.seed;
  }
  prepared->num_open = prepared->answers.size();
  prepared->is_prefix_cache_used = request.is_prefix_cache_used;
  prepared->result.num_prompt_tokens = static_cast<std::int64_t>(prepared->prompt.size());
  prepared->result.answers.resize(prepared->answers.size());
  return prepared;
}

RequestId GenerationRunner::submit_request(GenerationRequest request, Generator::OnChunk on_chunk, OnEnd on_end) {
  const Clock::time_point submitted = Clock::now();
  const std::chrono::milliseconds deadline = request.deadline;
  const auto check_queue = [&] {
    if (num_waiting_ < options_.max_queue) return;
    throw Error(ErrorKind::kBusy, std::to_string(num_waiting_) + " requests are waiting already", {},
                "try again when some are done, or give the generator a larger max_queue");
  };
  {
    const std::lock_guard lock(mutex_);
    check_queue();  // before the work of preparing
  }
  std::unique_ptr<Request> prepared = prepare(std::move(request));
  prepared->submitted = submitted;
  // A deadline past the end of the clock is none.
  if (deadline.count() > 0 &&
      deadline < std::chrono::duration_cast<std::chrono::milliseconds>(Clock::time_point::max() - submitted)) {
    prepared->deadline = submitted + deadline;
  }
  prepared->on_chunk = std::move(on_chunk);
  prepared->on_end = std::move(on_end);
  RequestId id = 0;
  {
    const std::lock_guard lock(mutex_);
    check_queue();
    if (is_stopping_) {
      throw Error(ErrorKind::kCancelled, "the generator is being destroyed", {},
                  "submit nothing from its last callbacks");
    }
    id = prepared->id = next_id_++;
    new_requests_.push_back(std::move(prepared));
    ++num_waiting_;
  }
  has_news_.notify_one();
  return id;
}

RequestId GenerationRunner::submit(GenerationRequest request, Generator::OnChunk on_chunk, Generator::OnDone on_done) {
  return submit_request(std::move(request), std::move(on_chunk),
                        [on_done = std::move(on_done)](GenerationResult&& result, std::exception_ptr&&) {
                          if (on_done) on_done(result);
                        });
}

GenerationResult GenerationRunner::generate(GenerationRequest request, const Generator::OnChunk& on_chunk) {
  if (std::this_thread::get_id() == worker_.get_id()) {
    throw Error(ErrorKind::kUsage,
                "generate was called from a callback of the same generator, and would wait for itself", {},
                "call submit there");
  }
  struct Outcome {
    GenerationResult result;
    std::exception_ptr error;
  };
  const auto promise = std::make_shared<std::promise<Outcome>>();  // which outlives this call by a moment
  std::future<Outcome> future = promise->get_future();
  submit_request(std::move(request), on_chunk, [promise](GenerationResult&& result, std::exception_ptr&& error) {
    promise->set_value({std::move(result), std::move(error)});
  });
  Outcome outcome = future.get();
  if (outcome.error) std::rethrow_exception(outcome.error);
  return std::move(outcome.result);
}

void GenerationRunner::cancel(RequestId request) {
  {
    const std::lock_guard lock(mutex_);
    cancelled_.push_back(request);
  }
  has_news_.notify_one();
}

GeneratorStatistics GenerationRunner::statistics() const {
  const std::lock_guard lock(mutex_);
  GeneratorStatistics statistics = statistics_;
  statistics.num_waiting = num_waiting_;
  return statistics;
}

void GenerationRunner::work() {
  while (take_inbox()) {
    end_overdue();
    run_step();
    update_statistics();
  }
}

/// Waits for something to do, and takes what is new. False at the end.
bool GenerationRunner::take_inbox() {
  std::vector<std::unique_ptr<Request>> added;
  std::vector<RequestId> cancelled;
  bool is_stopping = false;
  {
    std::unique_lock lock(mutex_);
    has_news_.wait(
        lock, [this] { return !requests_.empty() || !new_requests_.empty() || !cancelled_.empty() || is_stopping_; });
    added.swap(new_requests_);
    cancelled.swap(cancelled_);
    is_stopping = is_stopping_;
  }
  for (std::unique_ptr<Request>& request : added) {
    scheduler_.add({request->id, 0}, request->prompt, request->is_prefix_cache_used);
    requests_.emplace(request->id, std::move(request));
  }
  for (const RequestId id : cancelled) drop(id, FinishReason::kCancelled, nullptr);
  if (!is_stopping) return true;
  while (!requests_.empty()) drop(requests_.begin()->first, FinishReason::kCancelled, nullptr);
  return false;
}

void GenerationRunner::end_overdue() {
  const Clock::time_point now = Clock::now();
  std::vector<RequestId> overdue;
  for (const auto& entry : requests_) {
    if (entry.second->deadline <= now) overdue.push_back(entry.first);
  }
  for (const RequestId id : overdue) drop(id, FinishReason::kDeadline, nullptr);
}

void GenerationRunner::note_started(Request& request) {
  if (std::exchange(request.is_started, true)) return;
  request.started = Clock::now();
  request.result.queue_time = request.started - request.submitted;
  request.result.num_cached_tokens = scheduler_.num_cached_tokens({request.id, 0});
  const std::lock_guard lock(mutex_);
  --num_waiting_;
  statistics_.num_prompt_tokens += request.result.num_prompt_tokens;
  statistics_.num_cached_tokens += request.result.num_cached_tokens;
}

std::vector<GenerationRunner::Draw> GenerationRunner::list_draws(const StepPlan& plan) {
  std::vector<Draw> draws;
  std::size_t row = 0;
  for (const StepItem& item : plan.items) {
    Request& request = *requests_.at(item.key.request);
    note_started(request);
    if (!item.has_logits) continue;
    if (request.is_forked || request.answers.size() == 1) {
      draws.push_back({item.key, request.answers[static_cast<std::size_t>(item.key.answer)].get(), row, {}});
    } else {
      // The prompt's end: all answers begin with a draw from the one row.
      for (std::size_t i = 0; i < request.answers.size(); ++i) {
        draws.push_back({{item.key.request, static_cast<int>(i)}, request.answers[i].get(), row, {}});
      }
    }
    ++row;
  }
  return draws;
}

void GenerationRunner::run_step() {
  const StepPlan& plan = scheduler_.plan_step();
  if (plan.items.empty()) return;
  std::vector<Draw> draws = list_draws(plan);
  std::vector<Draw*> masked;
  for (Draw& draw : draws) {
    if (draw.answer->has_grammar()) masked.push_back(&draw);
  }
  const std::function<void(std::size_t, std::size_t)> make_mask = [&](std::size_t item, std::size_t) {
    try {
      masked[item]->answer->prepare_mask();
    } catch (...) {
      masked[item]->error = std::current_exception();
    }
  };
  std::exception_ptr failure;
  team_.start(masked.size(), make_mask);
  try {
    step_runner_.run(plan);
  } catch (...) {
    failure = std::current_exception();
  }
  team_.wait();
  if (failure) {
    std::vector<RequestId> failed;
    for (const StepItem& item : plan.items) failed.push_back(item.key.request);
    scheduler_.abandon_step();
    log().warn("a step of {} sequences failed: {}", failed.size(), text_of(failure));
    for (const RequestId id : failed) drop(id, FinishReason::kError, failure);
    return;
  }
  scheduler_.complete_step();
  draw_all(draws);
  for (const Draw& draw : draws) {
    const auto found = requests_.find(draw.key.request);
    if (found == requests_.end() || draw.error) continue;
    Request& request = *found->second;
    if (request.is_forked || request.answers.size() == 1) continue;
    for (int i = 1; i < static_cast<int>(request.answers.size()); ++i) {
      scheduler_.fork({request.id, 0}, {request.id, i});
    }
    request.is_forked = true;
  }
  for (const Draw& draw : draws) deliver(draw);
}

void GenerationRunner::draw_all(std::vector<Draw>& draws) {
  const std::function<void(std::size_t, std::size_t)> draw_one = [&](std::size_t item, std::size_t thread) {
    Draw& draw = draws[item];
    if (draw.error) return;
    try {
      draw.answer->draw(step_runner_.logits(draw.row), scratch_[thread]);
    } catch (...) {
      draw.error = std::current_exception();
    }
  };
  const bool is_worth_threads =
      draws.size() > 1 && draws.size() * static_cast<std::size_t>(facts_.vocab_size) >= kLogitsWorthThreads;
  if (!is_worth_threads) {
    for (std::size_t i = 0; i < draws.size(); ++i) draw_one(i, team_.num_threads() - 1);
    return;
  }
  team_.start(draws.size(), draw_one);
  team_.wait();
}

/// What follows from a draw: the sequence grows or ends, and the user hears of it.
void GenerationRunner::deliver(const Draw& draw) {
  const auto found = requests_.find(draw.key.request);
  if (found == requests_.end()) return;  // ended by an answer beside this one
  Request& request = *found->second;
  if (draw.error) {
    // Whatever made the logits useless is in the blocks too.
    drop(request.id, FinishReason::kError, draw.error, true);
    return;
  }
  if (!std::exchange(request.has_token, true)) request.first_token = Clock::now();
  ++num_generated_tokens_;
  if (draw.answer->is_ended()) {
    scheduler_.finish(draw.key);
  } else {
    scheduler_.append_token(draw.key, draw.answer->last_token());
  }
  deliver_chunk(request, draw.key.answer);
  if (request.is_muted) {
    drop(request.id, FinishReason::kCancelled, nullptr);  // request.error is there already
    return;
  }
  if (draw.answer->is_ended() && --request.num_open == 0) finish_request(request);
}

void GenerationRunner::deliver_chunk(Request& request, int answer_index) {
  const GenerationChunk chunk = request.answers[static_cast<std::size_t>(answer_index)]->take_chunk(answer_index);
  if (!request.on_chunk || request.is_muted) return;
  try {
    request.on_chunk(chunk);
  } catch (...) {
    if (!request.error) request.error = std::current_exception();
    request.is_muted = true;
  }
}

/// Ends a request before its time; nothing where it has ended already.
void GenerationRunner::drop(RequestId id, FinishReason reason, const std::exception_ptr& error, bool is_withdrawn) {
  const auto found = requests_.find(id);
  if (found == requests_.end()) return;
  Request& request = *found->second;
  if (error) request.error = copy_of(error);
  for (int i = 0; i < static_cast<int>(request.answers.size()); ++i) {
    if (scheduler_.has({id, i})) scheduler_.finish({id, i}, is_withdrawn);
    Answer& answer = *request.answers[static_cast<std::size_t>(i)];
    if (answer.is_delivered()) continue;
    answer.end(reason);  // nothing where a draw of this step has just ended it
    deliver_chunk(request, i);
  }
  finish_request(request);
}

void GenerationRunner::finish_request(Request& request) {
  const Clock::time_point now = Clock::now();
  GenerationResult& result = request.result;
  for (std::size_t i = 0; i < request.answers.size(); ++i) result.answers[i] = request.answers[i]->take_result();
  if (request.error) {
    result.error = text_of(request.error);
    result.error_kind = kind_of(request.error);
  }
  if (!request.is_started) result.queue_time = now - request.submitted;
  if (request.has_token) result.time_to_first_token = request.first_token - request.submitted;
  result.total_time = now - request.submitted;
  auto node = requests_.extract(request.id);  // so that the callback finds it done
  {
    const std::lock_guard lock(mutex_);
    if (!request.is_started) --num_waiting_;
    ++statistics_.num_finished;
  }
  update_statistics();
  try {
    request.on_end(std::move(result), std::move(request.error));
  } catch (...) {
    log().error("request {}: its callback threw: {}", request.id, text_of(std::current_exception()));
  }
}

void GenerationRunner::update_statistics() {
  const std::lock_guard lock(mutex_);
  statistics_.num_running = scheduler_.num_running();
  statistics_.num_generated_tokens = num_generated_tokens_;
  statistics_.num_preemptions = scheduler_.num_preemptions();
  statistics_.num_free_blocks = pool_.num_available();
}

}  // namespace pajamas
