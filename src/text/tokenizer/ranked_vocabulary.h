// Byte-level BPE from a list of tokens alone: the vocabularies of GPT-2's kind whose ids are in the order of their
// merges (tiktoken files, whisper.cpp's models, CTranslate2's vocabulary files).
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "text/tokenizer.h"

namespace pajamas {

/// `tokens`: the bytes of each text token by id; an empty one is a gap. Every pair that joins to a token may be merged,
/// that of the lowest id first. `special`: texts and ids of further tokens, which are looked for in a text as they
/// stand. `where` names the file. Throws Error{kBadInput} for ids that contradict each other.
Tokenizer tokenizer_of_ranked_tokens(const std::vector<std::string>& tokens,
                                     const std::vector<std::pair<std::string, std::int64_t>>& special,
                                     const std::string& where);

/// tiktoken's files: one line a token, its bytes in base64 and its rank. Throws Error{kBadInput} naming the line.
std::vector<std::string> parse_tiktoken(const std::string& text, const std::string& where);

/// The bytes that a token in GPT-2's printable alphabet stands for ("Ġthe" is " the"). Characters outside the alphabet
/// stand for themselves.
std::string bytes_of_printable(const std::string& token);

}  // namespace pajamas
