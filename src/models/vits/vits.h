// The family VITS: voices of Piper, an ONNX file with a JSON description beside it. See vits.cpp.
#pragma once

#include "models/model_definition.h"

namespace pajamas {

/// Lives as long as the program; any thread.
const ModelDefinition& vits_definition();

}  // namespace pajamas
