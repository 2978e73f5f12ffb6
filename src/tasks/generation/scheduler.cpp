// See scheduler.h.
#include "tasks/generation/scheduler.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <utility>

#include "pajamas/error.h"

namespace pajamas {
namespace {

[[noreturn]] void fail(const SequenceKey& key, const std::string& message) {
  throw Error(ErrorKind::kInternal, message,
              "answer " + std::to_string(key.answer) + " of request " + std::to_string(key.request),
              "this is a fault of pajamas: please report it");
}

}  // namespace

Scheduler::Scheduler(const SchedulerOptions& options, BlockPool& pool) : options_(options), pool_(pool) {
  if (options.max_sequences < 1 || options.max_step_tokens < 1) {
    throw Error(ErrorKind::kUsage,
                "max_sequences is " + std::to_string(options.max_sequences) + " and max_step_tokens " +
                    std::to_string(options.max_step_tokens),
                {}, "give at least 1 for both");
  }
}

const Scheduler::Sequence& Scheduler::sequence(const SequenceKey& key) const {
  if (const auto it = running_.find(key); it != running_.end()) return it->second;
  if (const auto it = waiting_.find(key); it != waiting_.end()) return it->second;
  fail(key, "is not scheduled");
}

void Scheduler::forget_computed(Sequence& sequence) {
  sequence.blocks.clear();
  sequence.num_computed = 0;
  sequence.num_published = 0;
  sequence.node = BlockPool::kRoot;
}

std::int64_t Scheduler::num_blocks_for(std::int64_t num_tokens) const {
  const std::int64_t size = pool_.block_size_tokens();
  return num_tokens / size + (num_tokens % size != 0 ? 1 : 0);
}

bool Scheduler::fits(std::int64_t num_tokens) const { return num_blocks_for(num_tokens - 1) <= pool_.num_blocks(); }

void Scheduler::add(const SequenceKey& key, std::vector<std::int32_t> tokens, bool is_prefix_cache_used) {
  if (has(key)) fail(key, "is scheduled already");
  if (tokens.empty()) fail(key, "has no tokens");
  Sequence& added = waiting_[key];
  added.tokens = std::move(tokens);
  added.is_prefix_cache_used = is_prefix_cache_used;
}

void Scheduler::preempt_last() {
  auto node = running_.extract(std::prev(running_.end()));
  Sequence& victim = node.mapped();
  pool_.release(victim.blocks);
  forget_computed(victim);
  waiting_.insert(std::move(node));
  ++num_preemptions_;
}

/// Gives the sequence blocks of its own for `num_new` more tokens, taking them from sequences that come after it. False
/// when there is nobody to take from.
bool Scheduler::make_room(const SequenceKey& key, Sequence& sequence, std::int64_t num_new) {
  const auto first_written = static_cast<std::size_t>(sequence.num_computed / pool_.block_size_tokens());
  const std::int64_t num_wanted = num_blocks_for(sequence.num_computed + num_new);
  for (;;) {
    const bool is_copy_needed =
        first_written < sequence.blocks.size() && pool_.is_shared(sequence.blocks[first_written]);
    const std::int64_t num_missing =
        std::max<std::int64_t>(num_wanted - static_cast<std::int64_t>(sequence.blocks.size()), 0) +
        (is_copy_needed ? 1 : 0);
    if (num_missing > pool_.num_available()) {
      if (std::prev(running_.end())->first == key) return false;
      preempt_last();  // which may also leave a shared block to this sequence alone
      continue;
    }
    if (is_copy_needed) {
      std::int32_t& block = sequence.blocks[first_written];
      const std::int32_t copy = pool_.take().value();
      // Blocks after a shared one are shared too, but only the first that is written can be part-filled.
      if (sequence.num_computed % pool_.block_size_tokens() != 0) plan_.copies.push_back({block, copy});
      pool_.release({&block, 1});
      block = copy;
    }
    while (static_cast<std::int64_t>(sequence.blocks.size()) < num_wanted) {
      sequence.blocks.push_back(pool_.take().value());
    }
    return true;
  }
}

void Scheduler::schedule(const SequenceKey& key, Sequence& sequence, std::int64_t num_new) {
  StepItem item;
  item.key = key;
  item.num_past = sequence.num_computed;
  item.new_tokens = std::span<const std::int32_t>(sequence.tokens)
                        .subspan(static_cast<std::size_t>(sequence.num_computed), static_cast<std::size_t>(num_new));
  item.blocks = std::span<const std::int32_t>(sequence.blocks)
                    .first(static_cast<std::size_t>(num_blocks_for(sequence.num_computed + num_new)));
  item.has_logits = num_new == sequence.num_lacking();
  plan_.items.push_back(item);
  plan_.num_tokens += num_new;
}

const StepPlan& Scheduler::plan_step() {
  plan_.items.clear();
  plan_.copies.clear();
  plan_.num_tokens = 0;
  const std::int64_t num_preemptions_before = num_preemptions_;
  for (auto it = running_.begin(); it != running_.end(); ++it) {
    const std::int64_t num_new = std::min(it->second.num_lacking(), options_.max_step_tokens - plan_.num_tokens);
    if (num_new < 1) break;
    if (!make_room(it->first, it->second, num_new)) break;  // the last one; it keeps its blocks and waits for others
    schedule(it->first, it->second, num_new);
  }
  if (num_preemptions_ == num_preemptions_before) admit();
  return plan_;
}

/// Whether a running sequence is computing blocks that the newcomer could share a little later, worth waiting for: at
/// least half of what it lacks.
bool Scheduler::is_prefix_in_progress(const Sequence& newcomer, std::size_t num_found_blocks) const {
  const std::int64_t size = pool_.block_size_tokens();
  const std::int64_t num_found = static_cast<std::int64_t>(num_found_blocks) * size;
  for (const auto& entry : running_) {
    const Sequence& other = entry.second;
    if (!other.is_prefix_cache_used || other.num_lacking() == 0) continue;
    const std::int64_t max_common = std::min(newcomer.num_tokens() - 1, other.num_tokens()) / size * size;
    if (2 * (max_common - num_found) < newcomer.num_tokens() - num_found) continue;
    const auto common =
        std::mismatch(newcomer.tokens.begin(), newcomer.tokens.begin() + max_common, other.tokens.begin());
    const std::int64_t num_common = (common.first - newcomer.tokens.begin()) / size * size;
    if (num_common <= other.num_computed) continue;  // published already, or withdrawn
    if (2 * (num_common - num_found) >= newcomer.num_tokens() - num_found) return true;
  }
  return false;
}

void Scheduler::admit() {
  const auto size = static_cast<std::size_t>(pool_.block_size_tokens());
  for (auto it = waiting_.begin(); it != waiting_.end();) {
    if (num_running() >= options_.max_sequences || plan_.num_tokens >= options_.max_step_tokens) return;
    Sequence& newcomer = it->second;
    BlockPool::Prefix prefix;
    if (newcomer.is_prefix_cache_used) {
      // At least the last token is computed: its logits are wanted.
      prefix = pool_.find(newcomer.tokens, (newcomer.tokens.size() - 1) / size);
      if (is_prefix_in_progress(newcomer, prefix.blocks.size())) {
        pool_.release(prefix.blocks);
        ++it;  // Those behind it may go first: it waits for a step or few, not for room.
        continue;
      }
    }
    const std::int64_t num_missing =
        num_blocks_for(newcomer.num_tokens()) - static_cast<std::int64_t>(prefix.blocks.size());
    // One block in reserve for each running sequence, so that their next tokens do not throw the newcomer out again.
    if (num_missing + num_running() > pool_.num_available()) {
      pool_.release(prefix.blocks);
      return;
    }
    const auto next = std::next(it);
    const auto inserted = running_.insert(waiting_.extract(it));
    const SequenceKey& key = inserted.position->first;
    Sequence& admitted = inserted.position->second;
    it = next;
    admitted.num_published = prefix.blocks.size();
    admitted.num_computed = static_cast<std::int64_t>(prefix.blocks.size() * size);
    admitted.node = prefix.node;
    admitted.blocks = std::move(prefix.blocks);
    if (!std::exchange(admitted.was_admitted, true)) admitted.num_cached_tokens = admitted.num_computed;
    for (std::int64_t i = 0; i < num_missing; ++i) admitted.blocks.push_back(pool_.take().value());
    schedule(key, admitted, std::min(admitted.num_lacking(), options_.max_step_tokens - plan_.num_tokens));
  }
}

void Scheduler::complete_step() {
  const auto size = static_cast<std::size_t>(pool_.block_size_tokens());
  for (const StepItem& item : plan_.items) {
    const auto it = running_.find(item.key);
    if (it == running_.end()) continue;
    Sequence& computed = it->second;
    computed.num_computed += static_cast<std::int64_t>(item.new_tokens.size());
    if (!computed.is_prefix_cache_used) continue;
    while ((computed.num_published + 1) * size <= static_cast<std::size_t>(computed.num_computed)) {
      const auto content = std::span<const std::int32_t>(computed.tokens).subspan(computed.num_published * size, size);
      std::int32_t& block = computed.blocks[computed.num_published];
      const BlockPool::Published published = pool_.publish(block, computed.node, content);
      block = published.block;
      computed.node = published.node;
      ++computed.num_published;
    }
  }
}

void Scheduler::append_token(const SequenceKey& key, std::int32_t token) {
  if (const auto it = running_.find(key); it != running_.end()) {
    if (it->second.num_lacking() != 0) fail(key, "grows before it is computed");
    it->second.tokens.push_back(token);
    return;
  }
  // A copy that found no place among the running ones waits with nothing computed.
  const auto it = waiting_.find(key);
  if (it == waiting_.end()) fail(key, "is not scheduled");
  it->second.tokens.push_back(token);
}

void Scheduler::fork(const SequenceKey& key, const SequenceKey& copy) {
  if (has(copy)) fail(copy, "is scheduled already");
  const auto it = running_.find(key);
  if (it == running_.end() || it->second.num_lacking() != 0) fail(key, "is copied before it is computed");
  Sequence twin = it->second;
  if (num_running() < options_.max_sequences) {
    for (const std::int32_t block : twin.blocks) pool_.share(block);
    running_.emplace(copy, std::move(twin));
    return;
  }
  forget_computed(twin);
  waiting_.emplace(copy, std::move(twin));
}

void Scheduler::finish(const SequenceKey& key, bool is_withdrawn) {
  auto node = running_.extract(key);
  if (node.empty()) node = waiting_.extract(key);
  if (node.empty()) fail(key, "is not scheduled");
  if (is_withdrawn) pool_.withdraw(node.mapped().blocks);
  pool_.release(node.mapped().blocks);
}

}  // namespace pajamas
