// preprocessor_config.json of a checkpoint folder as an ImageInput: sizes, crop, resampling, scaling, mean and standard
// deviation, in the spellings that transformers has used over the years.
#pragma once

#include <filesystem>

#include "bundle/task_facts.h"

namespace pajamas {

/// The preprocessing of the folder for an input [batch, 3, height, width]; `family_default` where the folder has
/// neither preprocessor_config.json nor processor_config.json, and for the keys the file leaves out. The caller sets
/// `input` and `part`. Throws Error{kBadInput} for a damaged file, Error{kUnsupported} naming key and value for what
/// cannot be done here (other resamplings than nearest, bilinear and bicubic; no resizing).
ImageInput read_image_processor(const std::filesystem::path& directory, const ImageInput& family_default);

}  // namespace pajamas
