// See block_pool.h.
#include "tasks/generation/block_pool.h"

#include <algorithm>
#include <limits>
#include <random>
#include <string>

#include "pajamas/error.h"

namespace pajamas {
namespace {

[[noreturn]] void fail(const std::string& message) {
  throw Error(ErrorKind::kInternal, message, "block pool", "this is a fault of pajamas: please report it");
}

/// The finaliser of MurmurHash3 (public domain, A. Appleby): every bit of the input changes every bit with
/// probability 1/2.
std::uint64_t mix(std::uint64_t x) {
  x ^= x >> 33;
  x *= 0xff51afd7ed558ccdULL;
  x ^= x >> 33;
  x *= 0xc4ceb9fe1a85ec53ULL;
  return x ^ (x >> 33);
}

}  // namespace

BlockPool::BlockPool(std::int64_t num_blocks, std::int64_t block_size_tokens, bool has_prefix_cache)
    : block_size_tokens_(block_size_tokens), has_prefix_cache_(has_prefix_cache), hash_seed_(std::random_device{}()) {
  if (num_blocks < 1 || num_blocks > std::numeric_limits<std::int32_t>::max() || block_size_tokens < 1) {
    fail("a cache of " + std::to_string(num_blocks) + " blocks of " + std::to_string(block_size_tokens) + " tokens");
  }
  blocks_.resize(static_cast<std::size_t>(num_blocks));
  if (has_prefix_cache_) tokens_.resize(blocks_.size() * static_cast<std::size_t>(block_size_tokens));
  free_.resize(blocks_.size());
  // The lowest number is taken first.
  for (std::size_t i = 0; i < free_.size(); ++i) free_[i] = static_cast<std::int32_t>(free_.size() - 1 - i);
}

const BlockPool::Block& BlockPool::info(std::int32_t block) const {
  if (block < 0 || static_cast<std::size_t>(block) >= blocks_.size()) fail("no block " + std::to_string(block));
  return blocks_[static_cast<std::size_t>(block)];
}

BlockPool::Block& BlockPool::used(std::int32_t block) {
  if (info(block).num_holders < 1) fail("block " + std::to_string(block) + " is held by nobody");
  return blocks_[static_cast<std::size_t>(block)];
}

std::uint64_t BlockPool::hash_of(Node parent, std::span<const std::int32_t> tokens) const {
  // Seeded by chance, so that nobody can make prompts whose blocks all fall together; tokens are compared besides.
  std::uint64_t hash = mix(hash_seed_ ^ parent);
  for (const std::int32_t token : tokens) hash = mix(hash ^ static_cast<std::uint32_t>(token)) + 0x9e3779b97f4a7c15ULL;
  return hash;
}

std::int32_t BlockPool::find_published(std::uint64_t hash, Node parent, std::span<const std::int32_t> tokens) const {
  const auto range = published_.equal_range(hash);
  for (auto it = range.first; it != range.second; ++it) {
    const Block& candidate = blocks_[static_cast<std::size_t>(it->second)];
    const auto* known = tokens_.data() + it->second * block_size_tokens_;
    if (candidate.parent == parent && std::equal(tokens.begin(), tokens.end(), known)) return it->second;
  }
  return kNone;
}

void BlockPool::append_cached(std::int32_t block) {
  Block& entry = blocks_[static_cast<std::size_t>(block)];
  entry.previous = cached_last_;
  entry.next = kNone;
  if (cached_last_ != kNone) blocks_[static_cast<std::size_t>(cached_last_)].next = block;
  if (cached_first_ == kNone) cached_first_ = block;
  cached_last_ = block;
  ++num_cached_;
}

void BlockPool::remove_cached(std::int32_t block) {
  Block& entry = blocks_[static_cast<std::size_t>(block)];
  if (entry.previous == kNone) {
    cached_first_ = entry.next;
  } else {
    blocks_[static_cast<std::size_t>(entry.previous)].next = entry.next;
  }
  if (entry.next == kNone) {
    cached_last_ = entry.previous;
  } else {
    blocks_[static_cast<std::size_t>(entry.next)].previous = entry.previous;
  }
  entry.previous = entry.next = kNone;
  --num_cached_;
}

void BlockPool::unpublish(std::int32_t block) {
  Block& entry = blocks_[static_cast<std::size_t>(block)];
  const auto range = published_.equal_range(entry.hash);
  for (auto it = range.first; it != range.second; ++it) {
    if (it->second != block) continue;
    published_.erase(it);
    break;
  }
  entry.node = entry.parent = kRoot;
}

void BlockPool::hold(std::int32_t block) {
  if (blocks_[static_cast<std::size_t>(block)].num_holders++ == 0) remove_cached(block);
}

void BlockPool::release_one(std::int32_t block) {
  Block& entry = used(block);
  if (--entry.num_holders > 0) return;
  if (entry.node != kRoot) {
    append_cached(block);
  } else {
    free_.push_back(block);
  }
}

std::optional<std::int32_t> BlockPool::take() {
  std::int32_t block = kNone;
  if (!free_.empty()) {
    block = free_.back();
    free_.pop_back();
  } else if (cached_first_ != kNone) {
    block = cached_first_;
    remove_cached(block);
    unpublish(block);
    ++num_evictions_;
  } else {
    return std::nullopt;
  }
  blocks_[static_cast<std::size_t>(block)].num_holders = 1;
  return block;
}

void BlockPool::share(std::int32_t block) { ++used(block).num_holders; }

void BlockPool::release(std::span<const std::int32_t> blocks) {
  // Last first: of one text the end is forgotten before the beginning, without which it could not be found.
  for (auto it = blocks.rbegin(); it != blocks.rend(); ++it) release_one(*it);
}

BlockPool::Prefix BlockPool::find(std::span<const std::int32_t> tokens, std::size_t max_blocks) {
  Prefix prefix;
  if (!has_prefix_cache_) return prefix;
  const auto size = static_cast<std::size_t>(block_size_tokens_);
  max_blocks = std::min(max_blocks, tokens.size() / size);
  while (prefix.blocks.size() < max_blocks) {
    const auto content = tokens.subspan(prefix.blocks.size() * size, size);
    const std::int32_t block = find_published(hash_of(prefix.node, content), prefix.node, content);
    if (block == kNone) break;
    hold(block);
    prefix.blocks.push_back(block);
    prefix.node = blocks_[static_cast<std::size_t>(block)].node;
  }
  return prefix;
}

BlockPool::Published BlockPool::publish(std::int32_t block, Node parent, std::span<const std::int32_t> tokens) {
  Block& entry = used(block);
  if (!has_prefix_cache_) return {block, kRoot};
  if (static_cast<std::int64_t>(tokens.size()) != block_size_tokens_) fail("only full blocks are published");
  if (entry.node != kRoot) return {block, entry.node};
  const std::uint64_t hash = hash_of(parent, tokens);
  const std::int32_t known = find_published(hash, parent, tokens);
  if (known != kNone) {
    hold(known);
    release_one(block);
    return {known, blocks_[static_cast<std::size_t>(known)].node};
  }
  std::copy(tokens.begin(), tokens.end(), tokens_.begin() + block * block_size_tokens_);
  entry.node = next_node_++;
  entry.parent = parent;
  entry.hash = hash;
  published_.emplace(hash, block);
  return {block, entry.node};
}

void BlockPool::withdraw(std::span<const std::int32_t> blocks) {
  for (const std::int32_t block : blocks) {
    if (info(block).node == kRoot) continue;
    unpublish(block);
    if (info(block).num_holders > 0) continue;
    remove_cached(block);
    free_.push_back(block);
  }
}

}  // namespace pajamas
