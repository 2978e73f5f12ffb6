// Post-processors: the special tokens that go around a text, as the `post_processor` of a tokenizer.json describes it.
// For one text; templates of two texts are for classifiers and not used here.
#pragma once

#include <cstdint>
#include <vector>

#include "base/json_reader.h"

namespace pajamas {

struct SurroundingTokens {
  std::vector<std::int32_t> before, after;
};

/// Throws Error{kUnsupported} naming a type that is not known.
SurroundingTokens read_post_processor(const JsonReader& json);

}  // namespace pajamas
