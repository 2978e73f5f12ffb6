// The tokenizer of a Whisper checkpoint, from whatever the container has: tokenizer.json, a list of tokens, or OpenAI's
// .tiktoken files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "models/model_definition.h"
#include "text/tokenizer.h"

namespace pajamas {

/// From text tokens by id (bytes) and the special tokens of the published layout. Throws Error{kUnsupported} when the
/// vocabulary has no published size, Error{kBadInput} when there are too few text tokens.
Tokenizer whisper_tokenizer_of(std::vector<std::string> text_tokens, std::int64_t vocab_size, const std::string& where);

/// The user's (hints.tokenizer: whatever Tokenizer::read takes, or a .tiktoken file), else what lies in `folder`:
/// tokenizer.json, CTranslate2's vocabulary.json or vocabulary.txt, OpenAI's multilingual.tiktoken or gpt2.tiktoken by
/// the size of the vocabulary. Nothing when there is none. Throws as Tokenizer::read.
std::optional<Tokenizer> find_whisper_tokenizer(const std::filesystem::path& folder, std::int64_t vocab_size,
                                                const ImportHints& hints);

}  // namespace pajamas
