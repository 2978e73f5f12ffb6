// Masks made ahead: for a state of the automaton, the tokens that it allows whatever lies below it on the stack, and
// the places in the token trie where the frame below must decide; for those and a frame below, the same again. Each is
// made once and shared by all sequences.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <span>
#include <unordered_map>
#include <vector>

#include "text/grammar/rules.h"
#include "text/grammar/token_trie.h"
#include "text/grammar/walker.h"

namespace pajamas::grammar {

/// What one frame says, given the frames above it.
struct Mask {
  const std::uint32_t* bitmap = nullptr;  ///< Allowed tokens of num_mask_words() words; may be null.
  std::span<const std::int32_t> tokens;   ///< Allowed tokens beside those of the bitmap.
  std::vector<std::int32_t> asked_below;  ///< Trie nodes whose byte the frame below must take.
  std::int32_t max_depth = 0;             ///< Frames that the walk had above and with this one's own.
  std::uint32_t id = 0;                   ///< 0: not kept.

  std::vector<std::uint32_t> own_bitmap;
  std::vector<std::int32_t> own_tokens;
  std::size_t num_bytes() const;
};

/// A mask that is kept by the grammar or, past its bound on memory, by the caller.
struct MaskRef {
  const Mask* mask = nullptr;
  std::unique_ptr<Mask> owned;
};

/// Rules, vocabulary and the masks made so far. Masks may be asked for from any thread.
class CompiledGrammar {
 public:
  CompiledGrammar(Rules rules, std::shared_ptr<const TokenTrie> trie, std::size_t max_mask_bytes);
  ~CompiledGrammar();

  /// Makes masks of all states, then those of what may lie below them, until `max_nodes` trie nodes were visited.
  void make_ahead(std::int64_t max_nodes, const CancelToken* cancel);

  const Rules& rules() const { return rules_; }
  const TokenTrie& trie() const { return *trie_; }

  /// Adds what a stack allows to `bits`. `frames` are its return states from the lowest up, the top state last.
  /// `is_clear`: the bits are not yet written at all, and are written whole.
  void add_stack(std::span<const std::int32_t> frames, std::uint32_t count, bool is_clear,
                 std::span<std::uint32_t> bits) const;

  std::int64_t num_masks() const { return num_masks_.load(std::memory_order_relaxed); }
  std::int64_t mask_bytes() const { return mask_bytes_.load(std::memory_order_relaxed); }
  std::int64_t num_nodes_visited() const { return num_nodes_visited_.load(std::memory_order_relaxed); }

 private:
  /// The tokens that a body of counted rules allows from one of its states, by the repetitions they need.
  struct CountTable;

  MaskRef mask_of(std::int32_t state, std::uint32_t count) const;
  MaskRef mask_below(const Mask& above, std::int32_t state) const;
  MaskRef counted_mask(std::int32_t state, std::uint32_t count) const;
  const CountTable& count_table(std::int32_t state) const;
  std::unique_ptr<Mask> made(std::int32_t state, std::span<const std::int32_t> nodes) const;
  MaskRef keep(std::unordered_map<std::uint64_t, std::unique_ptr<Mask>>& masks, std::uint64_t key,
               std::unique_ptr<Mask> mask) const;
  void walk_stack(std::span<const std::int32_t> frames, std::uint32_t count, std::span<std::uint32_t> bits) const;

  Rules rules_;
  std::shared_ptr<const TokenTrie> trie_;
  std::size_t max_mask_bytes_;
  mutable std::vector<std::atomic<const Mask*>> by_state_;
  mutable std::shared_mutex mutex_;  ///< Of the four maps.
  mutable std::unordered_map<std::uint64_t, std::unique_ptr<Mask>> state_masks_;
  mutable std::unordered_map<std::uint64_t, std::unique_ptr<Mask>> below_masks_;
  mutable std::unordered_map<std::uint64_t, std::unique_ptr<Mask>> counted_masks_;
  mutable std::unordered_map<std::uint64_t, std::unique_ptr<CountTable>> count_tables_;
  mutable std::atomic<std::uint32_t> next_id_{1};
  mutable std::atomic<std::int64_t> num_masks_{0};
  mutable std::atomic<std::int64_t> mask_bytes_{0};
  mutable std::atomic<std::int64_t> num_nodes_visited_{0};
};

/// The scratch of the calling thread, ready for `rules`.
Walker& thread_walker(const Rules& rules);

}  // namespace pajamas::grammar
