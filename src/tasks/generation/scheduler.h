// Scheduler: which tokens of which sequences the next step of a language model computes, and in which cache blocks.
// Continuous batching with chunked prefill and preemption. No engine, no text, no thread: the owner runs the step and
// says what was drawn. Rules and reasons: docs/language-scheduler.md.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "tasks/generation/block_pool.h"

namespace pajamas {

/// One sequence: an answer of a request. The order is the order of service.
struct SequenceKey {
  std::uint64_t request = 0;  ///< Later requests have larger numbers.
  int answer = 0;
  auto operator<=>(const SequenceKey&) const = default;
};

struct SchedulerOptions {
  std::int64_t max_sequences = 64;     ///< In one step; 1 or more.
  std::int64_t max_step_tokens = 512;  ///< In one step; 1 or more.
};

/// What one sequence computes in a step. The spans live until the scheduler changes.
struct StepItem {
  SequenceKey key;
  std::int64_t num_past = 0;                 ///< Tokens computed in earlier steps.
  std::span<const std::int32_t> new_tokens;  ///< 1 or more.
  std::span<const std::int32_t> blocks;      ///< Exactly those that hold num_past + new_tokens tokens.
  bool has_logits = false;                   ///< The last token known: its logits draw the next one.
};

struct BlockCopy {
  std::int32_t from = 0, to = 0;
};

struct StepPlan {
  std::vector<StepItem> items;    ///< Running sequences in order, then new ones; empty: nothing to do.
  std::vector<BlockCopy> copies;  ///< To be made before the step, in order.
  std::int64_t num_tokens = 0;
};

/// One thread at a time. Functions that take a key throw Error{kInternal} when there is no such sequence.
class Scheduler {
 public:
  /// The pool must outlive the scheduler. Throws Error{kUsage} for options out of range.
  Scheduler(const SchedulerOptions& options, BlockPool& pool);

  /// Whether a sequence that grows to `num_tokens` (the last of which is drawn but never computed) fits the cache.
  bool fits(std::int64_t num_tokens) const;

  /// Queues a sequence: its tokens so far, 1 or more. The owner has checked that it fits.
  void add(const SequenceKey& key, std::vector<std::int32_t> tokens, bool is_prefix_cache_used);

  /// Decides the next step; preempts and admits as needed. The plan is valid until the next call of a function that is
  /// not const. Exactly one of complete_step() and abandon_step() follows a plan with items.
  const StepPlan& plan_step();
  /// The step was computed. Of the plan, keys and has_logits stay.
  void complete_step();
  /// The step failed: nothing it would have computed counts. The owner ends its sequences.
  void abandon_step() { plan_ = {}; }

  /// The token drawn after the last one; the sequence must be computed to its end.
  void append_token(const SequenceKey& key, std::int32_t token);
  /// A copy of `key`, which is computed to its end, under the name `copy`. It shares all blocks, or waits for its turn
  /// where max_sequences are running.
  void fork(const SequenceKey& key, const SequenceKey& copy);
  /// Gives up the sequence and its blocks. `is_withdrawn`: what they hold must not be used by others.
  void finish(const SequenceKey& key, bool is_withdrawn = false);

  bool has(const SequenceKey& key) const { return running_.count(key) > 0 || waiting_.count(key) > 0; }
  bool is_running(const SequenceKey& key) const { return running_.count(key) > 0; }
  bool is_idle() const { return running_.empty() && waiting_.empty(); }
  /// Tokens of the sequence that its first admission found in the prefix cache.
  std::int64_t num_cached_tokens(const SequenceKey& key) const { return sequence(key).num_cached_tokens; }
  std::int64_t num_running() const { return static_cast<std::int64_t>(running_.size()); }
  std::int64_t num_waiting() const { return static_cast<std::int64_t>(waiting_.size()); }
  std::int64_t num_preemptions() const { return num_preemptions_; }

 private:
  struct Sequence {
    std::vector<std::int32_t> tokens;
    std::vector<std::int32_t> blocks;
    std::int64_t num_computed = 0;            // tokens whose keys and values are in blocks
    std::size_t num_published = 0;            // blocks
    BlockPool::Node node = BlockPool::kRoot;  // of the last published block
    bool is_prefix_cache_used = true;
    bool was_admitted = false;
    std::int64_t num_cached_tokens = 0;

    std::int64_t num_tokens() const { return static_cast<std::int64_t>(tokens.size()); }
    std::int64_t num_lacking() const { return num_tokens() - num_computed; }
  };
  using Sequences = std::map<SequenceKey, Sequence>;

  const Sequence& sequence(const SequenceKey& key) const;
  static void forget_computed(Sequence& sequence);
  std::int64_t num_blocks_for(std::int64_t num_tokens) const;
  void preempt_last();
  bool make_room(const SequenceKey& key, Sequence& sequence, std::int64_t num_new);
  void admit();
  bool is_prefix_in_progress(const Sequence& newcomer, std::size_t num_found_blocks) const;
  void schedule(const SequenceKey& key, Sequence& sequence, std::int64_t num_new);

  SchedulerOptions options_;
  BlockPool& pool_;
  Sequences running_, waiting_;
  StepPlan plan_;
  std::int64_t num_preemptions_ = 0;
};

}  // namespace pajamas
