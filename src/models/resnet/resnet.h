// The ResNet family. See resnet.cpp.
#pragma once

#include "models/model_definition.h"

namespace pajamas {

/// Lives as long as the program; any thread.
const ModelDefinition& resnet_definition();

}  // namespace pajamas
