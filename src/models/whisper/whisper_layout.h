// The published layout of Whisper's vocabularies: which id each special token has, and which code each language token
// stands for, when a checkpoint says no more than how many tokens there are.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "bundle/transcription_facts.h"

namespace pajamas {

/// Codes in the order of their tokens. Models of 51,865 tokens have the first 99, large-v3 has all 100.
const std::vector<std::string>& whisper_language_codes();

/// Ids by the size of the vocabulary: 51,864 (English only), 51,865 (99 languages), 51,866 (100 languages).
struct WhisperLayout {
  WhisperTokens tokens;
  std::vector<WhisperLanguage> languages;  ///< Also those that the vocabulary of an English model has.
  bool is_multilingual = false;
};
/// Throws Error{kUnsupported} for another size; `where` names the file.
WhisperLayout published_whisper_layout(std::int64_t vocab_size, const std::string& where);

/// The special tokens as texts with their ids, timestamps included: what joins a vocabulary of text tokens.
std::vector<std::pair<std::string, std::int64_t>> whisper_special_tokens(const WhisperLayout& layout,
                                                                         std::int64_t vocab_size);

}  // namespace pajamas
