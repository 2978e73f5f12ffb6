// The inputs of one step of a decoder with a paged cache (docs/language.md: "The graph of a language model"): their
// names, and the values of the sequences of a step. Which sequences, and where their blocks lie, is the caller's. The
// graph that has these inputs is models/paged_step.h.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "engine/target.h"

namespace pajamas {

struct StepInput {
  const char* name;
  DType dtype;
  std::size_t rank;
};

inline constexpr std::array<StepInput, 8> kStepInputs = {{
    {"input_ids", DType::kInt64, 1},
    {"position_ids", DType::kInt64, 1},
    {"past_lens", DType::kInt32, 1},
    {"subsequence_begins", DType::kInt32, 1},
    {"block_indices", DType::kInt32, 1},
    {"block_indices_begins", DType::kInt32, 1},
    {"max_context_len", DType::kInt32, 0},
    {"logit_rows", DType::kInt64, 1},
}};

/// The input of that name, or null.
const StepInput* find_step_input(std::string_view name) noexcept;

/// Values of one step, collected sequence by sequence. One thread at a time.
class StepInputs {
 public:
  /// Those of an engine. Throws Error{kBadInput} naming an input that it lacks.
  explicit StepInputs(const Engine& engine);

  void clear();
  /// Appends a sequence of `num_past` tokens in the cache, the tokens that the step adds, and the blocks that hold all
  /// of them.
  void add_sequence(std::span<const std::int64_t> tokens, std::int64_t num_past, std::span<const std::int32_t> blocks);
  void add_sequence(std::span<const std::int32_t> tokens, std::int64_t num_past, std::span<const std::int32_t> blocks);
  /// Other positions than those of the sequences, one a token of all of them.
  void set_positions(std::span<const std::int64_t> positions);
  /// Logits are wanted of this token of the step, counted over all sequences.
  void add_logit_row(std::int64_t token_index) { logit_rows_.push_back(token_index); }

  std::int64_t num_tokens() const { return static_cast<std::int64_t>(input_ids_.size()); }
  std::size_t num_logit_rows() const { return logit_rows_.size(); }

  /// Gives all of them to a session of the engine, which borrows them until it has run.
  void bind(Session& session) const;

 private:
  template <typename Token>
  void append(std::span<const Token> tokens, std::int64_t num_past, std::span<const std::int32_t> blocks);

  std::array<std::size_t, kStepInputs.size()> indices_{};  ///< Among the engine's inputs, in the table's order.
  std::vector<std::int64_t> input_ids_, position_ids_, logit_rows_;
  std::vector<std::int32_t> past_lens_, subsequence_begins_{0}, block_indices_, block_indices_begins_{0};
  std::int32_t max_context_len_ = 0;
};

}  // namespace pajamas
