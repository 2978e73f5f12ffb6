// The picture embedder family. See embedder.cpp.
#pragma once

#include "models/model_definition.h"

namespace pajamas {

/// Lives as long as the program; any thread.
const ModelDefinition& embedder_definition();

}  // namespace pajamas
