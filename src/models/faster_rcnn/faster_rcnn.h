// The Faster R-CNN family. See faster_rcnn.cpp.
#pragma once

#include "models/model_definition.h"

namespace pajamas {

/// Lives as long as the program; any thread.
const ModelDefinition& faster_rcnn_definition();

}  // namespace pajamas
