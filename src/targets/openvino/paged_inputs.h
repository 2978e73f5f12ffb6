// What the inputs of a language model's step must satisfy beyond types and shapes. OpenVINO believes every number in
// them, and reads and writes memory by it.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/target.h"

namespace pajamas::openvino {

/// Finds the inputs by the names of docs/language.md. Immutable; shareable between threads.
class PagedInputs {
 public:
  /// `num_table_rows`, `num_position_rows`: rows of the tables of embeddings and of positions; 0: not known, or there
  /// is none. Throws Error{kInternal} when one of the inputs that describe the sequences is not among `inputs`.
  PagedInputs(const std::vector<TensorInfo>& inputs, std::int64_t block_size_tokens, std::int64_t num_table_rows,
              std::int64_t num_position_rows);

  /// `inputs` in the engine's order, of the declared types and ranks. Throws Error{kBadInput} naming the input and the
  /// sequence that does not fit.
  void check(const std::vector<TensorView>& inputs, std::int64_t num_blocks) const;

 private:
  std::size_t input_ids_;
  std::size_t position_ids_;  ///< Past the end: the model has none.
  std::size_t past_lens_;
  std::size_t subsequence_begins_;
  std::size_t block_indices_;
  std::size_t block_indices_begins_;
  std::size_t max_context_len_;
  std::size_t logit_rows_;  ///< Past the end: the model has none.
  std::size_t chunks_;      ///< An input of one row a chunk (docs/audio.md); past the end: the model has none.
  std::int64_t block_size_tokens_;
  std::int64_t num_table_rows_;
  std::int64_t num_position_rows_;
};

}  // namespace pajamas::openvino
