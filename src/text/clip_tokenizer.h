// CLIP's tokenizer: text to the ids its text tower takes. Lower case, NFC, words by the published pattern, byte-level
// BPE with "</w>" at word ends. Equal to transformers' CLIPTokenizer on any text. Other byte-level tokenizers share
// text/byte_pair_encoding.h and text/unicode.h, not this class.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/byte_pair_encoding.h"

namespace pajamas {

/// Immutable after construction; shareable between threads.
class ClipTokenizer {
 public:
  static constexpr const char* kStartOfText = "<|startoftext|>";
  static constexpr const char* kEndOfText = "<|endoftext|>";

  /// The same path twice is a tokenizer.json, which holds both (see byte_pair_encoding.h).
  /// Throws Error{kBadInput} when a file is missing or damaged, or the vocabulary lacks the two special tokens.
  ClipTokenizer(const std::filesystem::path& vocab_json, const std::filesystem::path& merges_txt);

  /// Start token, the text's tokens, end token: at most `max_tokens` (2 or more, else Error{kUsage}), the text cut off
  /// where it is longer, the end token always there. `text` is UTF-8; bytes that are not become U+FFFD.
  std::vector<std::int64_t> encode(std::string_view text, std::int64_t max_tokens) const;
  /// The same filled up with `pad_token_id` to exactly `max_tokens`.
  std::vector<std::int64_t> encode_padded(std::string_view text, std::int64_t max_tokens,
                                          std::int64_t pad_token_id) const;

  std::int64_t vocab_size() const { return encoding_.vocab_size(); }
  std::int64_t start_of_text_id() const { return start_of_text_id_; }
  std::int64_t end_of_text_id() const { return end_of_text_id_; }
  std::optional<std::int64_t> find_token(std::string_view token) const { return encoding_.find_token(token); }

 private:
  /// Appends the ids of a text without special tokens; stops once there are `max_ids` or more.
  void encode_plain(std::string_view text, std::size_t max_ids, std::vector<std::int64_t>& ids) const;

  BytePairEncoding encoding_;
  std::int64_t start_of_text_id_ = 0;
  std::int64_t end_of_text_id_ = 0;
};

}  // namespace pajamas
