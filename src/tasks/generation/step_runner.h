// StepRunner: a scheduler's step as the inputs of a session, and the logits that come back. The interface of the graph
// is docs/language.md's; nothing here knows who executes it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/step_inputs.h"
#include "engine/target.h"
#include "tasks/generation/scheduler.h"

namespace pajamas {

/// Throws Error{kBadInput} naming the input or output that a language model must have and these lack, or have in
/// another type or rank. `vocab_size` 0: not known.
void check_language_tensors(const std::vector<TensorInfo>& inputs, const std::vector<TensorInfo>& outputs,
                            std::int64_t vocab_size);

/// One session of a language model with its cache. One thread at a time.
class StepRunner {
 public:
  /// Throws as check_language_tensors, and as the engine does.
  StepRunner(std::shared_ptr<const Engine> engine, std::shared_ptr<KvCache> cache, std::int64_t vocab_size);

  /// Copies blocks, then computes the step. Throws what the session throws, and Error{kInternal} when the logits have
  /// another shape than was asked for.
  void run(const StepPlan& plan);
  /// Rows of the last run: those items of the plan that have logits, in their order.
  std::size_t num_rows() const { return num_rows_; }
  /// [vocab_size], valid until the next run.
  std::span<const float> logits(std::size_t row) const;

 private:
  std::shared_ptr<const Engine> engine_;
  std::shared_ptr<KvCache> cache_;
  std::unique_ptr<Session> session_;
  std::int64_t vocab_size_;
  std::size_t logits_index_ = 0;
  std::size_t num_rows_ = 0;
  StepInputs inputs_;
  const float* logits_ = nullptr;
};

}  // namespace pajamas
