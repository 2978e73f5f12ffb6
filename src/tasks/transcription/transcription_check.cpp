// Whether the parts of a bundle are those of its facts: inputs and outputs as docs/audio.md names them.
#include <string>

#include "engine/step_inputs.h"
#include "engine/tensor_lookup.h"
#include "pajamas/error.h"
#include "tasks/task_checks.h"

namespace pajamas {
namespace {

const TensorInfo& need(const std::vector<TensorInfo>& tensors, const std::string& name, DType dtype, std::size_t rank) {
  const TensorInfo& info = tensors[find_tensor(tensors, name, "tensor")];
  if (info.dtype != dtype || info.shape.size() != rank) {
    throw Error(ErrorKind::kBadInput,
                "tensor '" + name + "' of the engine is " + to_string(info.dtype) + " of rank " +
                    std::to_string(info.shape.size()) + ", not " + to_string(dtype) + " of rank " +
                    std::to_string(rank),
                {}, "build the bundle again");
  }
  return info;
}

void need_extent(const TensorInfo& info, std::size_t axis, std::int64_t extent) {
  const Dimension& dimension = info.shape[axis];
  if (!dimension.is_known() || dimension.extent() == extent) return;
  throw Error(ErrorKind::kBadInput,
              "tensor '" + info.name + "' of the engine has " + std::to_string(dimension.extent()) + " on axis " +
                  std::to_string(axis) + ", but the bundle says " + std::to_string(extent),
              {}, "build the bundle again");
}

}  // namespace

void check_transcription(const TaskFacts& task, const std::string& part, const std::vector<TensorInfo>& inputs,
                         const std::vector<TensorInfo>& outputs) {
  const TranscriptionFacts& facts = task.transcription.value();
  if (facts.ctc && part == facts.ctc->part) {
    need(inputs, "samples", DType::kFloat32, 2);
    need_extent(need(outputs, "logits", DType::kFloat32, 3), 2, facts.ctc->vocab_size());
  }
  if (!facts.whisper) return;
  const WhisperFacts& whisper = *facts.whisper;
  if (part == whisper.encoder_part) {
    const TensorInfo& features = need(inputs, "features", DType::kFloat32, 3);
    need_extent(features, 1, whisper.num_mels);
    need_extent(features, 2, 2 * whisper.num_positions);
    need_extent(need(outputs, "cross_key.0", DType::kFloat32, 4), 3, whisper.num_positions);
    need_extent(need(outputs, "cross_value.0", DType::kFloat32, 4), 2, whisper.num_positions);
  }
  if (part == whisper.decoder_part) {
    if (has_tensor(inputs, "past_len")) {
      for (const char* name : {"input_ids", "position_ids", "logit_rows", "past_len", "parents"}) {
        need(inputs, name, DType::kInt64, 1);
      }
      need_extent(need(inputs, "past_key.0", DType::kFloat32, 4), 2, whisper.context_length);
      need_extent(need(outputs, "present_value.0", DType::kFloat32, 4), 2, whisper.context_length);
    } else {
      for (const StepInput& input : kStepInputs) need(inputs, input.name, input.dtype, input.rank);
    }
    need_extent(need(inputs, "cross_key.0", DType::kFloat32, 4), 3, whisper.num_positions);
    need_extent(need(outputs, "logits", DType::kFloat32, 2), 1, whisper.vocab_size);
  }
  if (!whisper.aligner_part.empty() && part == whisper.aligner_part) {
    const TensorInfo& alignment = need(outputs, "alignment", DType::kFloat32, 3);
    need_extent(alignment, 0, static_cast<std::int64_t>(whisper.alignment_heads.size()));
    need_extent(alignment, 2, whisper.num_positions);
  }
}

}  // namespace pajamas
