// KvCache: the keys and values of past tokens, in blocks of equal size that are handed out one by one (paged attention,
// Kwon et al. 2023, arXiv 2309.06180). What a block holds inside is the target's own affair; which block belongs to
// which sequence is the scheduler's (tasks/generation/).
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>

namespace pajamas {

/// What one block of a cache is.
struct KvCacheLayout {
  std::int64_t block_size_tokens = 0;  ///< Tokens a block holds, 1 or more.
  std::size_t block_bytes = 0;         ///< Memory of one block over all layers, keys and values.
  std::int64_t num_layers = 0;
  nlohmann::json facts;  ///< The target's record for reports: {"precision": "u8", ...}.
};

/// A pool of blocks for all layers of one model. Made by Engine::new_kv_cache. Used by one session at a time.
class KvCache {
 public:
  virtual ~KvCache() = default;
  virtual const KvCacheLayout& layout() const = 0;
  /// Blocks are numbered 0 .. num_blocks() - 1.
  virtual std::int64_t num_blocks() const = 0;
  /// Copies all layers of block `from` over block `to`. Not while a session runs with this cache. Throws
  /// Error{kInternal} for numbers out of range.
  virtual void copy_block(std::int64_t from, std::int64_t to) = 0;
};

}  // namespace pajamas
