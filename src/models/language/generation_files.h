// What a language model needs beside its graph: stop tokens, recommended sampling, tokenizer and chat template, from
// the files of a checkpoint folder or the metadata of a GGUF file.
#pragma once

#include <filesystem>
#include <vector>

#include "models/language/decoder_config.h"
#include "models/model_definition.h"

namespace pajamas {

/// Adds the files that go into the bundle to `files`: the tokenizer in the bundle's form, and the chat template where
/// there is one (chat_template.jinja, else tokenizer_config.json's chat_template; of a list the one called "default").
///
/// An answer ends at any of: eos_token_id of generation_config.json, else of config.json (a number or a list); the
/// tokenizer's end token; and the special tokens by which published chat formats end a turn ("<|im_end|>",
/// "<|eot_id|>", "<|end|>", "<end_of_turn>", ...), where the vocabulary has them and the chat template writes them.
///
/// Throws Error{kBadInput} naming the file for settings of a wrong type or out of range, an end token that is not in
/// the vocabulary, and a tokenizer with more tokens than the model has.
GenerationFacts read_generation_facts(const std::filesystem::path& path, const JsonReader& config,
                                      const DecoderConfig& decoder, std::vector<ImportedFile>& files);

}  // namespace pajamas
