// The picture classifier family. See classifier.cpp.
#pragma once

#include "models/model_definition.h"

namespace pajamas {

/// Lives as long as the program; any thread.
const ModelDefinition& classifier_definition();

}  // namespace pajamas
