// The YOLO family. See yolo.cpp.
#pragma once

#include "models/model_definition.h"

namespace pajamas {

/// Lives as long as the program; any thread.
const ModelDefinition& yolo_definition();

}  // namespace pajamas
