// The tokenizer files of a CLIP folder: which go into the bundle, and what the text input needs to know of them.
#pragma once

#include <filesystem>
#include <vector>

#include "models/clip/clip_config.h"
#include "models/model_definition.h"

namespace pajamas {

/// Appends vocab.json and merges.txt to `files`. Throws Error{kBadInput} when one is missing or the vocabulary does not
/// fit the model.
ClipTextInput read_clip_text_input(const std::filesystem::path& directory, const ClipTextConfig& config,
                                   std::vector<ImportedFile>& files);

}  // namespace pajamas
