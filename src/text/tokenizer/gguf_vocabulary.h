// The vocabulary of a GGUF file (metadata tokenizer.ggml.*) as plain values, and the tokenizer it describes. GGUF names
// a pre-tokenizer by a word ("llama-bpe", "qwen2"); the pipelines behind the words are in gguf_vocabulary.cpp.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "text/tokenizer/definition.h"

namespace pajamas {

class Gguf;  // io/gguf.h

struct GgufVocabulary {
  /// Values of tokenizer.ggml.token_type.
  enum TokenType : std::int32_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

  std::string model;  ///< tokenizer.ggml.model: "gpt2", "llama", "gemma4", "bert", "t5".
  std::string pre;    ///< tokenizer.ggml.pre; empty where the file has none.
  TextPool tokens;
  std::vector<float> scores;              ///< Empty or one a token.
  std::vector<std::int32_t> token_types;  ///< Empty or one a token.
  TextPool merges;                        ///< "left right".
  std::string precompiled_charsmap;       ///< Bytes; "t5" only.
  std::optional<std::int64_t> bos_id, eos_id, unk_id, pad_id, sep_id, cls_id, mask_id;
  std::optional<bool> adds_bos, adds_eos, adds_sep, adds_space_prefix, removes_extra_whitespaces;
};

/// The vocabulary of a file. Throws Error{kBadInput} naming a key of another type, or that the file has none.
GgufVocabulary read_gguf_vocabulary(const Gguf& file);

/// Throws Error{kBadInput} for a vocabulary that contradicts itself, Error{kUnsupported} for an unknown model or
/// pre-tokenizer, naming it. `where` is the file, for errors.
TokenizerDefinition define_tokenizer(const GgufVocabulary& vocabulary, const std::string& where);

}  // namespace pajamas
