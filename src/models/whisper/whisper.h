// The family Whisper. See whisper.cpp.
#pragma once

#include "models/model_definition.h"

namespace pajamas {

/// Lives as long as the program; any thread.
const ModelDefinition& whisper_definition();

}  // namespace pajamas
