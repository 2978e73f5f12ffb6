// The RT-DETR family. See rtdetr.cpp.
#pragma once

#include "models/model_definition.h"

namespace pajamas {

/// Lives as long as the program; any thread.
const ModelDefinition& rtdetr_definition();

}  // namespace pajamas
