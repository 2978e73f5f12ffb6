// See answer.h.
#include "tasks/generation/answer.h"

#include <algorithm>
#include <utility>

namespace pajamas {

Answer::Answer(const AnswerOptions& options, std::unique_ptr<TextStream> stream,
               const std::optional<TokenGrammar>& grammar, std::span<const std::int32_t> prompt)
    : max_tokens_(options.max_tokens),
      is_stop_token_ignored_(options.is_stop_token_ignored),
      sampler_(options.sampling, options.vocab_size),
      stop_(options.stop),
      stream_(std::move(stream)) {
  sampler_.accept_prompt(prompt);
  if (grammar) {
    grammar_.emplace(*grammar);
    mask_.resize((static_cast<std::size_t>(options.vocab_size) + 31) / 32);
  }
}

void Answer::prepare_mask() {
  if (!grammar_ || is_mask_ready_ || is_ended_) return;
  grammar_->fill_mask(mask_);
  is_mask_ready_ = true;
}

void Answer::draw(std::span<const float> logits, SamplerScratch& scratch) {
  prepare_mask();
  // A model without stop tokens cannot say that a complete text is at its end.
  if (grammar_ && grammar_->is_complete() &&
      std::all_of(mask_.begin(), mask_.end(), [](std::uint32_t word) { return word == 0; })) {
    end(FinishReason::kStop);
    return;
  }
  SampledToken drawn = sampler_.sample(logits, scratch, mask_);
  GeneratedToken token;
  token.token_id = drawn.token_id;
  token.logprob = drawn.logprob.value_or(0.0F);
  token.top = std::move(drawn.top_logprobs);
  result_.tokens.push_back(std::move(token));
  sampler_.accept(drawn.token_id);
  if (grammar_) {
    grammar_->accept(drawn.token_id);
    is_mask_ready_ = false;
  }
  if (!is_stop_token_ignored_ && (stop_.is_stop_token(drawn.token_id) || (grammar_ && grammar_->is_ended()))) {
    end(FinishReason::kStop);
    return;
  }
  take_text(stream_->push(drawn.token_id));
  if (stop_.is_stopped()) {
    end(FinishReason::kStop);
  } else if (num_tokens() >= max_tokens_) {
    end(FinishReason::kLength);
  }
}

void Answer::take_text(const std::string& piece) {
  if (!piece.empty() && !stop_.is_stopped()) result_.text += stop_.feed(piece).text;
}

void Answer::end(FinishReason reason) {
  if (is_ended_) return;
  if (!stop_.is_stopped()) {
    take_text(stream_->finish());
    // What the last bytes complete may itself be a stop text.
    if (!stop_.is_stopped()) result_.text += stop_.finish();
  }
  result_.finish = reason;
  is_ended_ = true;
}

GenerationChunk Answer::take_chunk(int answer_index) {
  GenerationChunk chunk;
  chunk.answer_index = answer_index;
  chunk.text = result_.text.substr(num_taken_bytes_);
  chunk.tokens.assign(result_.tokens.begin() + static_cast<std::ptrdiff_t>(num_taken_tokens_), result_.tokens.end());
  num_taken_bytes_ = result_.text.size();
  num_taken_tokens_ = result_.tokens.size();
  if (is_ended_) chunk.finish = result_.finish;
  is_delivered_ = is_ended_;
  return chunk;
}

}  // namespace pajamas
