// See step_runner.h.
#include "tasks/generation/step_runner.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "pajamas/error.h"
#include "tasks/image_session.h"

namespace pajamas {
namespace {

struct WantedInput {
  const char* name;
  DType dtype;
  std::size_t rank;
};

constexpr std::array<WantedInput, 8> kInputs = {{
    {"input_ids", DType::kInt64, 1},
    {"position_ids", DType::kInt64, 1},
    {"past_lens", DType::kInt32, 1},
    {"subsequence_begins", DType::kInt32, 1},
    {"block_indices", DType::kInt32, 1},
    {"block_indices_begins", DType::kInt32, 1},
    {"max_context_len", DType::kInt32, 0},
    {"logit_rows", DType::kInt64, 1},
}};
constexpr const char* kLogits = "logits";

[[noreturn]] void refuse(const std::string& message) {
  throw Error(
      ErrorKind::kBadInput, message, {},
      "build the bundle again from a checkpoint or GGUF file; docs/language.md lists what a language model has");
}

template <typename T>
TensorView view_of(const std::vector<T>& values) {
  return {DTypeOf<T>::value, Shape{static_cast<std::int64_t>(values.size())},
          reinterpret_cast<const std::byte*>(values.data())};
}

}  // namespace

void check_language_tensors(const std::vector<TensorInfo>& inputs, const std::vector<TensorInfo>& outputs,
                            std::int64_t vocab_size) {
  for (const WantedInput& wanted : kInputs) {
    const TensorInfo& input = inputs[find_tensor(inputs, wanted.name, "input")];
    if (input.dtype != wanted.dtype || input.shape.size() != wanted.rank) {
      refuse("input '" + input.name + "' is " + to_string(input.dtype) + " with " + std::to_string(input.shape.size()) +
             " axes, but a language model takes " + to_string(wanted.dtype) + " with " + std::to_string(wanted.rank));
    }
  }
  if (inputs.size() != kInputs.size()) {
    for (const TensorInfo& input : inputs) {
      const bool is_known = std::any_of(kInputs.begin(), kInputs.end(),
                                        [&](const WantedInput& wanted) { return input.name == wanted.name; });
      if (!is_known) refuse("input '" + input.name + "' is none that a language model is given");
    }
  }
  const TensorInfo& logits = outputs[find_tensor(outputs, kLogits, "output")];
  if (logits.dtype != DType::kFloat32 || logits.shape.size() != 2 ||
      (vocab_size > 0 && logits.shape[1].is_known() && logits.shape[1].extent() != vocab_size)) {
    refuse("output '" + logits.name + "' must be float32 [num_rows, " +
           (vocab_size > 0 ? std::to_string(vocab_size) : "vocab_size") + "]");
  }
}

StepRunner::StepRunner(std::shared_ptr<const Engine> engine, std::shared_ptr<KvCache> cache, std::int64_t vocab_size)
    : engine_(std::move(engine)), cache_(std::move(cache)), vocab_size_(vocab_size) {
  check_language_tensors(engine_->inputs(), engine_->outputs(), vocab_size);
  logits_index_ = find_tensor(engine_->outputs(), kLogits, "output");
  session_ = engine_->new_session();
  session_->set_kv_cache(cache_);
}

void StepRunner::bind() {
  const std::array<TensorView, kInputs.size()> views = {
      view_of(input_ids_),
      view_of(position_ids_),
      view_of(past_lens_),
      view_of(subsequence_begins_),
      view_of(block_indices_),
      view_of(block_indices_begins_),
      TensorView{DType::kInt32, Shape{}, reinterpret_cast<const std::byte*>(&max_context_len_)},
      view_of(logit_rows_)};
  for (std::size_t i = 0; i < engine_->inputs().size(); ++i) {
    const auto wanted = std::find_if(kInputs.begin(), kInputs.end(), [&](const WantedInput& candidate) {
      return engine_->inputs()[i].name == candidate.name;
    });
    session_->set_input(i, views[static_cast<std::size_t>(wanted - kInputs.begin())]);
  }
}

void StepRunner::run(const StepPlan& plan) {
  for (const BlockCopy& copy : plan.copies) cache_->copy_block(copy.from, copy.to);
  input_ids_.clear();
  position_ids_.clear();
  logit_rows_.clear();
  past_lens_.clear();
  block_indices_.clear();
  subsequence_begins_.assign(1, 0);
  block_indices_begins_.assign(1, 0);
  max_context_len_ = 0;
  for (const StepItem& item : plan.items) {
    input_ids_.insert(input_ids_.end(), item.new_tokens.begin(), item.new_tokens.end());
    for (std::size_t i = 0; i < item.new_tokens.size(); ++i) {
      position_ids_.push_back(item.num_past + static_cast<std::int64_t>(i));
    }
    past_lens_.push_back(static_cast<std::int32_t>(item.num_past));
    subsequence_begins_.push_back(static_cast<std::int32_t>(input_ids_.size()));
    block_indices_.insert(block_indices_.end(), item.blocks.begin(), item.blocks.end());
    block_indices_begins_.push_back(static_cast<std::int32_t>(block_indices_.size()));
    max_context_len_ = std::max(
        max_context_len_, static_cast<std::int32_t>(item.num_past) + static_cast<std::int32_t>(item.new_tokens.size()));
    if (item.has_logits) logit_rows_.push_back(static_cast<std::int64_t>(input_ids_.size()) - 1);
  }
  num_rows_ = logit_rows_.size();
  // Not every target takes an empty tensor: where nothing is wanted, one row is computed and not looked at.
  if (logit_rows_.empty()) logit_rows_.push_back(static_cast<std::int64_t>(input_ids_.size()) - 1);
  bind();
  session_->run();
  const TensorView logits = session_->output(logits_index_);
  const Shape wanted{static_cast<std::int64_t>(logit_rows_.size()), vocab_size_};
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
