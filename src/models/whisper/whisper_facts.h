// The task facts of a Whisper checkpoint: special tokens, languages, suppressed tokens and alignment heads, from what
// the container says of them, then from the tokenizer, then from the published layout.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bundle/transcription_facts.h"
#include "models/whisper/whisper_config.h"
#include "text/tokenizer.h"

namespace pajamas {

/// What some containers say beside the weights; nothing where they do not.
struct WhisperSettings {
  std::optional<bool> is_multilingual;
  std::optional<std::vector<std::int64_t>> suppressed_token_ids, begin_suppressed_token_ids;
  std::optional<std::vector<std::array<std::int64_t, 2>>> alignment_heads;
};

/// transformers' generation_config.json.
WhisperSettings read_generation_settings(const JsonReader& json);
/// The config.json beside CTranslate2's model.bin.
WhisperSettings read_ctranslate2_settings(const JsonReader& json);

/// Throws Error{kBadInput} for a tokenizer that is not Whisper's or has other ids than the model, Error{kUnsupported}
/// when there is no tokenizer and the vocabulary is none of the published ones.
WhisperFacts whisper_facts_of(const WhisperConfig& config, const WhisperSettings& settings,
                              const std::optional<Tokenizer>& tokenizer, const std::string& where);

}  // namespace pajamas
