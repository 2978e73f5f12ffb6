// The files that a tokenizer is read from, each to a definition. GGUF has a header of its own (gguf_vocabulary.h).
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "base/json_reader.h"
#include "text/tokenizer/definition.h"

namespace pajamas {

/// tokenizer.json. Throws Error{kBadInput} for a damaged one, Error{kUnsupported} for a model that is not known.
TokenizerDefinition read_tokenizer_json(std::string_view text, const std::string& where);
/// tokenizer.model: the protocol buffer of SentencePiece.
TokenizerDefinition read_sentencepiece_model(std::string_view bytes, const std::string& where);
/// The form that bundles carry, see docs/language-tokenizers.md.
TokenizerDefinition read_bundle_form(std::string_view bytes, const std::string& where);
bool is_bundle_form(std::string_view bytes);
std::string write_bundle_form(const TokenizerDefinition& definition);

/// Takes from tokenizer_config.json and special_tokens_map.json in `directory`, where they are, which tokens begin,
/// end and pad a text.
void read_special_tokens(const std::filesystem::path& directory, TokenizerDefinition& definition);
/// What tokenizer_config.json in `directory` says of `key` (add_bos_token, …); nothing when it does not.
std::optional<bool> read_config_flag(const std::filesystem::path& directory, const char* key);

}  // namespace pajamas
