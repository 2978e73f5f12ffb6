// The ViT family. See vit.cpp.
#pragma once

#include "models/model_definition.h"

namespace pajamas {

/// Lives as long as the program; any thread.
const ModelDefinition& vit_definition();

}  // namespace pajamas
