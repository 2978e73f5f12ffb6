// Generation: text from language models, many requests at once over one engine.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "pajamas/error.h"

namespace pajamas {

/// How the next token is drawn. Order of the steps, formulas and sources: docs/language-sampling.md.
struct SamplingOptions {
  double temperature = 1.0;         ///< 0: greedy (the most probable token, ties by lowest id); at most 100.
  std::int64_t top_k = 0;           ///< 0: all.
  double top_p = 1.0;               ///< (0, 1]
  double min_p = 0.0;               ///< [0, 1): least probability relative to the best token's.
  double typical_p = 1.0;           ///< (0, 1]
  double repetition_penalty = 1.0;  ///< > 0; over prompt and answer.
  double frequency_penalty = 0.0;   ///< -2 .. 2; over the answer, times the count.
  double presence_penalty = 0.0;    ///< -2 .. 2; over the answer.
  std::int64_t penalty_window = 0;  ///< Last tokens that count for the penalties; 0: all.
  std::vector<std::pair<std::int32_t, float>> logit_bias;  ///< Token id, added to its logit; -inf bans it.
  std::uint64_t seed = 0;                                  ///< Same seed, options, prompt and logits: same text.
  std::int64_t num_logprobs = -1;  ///< -1: none; 0: of the chosen token; N: of the N best tokens too (at most 100).
};

/// One turn of a conversation.
struct ChatMessage {
  std::string role;     ///< "system", "user", "assistant", "tool"
  std::string content;  ///< UTF-8
  /// The whole message as a JSON object where it says more than role and content (tool calls, reasoning, parts); wins
  /// over the two.
  std::string json = {};
};

/// What the answer must look like.
struct OutputGrammar {
  enum class Kind { kNone, kJsonSchema, kAnyJson, kRegex, kEbnf } kind = Kind::kNone;
  std::string text;  ///< The schema (JSON), expression or grammar.
};

/// All texts are UTF-8; what is not is refused.
struct GenerationRequest {
  /// Exactly one of: messages (rendered by the bundle's chat template), a prompt as it is (with the tokenizer's own
  /// beginning token), tokens, taken exactly. Special tokens written out in messages and prompt are read as such.
  std::vector<ChatMessage> messages;
  std::string tools_json;               ///< JSON array of tool descriptions for the template; empty: none.
  std::string template_variables_json;  ///< JSON object of more template variables ("enable_thinking"); empty: none.
  std::string prompt;
  std::vector<std::int32_t> prompt_tokens;

