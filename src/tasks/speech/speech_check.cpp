// Whether the parts of a bundle are those of its facts: inputs and outputs as docs/audio.md names them.
#include <string>

#include "engine/tensor_lookup.h"
#include "pajamas/error.h"
#include "tasks/speech/voice_session.h"
#include "tasks/task_checks.h"

namespace pajamas {
namespace {

void need(const std::vector<TensorInfo>& tensors, const std::string& name, const char* what, DType dtype) {
  const TensorInfo& info = tensors[find_tensor(tensors, name, what)];
  if (info.dtype == dtype) return;
  throw Error(
      ErrorKind::kBadInput,
      std::string(what) + " '" + name + "' of the engine is " + to_string(info.dtype) + ", not " + to_string(dtype), {},
      "build the bundle again");
}

}  // namespace

void check_speech(const TaskFacts& task, const std::string& part, const std::vector<TensorInfo>& inputs,
                  const std::vector<TensorInfo>& outputs) {
  const SpeechFacts& facts = task.speech.value();
  if (part == facts.text_part) {
    for (const char* name : {"input", "input_lengths"}) need(inputs, name, "input", DType::kInt64);
    need(inputs, "scales", "input", DType::kFloat32);
    if (facts.num_speakers > 1) need(inputs, "sid", "input", DType::kInt64);
    if (has_tensor(outputs, "num_frames")) {
      need(outputs, "num_frames", "output", DType::kInt64);
    } else {
      need(outputs, facts.noise_shape_output, "output", DType::kFloat32);
    }
  }
  if (part == kAlignPart) {
    need(inputs, "frame_index", "input", DType::kInt64);
    need(outputs, facts.noise_shape_output, "output", DType::kFloat32);
  }
  if (part == facts.flow_part) {
    need(inputs, "noise", "input", DType::kFloat32);
    need(outputs, facts.frames_value, "output", DType::kFloat32);
  }
  if (part == facts.decoder_part) {
    need(inputs, facts.frames_value, "input", DType::kFloat32);
    need(outputs, "output", "output", DType::kFloat32);
  }
}

}  // namespace pajamas
