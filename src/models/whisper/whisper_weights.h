// The weights of Whisper under the names of Hugging Face, from the containers that have names of their own.
#pragma once

#include <memory>

#include "io/ctranslate2.h"
#include "io/ggml_checkpoint.h"
#include "io/torch_checkpoint.h"
#include "models/weight_source.h"

namespace pajamas {

/// CTranslate2's WhisperSpec: queries, keys and values lie in one matrix, and so do the keys and values of the cross
/// attention. int8 and int16 weights have scales. Throws Error{kBadInput} for tensors that cannot be divided so,
/// Error{kUnsupported} for another specification.
std::shared_ptr<const WeightSource> whisper_weights_of(const Ctranslate2Model& model);
/// whisper.cpp's files: OpenAI's names, blocks as they are.
std::shared_ptr<const WeightSource> whisper_weights_of(const GgmlCheckpoint& checkpoint);
/// OpenAI's own checkpoints ("model_state_dict" and "dims"). Throws Error{kUnsupported} for others.
std::shared_ptr<const WeightSource> whisper_weights_of(const TorchCheckpoint& checkpoint);

}  // namespace pajamas
