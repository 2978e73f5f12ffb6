// See step_runner.h.
#include "tasks/generation/step_runner.h"

#include <string>
#include <utility>

#include "engine/tensor_lookup.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

constexpr const char* kLogits = "logits";

[[noreturn]] void refuse(const std::string& message) {
  throw Error(
      ErrorKind::kBadInput, message, {},
      "build the bundle again from a checkpoint or GGUF file; docs/language.md lists what a language model has");
}

}  // namespace

void check_language_tensors(const std::vector<TensorInfo>& inputs, const std::vector<TensorInfo>& outputs,
                            std::int64_t vocab_size) {
  for (const StepInput& wanted : kStepInputs) {
    const TensorInfo& input = inputs[find_tensor(inputs, wanted.name, "input")];
    if (input.dtype != wanted.dtype || input.shape.size() != wanted.rank) {
      refuse("input '" + input.name + "' is " + to_string(input.dtype) + " with " + std::to_string(input.shape.size()) +
             " axes, but a language model takes " + to_string(wanted.dtype) + " with " + std::to_string(wanted.rank));
    }
  }
  for (const TensorInfo& input : inputs) {
    if (find_step_input(input.name) == nullptr) {
      refuse("input '" + input.name + "' is none that a language model is given");
    }
  }
  const TensorInfo& logits = outputs[find_tensor(outputs, kLogits, "output")];
  if (logits.dtype != DType::kFloat32 || logits.shape.size() != 2 ||
      (vocab_size > 0 && logits.shape[1].is_known() && logits.shape[1].extent() != vocab_size)) {
    refuse("output '" + logits.name + "' must be float32 [num_rows, " +
           (vocab_size > 0 ? std::to_string(vocab_size) : "vocab_size") + "]");
  }
}

namespace {

const Engine& checked(const Engine& engine, std::int64_t vocab_size) {
  check_language_tensors(engine.inputs(), engine.outputs(), vocab_size);
  return engine;
}

}  // namespace

StepRunner::StepRunner(std::shared_ptr<const Engine> engine, std::shared_ptr<KvCache> cache, std::int64_t vocab_size)
    : engine_(std::move(engine)),
      cache_(std::move(cache)),
      vocab_size_(vocab_size),
      inputs_(checked(*engine_, vocab_size)) {
  logits_index_ = find_tensor(engine_->outputs(), kLogits, "output");
  session_ = engine_->new_session();
  session_->set_kv_cache(cache_);
}

void StepRunner::run(const StepPlan& plan) {
  for (const BlockCopy& copy : plan.copies) cache_->copy_block(copy.from, copy.to);
  inputs_.clear();
  for (const StepItem& item : plan.items) {
    inputs_.add_sequence(item.new_tokens, item.num_past, item.blocks);
    if (item.has_logits) inputs_.add_logit_row(inputs_.num_tokens() - 1);
  }
  num_rows_ = inputs_.num_logit_rows();
  // Not every target takes an empty tensor: where nothing is wanted, one row is computed and not looked at.
  if (num_rows_ == 0) inputs_.add_logit_row(inputs_.num_tokens() - 1);
  inputs_.bind(*session_);
  session_->run();
  const TensorView logits = session_->output(logits_index_);
  const Shape wanted{static_cast<std::int64_t>(inputs_.num_logit_rows()), vocab_size_};
  if (logits.dtype != DType::kFloat32 || logits.shape != wanted) {
    throw Error(ErrorKind::kInternal,
                "the logits are " + std::string(to_string(logits.dtype)) + " " + logits.shape.to_string() +
                    ", wanted float32 " + wanted.to_string(),
                kLogits, "build the bundle again");
  }
  logits_ = reinterpret_cast<const float*>(logits.data);
}

std::span<const float> StepRunner::logits(std::size_t row) const {
  const auto size = static_cast<std::size_t>(vocab_size_);
  return {logits_ + row * size, size};
}

}  // namespace pajamas
