// The CLIP family. See clip.cpp.
#pragma once

#include "models/model_definition.h"

namespace pajamas {

/// Lives as long as the program; any thread.
const ModelDefinition& clip_definition();

}  // namespace pajamas
