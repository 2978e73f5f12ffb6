// The tokenizer files of a CLIP folder: which go into the bundle, and what the text input needs to know of them.
#pragma once

#include <filesystem>
#include <vector>

#include "models/clip/clip_config.h"
#include "models/model_definition.h"

namespace pajamas {

/// Appends vocab.json and merges.txt to `files`, or tokenizer.json where the folder lacks one of them. Throws
/// Error{kBadInput} when files are missing or the vocabulary does not fit the model, Error{kUnsupported} when
/// tokenizer.json describes a tokenizer that is not CLIP's.
ClipTextInput read_clip_text_input(const std::filesystem::path& directory, const ClipTextConfig& config,
                                   std::vector<ImportedFile>& files);

}  // namespace pajamas
