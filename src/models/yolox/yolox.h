// The YOLOX family. See yolox.cpp.
#pragma once

#include "models/model_definition.h"

namespace pajamas {

/// Lives as long as the program; any thread.
const ModelDefinition& yolox_definition();

}  // namespace pajamas
