// BlockPool: which blocks of a KV cache are free, who uses them and which are known by their content, so that prompts
// with the same beginning share them. Pure bookkeeping: it never touches the cache's memory, and knows no sequences
// (scheduler.h). Rules and reasons: docs/language-scheduler.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

namespace pajamas {

/// One thread at a time. A block is in exactly one of three states: free, used (by one or more holders), or cached
/// (published and held by nobody: kept until a block is needed, least recently used first).
class BlockPool {
 public:
  /// A published block's content together with all before it. Never given twice, so what was taken from the cache
  /// can never be mistaken for what takes its place.
  using Node = std::uint64_t;
  static constexpr Node kRoot = 0;  ///< The beginning of every text.

  /// `num_blocks` 1 .. 2^31-1, `block_size_tokens` 1 or more; Error{kInternal} otherwise. Without a prefix cache
  /// nothing is ever found and publish() gives back what it gets.
  BlockPool(std::int64_t num_blocks, std::int64_t block_size_tokens, bool has_prefix_cache = true);

  /// An unused block for a new holder, from the free ones, else the least recently used cached one, which is forgotten.
  /// Nothing when all are used.
  std::optional<std::int32_t> take();
  /// One more holder of a used block.
  void share(std::int32_t block);
  /// The holder gives up blocks in the order of its text. Those that nobody else holds become cached or free.
  void release(std::span<const std::int32_t> blocks);
  bool is_shared(std::int32_t block) const { return info(block).num_holders > 1; }

  /// Cached or used blocks that hold the beginning of `tokens`.
  struct Prefix {
    std::vector<std::int32_t> blocks;
    Node node = kRoot;  ///< Of the last one.
  };
  /// The longest such beginning of at most `max_blocks` whole blocks, held for the caller.
  Prefix find(std::span<const std::int32_t> tokens, std::size_t max_blocks);

  struct Published {
    std::int32_t block = 0;  ///< The block to hold from now on.
    Node node = kRoot;
  };
  /// Makes a used block findable: `tokens` (block_size_tokens of them, else Error{kInternal}) after the content of
  /// `parent`. Where the same content is there already, the caller holds that block instead and `block` is released.
  Published publish(std::int32_t block, Node parent, std::span<const std::int32_t> tokens);
  /// Makes blocks unfindable again; holders keep them.
  void withdraw(std::span<const std::int32_t> blocks);

  std::int64_t num_blocks() const { return static_cast<std::int64_t>(blocks_.size()); }
  std::int64_t block_size_tokens() const { return block_size_tokens_; }
  /// Blocks that take() can still give: free and cached ones.
  std::int64_t num_available() const { return static_cast<std::int64_t>(free_.size()) + num_cached_; }
  std::int64_t num_cached() const { return num_cached_; }
  std::int64_t num_evictions() const { return num_evictions_; }

 private:
  static constexpr std::int32_t kNone = -1;
  struct Block {
    std::int32_t num_holders = 0;
    std::int32_t previous = kNone, next = kNone;  // in the list of cached blocks, least recently used first
    Node node = kRoot;                            // kRoot: not published
    Node parent = kRoot;
    std::uint64_t hash = 0;
  };

  const Block& info(std::int32_t block) const;
  Block& used(std::int32_t block);
  std::uint64_t hash_of(Node parent, std::span<const std::int32_t> tokens) const;
  std::int32_t find_published(std::uint64_t hash, Node parent, std::span<const std::int32_t> tokens) const;
  void hold(std::int32_t block);
  void release_one(std::int32_t block);
  void unpublish(std::int32_t block);
  void append_cached(std::int32_t block);
  void remove_cached(std::int32_t block);

  std::int64_t block_size_tokens_;
  bool has_prefix_cache_;
  std::uint64_t hash_seed_;
  std::vector<Block> blocks_;
  std::vector<std::int32_t> tokens_;  // [num_blocks, block_size_tokens], of published blocks
  std::vector<std::int32_t> free_;    // last out first in: memory that was written before is used again
  std::int32_t cached_first_ = kNone, cached_last_ = kNone;
  std::int64_t num_cached_ = 0, num_evictions_ = 0;
  Node next_node_ = kRoot + 1;
  std::unordered_multimap<std::uint64_t, std::int32_t> published_;  // by hash of parent and tokens
};

}  // namespace pajamas
