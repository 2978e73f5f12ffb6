// An engine with a cache, paged or dense, as one that takes a whole sequence: what proofs and perplexity feed. Prefill
// in chunks and then decode token by token, as a scheduler would, so that both are compared with a reference that
// computes the sequence at once (graph/passes/expand_paged_attention.h). Not the scheduler: one sequence, no sharing.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/dense_step.h"
#include "engine/step_inputs.h"
#include "engine/target.h"

namespace pajamas {

using NamedTensorList = std::vector<std::pair<std::string, Tensor>>;

/// One sequence in an engine with a cache. One thread at a time.
class CachedSequence {
 public:
  /// Room for `max_tokens` tokens. Throws Error{kUnsupported} for an engine without a cache or with too small a dense
  /// one, and as StepInputs and DenseStep.
  /// `fixed_inputs`: the other inputs of the engine, by name, which stay for all steps.
  CachedSequence(std::shared_ptr<const Engine> engine, std::int64_t max_tokens,
                 const NamedTensorList& fixed_inputs = {});

  /// Forgets all tokens.
  void restart();
  std::int64_t num_past() const { return num_past_; }
  /// Appends `tokens` in one step and gives the logits of `rows` of them (indices into `tokens`): float32
  /// [rows.size(), vocab_size], valid until the next call. Positions are `positions`, or those of the sequence where it
  /// is empty. Throws Error{kInternal} past max_tokens.
  TensorView step(std::span<const std::int64_t> tokens, std::span<const std::int64_t> rows,
                  std::span<const std::int64_t> positions = {});

 private:
  void make_paged_cache();
  /// Gives the step's inputs to the session and runs it.
  void run_paged(std::span<const std::int64_t> tokens, std::span<const std::int64_t> rows,
                 std::span<const std::int64_t> positions);
  void run_dense(std::span<const std::int64_t> tokens, std::span<const std::int64_t> rows,
                 std::span<const std::int64_t> positions);

  std::shared_ptr<const Engine> engine_;
  std::unique_ptr<Session> session_;
  std::optional<DenseStep> dense_;  ///< Set for an engine with a dense cache; what follows is for others.
  std::shared_ptr<KvCache> cache_;
  std::int64_t block_size_ = 0;
  std::vector<std::int32_t> blocks_;  ///< In an order that is not that of the pool.
  std::optional<StepInputs> inputs_;
  std::int64_t max_tokens_ = 0;
  std::int64_t num_past_ = 0;
  std::vector<Tensor> fixed_inputs_;
};

/// The engine with the inputs of an expanded graph: `input_ids`, `position_ids`, `logit_rows`; output `logits`. A run
/// is a prefill of all but the last `num_decoded` tokens in chunks of `chunk_tokens`, then a step a token. Sequences of
/// up to `max_tokens`.
std::shared_ptr<const Engine> single_sequence_engine(std::shared_ptr<const Engine> engine, std::int64_t max_tokens,
                                                     std::int64_t chunk_tokens, std::int64_t num_decoded,
                                                     const NamedTensorList& fixed_inputs = {});

}  // namespace pajamas
