// The vocabulary of a CTC checkpoint: which text each column of the logits stands for, from the files of transformers'
// Wav2Vec2CTCTokenizer. It only decodes, so it needs no tokenizer.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/json_reader.h"

namespace pajamas {

struct CtcVocabulary {
  std::vector<std::string> tokens;  ///< As CtcFacts has them.
  std::int64_t blank_id = 0;
  std::optional<std::int64_t> word_delimiter_id;
};

/// Reads vocab.json, and tokenizer_config.json, special_tokens_map.json and added_tokens.json where they are there.
/// `config` is the folder's config.json. Throws Error{kBadInput} when vocab.json is missing, gives an id twice or one
/// that the model has not, or has no padding token, which is the blank; Error{kUnsupported} for another tokenizer.
CtcVocabulary read_ctc_vocabulary(const std::filesystem::path& folder, const JsonReader& config,
                                  std::int64_t vocab_size);

}  // namespace pajamas
