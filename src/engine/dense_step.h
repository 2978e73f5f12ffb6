// One step of a decoder with a dense cache (docs/audio.md, "The dense cache"): the values of its inputs, and the cache,
// which lies in the host's memory from one step to the next. The graph that has these inputs is made by
// graph/passes/dense_cache.h; those of a step with a paged cache are step_inputs.h's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/target.h"

namespace pajamas {

/// Whether the engine takes a dense cache.
bool has_dense_cache(const Engine& engine);

/// The sequences of an engine's last step and what comes behind them. All sequences are of one length. One thread at a
/// time; the engine must outlive it.
class DenseStep {
 public:
  /// Throws Error{kBadInput} naming what the engine lacks.
  explicit DenseStep(const Engine& engine);

  std::int64_t capacity() const { return capacity_; }
  /// Tokens that each sequence has in the cache.
  std::int64_t num_past() const { return num_past_; }
  /// Forgets all sequences. The next step continues an empty one, row 0.
  void clear();

  /// The tokens of a step: equally many behind each of the rows `parents` of the last step, all of the first sequence,
  /// then of the second, ... Throws Error{kInternal} for a row that is not there, tokens that are not equally many, and
  /// past the capacity.
  void set_tokens(std::span<const std::int64_t> tokens, std::span<const std::int64_t> parents);
  /// Other positions than the places in the cache, one a token.
  void set_positions(std::span<const std::int64_t> positions);
  void add_logit_row(std::int64_t token_index) { logit_rows_.push_back(token_index); }
  std::size_t num_logit_rows() const { return logit_rows_.size(); }

  /// Gives all inputs to a session of the engine, which borrows them until it has run.
  void bind(Session& session) const;
  /// Takes the cache that a run gave, and counts the step's tokens as part of it.
  void take(const Session& session);

 private:
  struct CacheTensor {
    std::size_t input = 0, output = 0;  ///< Of the engine.
    DType dtype = DType::kUndefined;
    Shape row;                      ///< Of one sequence: [num_kv_heads, capacity, head_dim].
    std::vector<std::byte> values;  ///< [num_rows_, row]
  };

  std::size_t input_ids_input_ = 0, position_ids_input_ = 0, logit_rows_input_ = 0, past_len_input_ = 0,
              parents_input_ = 0;
  std::vector<CacheTensor> cache_;
  std::int64_t capacity_ = 0;
  std::int64_t num_rows_ = 1;  ///< Sequences in the cache.
  std::int64_t num_past_ = 0;
  std::vector<std::int64_t> input_ids_, position_ids_, logit_rows_, parents_;
};

}  // namespace pajamas
