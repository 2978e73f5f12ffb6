// Collecting and binding the inputs of a step. See step_inputs.h.
#include "engine/step_inputs.h"

#include <algorithm>
#include <string>

#include "engine/tensor_lookup.h"

namespace pajamas {
namespace {

template <typename T>
TensorView view_of(const std::vector<T>& values) {
  return {DTypeOf<T>::value, Shape{static_cast<std::int64_t>(values.size())},
          reinterpret_cast<const std::byte*>(values.data())};
}

}  // namespace

const StepInput* find_step_input(std::string_view name) noexcept {
  const auto* const found =
      std::find_if(kStepInputs.begin(), kStepInputs.end(), [&](const StepInput& input) { return name == input.name; });
  return found != kStepInputs.end() ? found : nullptr;
}

StepInputs::StepInputs(const Engine& engine) {
  for (std::size_t i = 0; i < kStepInputs.size(); ++i) {
    indices_[i] = find_tensor(engine.inputs(), kStepInputs[i].name, "input");
  }
}

void StepInputs::clear() {
  input_ids_.clear();
  position_ids_.clear();
  logit_rows_.clear();
  past_lens_.clear();
  subsequence_begins_.assign(1, 0);
  block_indices_.clear();
  block_indices_begins_.assign(1, 0);
  max_context_len_ = 0;
}

template <typename Token>
void StepInputs::append(std::span<const Token> tokens, std::int64_t num_past, std::span<const std::int32_t> blocks) {
  input_ids_.insert(input_ids_.end(), tokens.begin(), tokens.end());
  const std::int64_t length = num_past + static_cast<std::int64_t>(tokens.size());
  for (std::int64_t position = num_past; position < length; ++position) position_ids_.push_back(position);
  past_lens_.push_back(static_cast<std::int32_t>(num_past));
  subsequence_begins_.push_back(static_cast<std::int32_t>(input_ids_.size()));
  block_indices_.insert(block_indices_.end(), blocks.begin(), blocks.end());
  block_indices_begins_.push_back(static_cast<std::int32_t>(block_indices_.size()));
  max_context_len_ = std::max(max_context_len_, static_cast<std::int32_t>(length));
}

void StepInputs::add_sequence(std::span<const std::int64_t> tokens, std::int64_t num_past,
                              std::span<const std::int32_t> blocks) {
  append(tokens, num_past, blocks);
}

void StepInputs::add_sequence(std::span<const std::int32_t> tokens, std::int64_t num_past,
                              std::span<const std::int32_t> blocks) {
  append(tokens, num_past, blocks);
}

void StepInputs::set_positions(std::span<const std::int64_t> positions) {
  position_ids_.assign(positions.begin(), positions.end());
}

void StepInputs::bind(Session& session) const {
  const std::array<TensorView, kStepInputs.size()> views = {
      view_of(input_ids_),
      view_of(position_ids_),
      view_of(past_lens_),
      view_of(subsequence_begins_),
      view_of(block_indices_),
      view_of(block_indices_begins_),
      TensorView{DType::kInt32, Shape{}, reinterpret_cast<const std::byte*>(&max_context_len_)},
      view_of(logit_rows_)};
  for (std::size_t i = 0; i < views.size(); ++i) session.set_input(indices_[i], views[i]);
}

}  // namespace pajamas
