// Answer: one answer in the making, from logits to text. Joins the sampler, the grammar, the detokenizer and the stop
// texts; knows no request, no cache and no thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "pajamas/generation.h"
#include "tasks/generation/language_text.h"
#include "text/sampler.h"
#include "text/stop_matcher.h"
#include "text/token_grammar.h"

namespace pajamas {

struct AnswerOptions {
  SamplingOptions sampling;  ///< With the answer's own seed.
  StopMatcher::Options stop;
  bool is_stop_token_ignored = false;
  std::int64_t max_tokens = 1;  ///< 1 or more.
  std::int32_t vocab_size = 0;
};

/// One thread at a time; different answers on different threads.
class Answer {
 public:
  /// Throws Error{kUsage} for options out of range. `grammar` empty: none.
  Answer(const AnswerOptions& options, std::unique_ptr<TextStream> stream, const std::optional<TokenGrammar>& grammar,
         std::span<const std::int32_t> prompt);

  bool has_grammar() const { return grammar_.has_value(); }
  /// Makes the mask of the next token ahead, which depends on the tokens so far only.
  void prepare_mask();
  /// Draws the next token. `logits`: float32 [vocab_size]. Throws Error{kBadInput} for logits that are no numbers, or
  /// where the grammar leaves no token. Not after the end.
  void draw(std::span<const float> logits, SamplerScratch& scratch);
  /// The token drawn last.
  std::int32_t last_token() const { return result_.tokens.back().token_id; }

  /// Ends the answer, unless it has ended; text that was held back becomes part of it.
  void end(FinishReason reason);
  bool is_ended() const { return is_ended_; }
  /// The last chunk was taken.
  bool is_delivered() const { return is_delivered_; }
  /// What is new since the last call.
  GenerationChunk take_chunk(int answer_index);
  /// The whole answer.
  GenerationAnswer take_result() { return std::move(result_); }
  std::int64_t num_tokens() const { return static_cast<std::int64_t>(result_.tokens.size()); }

 private:
  void take_text(const std::string& piece);

  std::int64_t max_tokens_;
  bool is_stop_token_ignored_;
  Sampler sampler_;
  StopMatcher stop_;
  std::unique_ptr<TextStream> stream_;
  std::optional<GrammarState> grammar_;
  std::vector<std::uint32_t> mask_;
  bool is_mask_ready_ = false;
  GenerationAnswer result_;
  std::size_t num_taken_tokens_ = 0, num_taken_bytes_ = 0;
  bool is_ended_ = false;
  bool is_delivered_ = false;
};

}  // namespace pajamas
