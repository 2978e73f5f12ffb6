// Text of ids that come one at a time. See text/tokenizer.h. Bytes that begin a character wait for its end; what can
// no longer become one is U+FFFD at once, so that the text so far never depends on what comes.
#include "text/tokenizer/state.h"
#include "text/tokenizer/utf8.h"

namespace pajamas {

StreamingDetokenizer::StreamingDetokenizer(Tokenizer tokenizer, DecodeOptions options)
    : tokenizer_(std::move(tokenizer)), options_(options), num_to_strip_(tokenizer_.state_->decoder.num_to_strip()) {}

std::string StreamingDetokenizer::push(std::int32_t id) {
  const Tokenizer::State& state = *tokenizer_.state_;
  const std::size_t index = state.index_of(id);
  if (options_.skip_special && state.is_special[index]) return {};
  if (state.pieces[index].empty()) return {};
  if (is_first_token_) {
    pending_ += state.decoder.decode(state.pieces[index], true);
    is_first_token_ = false;
  } else {
    pending_ += state.bytes[index];
  }
  return take(false);
}

std::string StreamingDetokenizer::finish() {
  std::string text = take(true);
  is_first_token_ = true;
  num_to_strip_ = tokenizer_.state_->decoder.num_to_strip();
  return text;
}

std::string StreamingDetokenizer::take(bool is_end) {
  const std::size_t num_waiting = is_end ? 0 : unfinished_utf8_length(pending_);
  const std::size_t num_certain = pending_.size() - num_waiting;
  std::string text;
  append_as_utf8(text, std::string_view(pending_).substr(0, num_certain));
  pending_.erase(0, num_certain);
  const std::string& strip = tokenizer_.state_->decoder.strip_character();
  while (num_to_strip_ > 0 && !text.empty()) {
    if (text.starts_with(strip)) {
      text.erase(0, strip.size());
      --num_to_strip_;
    } else {
      num_to_strip_ = 0;
    }
  }
  return text;
}

}  // namespace pajamas
