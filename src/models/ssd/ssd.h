// The SSD family. See ssd.cpp.
#pragma once

#include "models/model_definition.h"

namespace pajamas {

/// Lives as long as the program; any thread.
const ModelDefinition& ssd_definition();

}  // namespace pajamas