  std::int64_t max_tokens = 0;               ///< Of the answer; 0: as many as context and cache hold.
  std::optional<SamplingOptions> sampling;   ///< Absent: the bundle's own (Generator::default_sampling).
  std::vector<std::string> stop;             ///< Texts that end the answer; they are not part of it.
  std::vector<std::int32_t> stop_token_ids;  ///< Beside the bundle's own.
  bool is_stop_token_ignored = false;        ///< Go on to max_tokens whatever comes (measurements).
  OutputGrammar grammar;
  int num_answers = 1;  ///< Answers drawn for the one prompt, seeds seed, seed + 1, ...; 1..64
  bool is_prefix_cache_used = true;
  std::chrono::milliseconds deadline{0};  ///< From submission; 0: none. What is there by then is the answer.
};

enum class FinishReason {
  kStop,    ///< Stop token, stop text, or the grammar is complete.
  kLength,  ///< max_tokens or the context length.
  kDeadline,
  kCancelled,
  kError,  ///< `error` says what.
};
const char* to_string(FinishReason reason) noexcept;  ///< "stop", "length", "deadline", "cancelled", "error"

struct TokenLogprob {
  std::int32_t token_id = 0;
  float logprob = 0;
};

/// One generated token.
struct GeneratedToken {
  std::int32_t token_id = 0;
  float logprob = 0;  ///< Natural logarithm, of the distribution before sampling options; 0 unless asked for.
  std::vector<TokenLogprob> top;
};

/// What is new of one answer. Text comes in whole UTF-8 characters and is never taken back.
struct GenerationChunk {
  int answer_index = 0;
  std::string text;
  std::vector<GeneratedToken> tokens;
  std::optional<FinishReason> finish;  ///< Set on the last chunk of the answer.
};

struct GenerationAnswer {
  std::string text;
  std::vector<GeneratedToken> tokens;  ///< All that were drawn: a stop token, which adds no text, is the last of them.
  FinishReason finish = FinishReason::kStop;
};

struct GenerationResult {
  std::vector<GenerationAnswer> answers;
  std::int64_t num_prompt_tokens = 0;
  std::int64_t num_cached_tokens = 0;           ///< Of the prompt, found in the prefix cache.
  std::string error;                            ///< With kError; with kCancelled what on_chunk threw.
  ErrorKind error_kind = ErrorKind::kInternal;  ///< Of `error`.
  std::chrono::nanoseconds queue_time{0};
  std::chrono::nanoseconds time_to_first_token{0};  ///< From submission.
  std::chrono::nanoseconds total_time{0};
};

struct GeneratorOptions {
  int num_threads = 0;                 ///< CPU threads of the engine; 0: all.
  std::int64_t max_sequences = 64;     ///< Sequences computed in one step.
  std::int64_t max_step_tokens = 512;  ///< Tokens computed in one step; longer prompts are cut into chunks.
  std::int64_t max_queue = 1024;       ///< Requests that wait for their first step; more are refused.
  /// Most memory of the cache, taken as it fills; 0: for 4 sequences of the context length, within the free memory
  /// (docs/language-scheduler.md).
  std::size_t kv_cache_bytes = 0;
  bool has_prefix_cache = true;
  bool is_exact_fp32 = false;         ///< float32 arithmetic and cache: answers do not depend on their neighbours.
  std::string kv_precision = "auto";  ///< "auto", "fp32", "fp16", "uint8"
};

/// Counts and times since the start, for reports.
struct GeneratorStatistics {
  std::int64_t num_waiting = 0, num_running = 0;
  std::int64_t num_finished = 0, num_preemptions = 0;
  std::int64_t num_prompt_tokens = 0, num_cached_tokens = 0, num_generated_tokens = 0;
  std::int64_t num_blocks = 0, num_free_blocks = 0;
  std::int64_t block_size_tokens = 0;
  std::size_t block_bytes = 0;
};

using RequestId = std::uint64_t;

/// A loaded language model that answers many requests at once. All functions may be called from any thread.
class Generator {
 public:
  /// Throws Error: kBadInput (damaged, or of another task), kDeviceMissing (also for a cache larger than the free
  /// memory, with both sizes), kUnsupported, kUsage for options out of range.
  explicit Generator(const std::filesystem::path& bundle, const GeneratorOptions& options = {});
  /// Cancels what is running and waits for it.
  ~Generator();
  Generator(Generator&&) noexcept;
  Generator& operator=(Generator&&) noexcept;

  /// Called on the generator's own thread, in order, for each request; must not block for long, and must not call
  /// generate() (refused) or the generator's destructor. An exception from it cancels the request.
  using OnChunk = std::function<void(const GenerationChunk&)>;
  using OnDone = std::function<void(const GenerationResult&)>;
  /// Queues a request; either callback may be empty. Throws Error{kUsage} for a malformed one, Error{kBadInput} for
  /// text that is not UTF-8, a prompt longer than the context or a cache too small for prompt and max_tokens,
  /// Error{kUnsupported} for messages without a template, Error{kBusy} when the queue is full. `on_done` is called
  /// exactly once unless submit throws.
  RequestId submit(GenerationRequest request, OnChunk on_chunk, OnDone on_done);
  /// The answer so far is delivered with kCancelled. No-op for a request that is done.
  void cancel(RequestId request);
  /// submit and wait. A request that ends in kError throws its Error, and what `on_chunk` throws comes through.
  GenerationResult generate(GenerationRequest request, const OnChunk& on_chunk = {});

  GeneratorStatistics statistics() const;
  /// What the model's publisher recommends; the start for requests that set some options only.
  SamplingOptions default_sampling() const;
  std::int64_t context_length() const;
  std::int64_t vocab_size() const;
  bool has_chat_template() const;
  /// The text that the bundle's template makes of the messages.
  std::string render_chat(const GenerationRequest& request) const;
  /// Ids of a text; `has_special_tokens` adds the beginning token and reads special tokens in the text.
  std::vector<std::int32_t> tokenize(const std::string& text, bool has_special_tokens) const;
  std::string detokenize(const std::vector<std::int32_t>& tokens) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pajamas
