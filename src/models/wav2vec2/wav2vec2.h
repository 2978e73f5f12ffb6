// The families Wav2Vec2 and HuBERT with a CTC head, which differ in names and in little else. See wav2vec2.cpp.
#pragma once

#include "models/model_definition.h"

namespace pajamas {

/// Live as long as the program; any thread.
const ModelDefinition& wav2vec2_definition();
const ModelDefinition& hubert_definition();

}  // namespace pajamas
