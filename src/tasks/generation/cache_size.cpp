// See cache_size.h.
#include "tasks/generation/cache_size.h"

#include <algorithm>
#include <limits>
#include <string>

#include "pajamas/error.h"

namespace pajamas {
namespace {

constexpr std::int64_t kDefaultSequences = 4;
constexpr std::int64_t kMaxBlocks = std::numeric_limits<std::int32_t>::max();  // block tables are int32

std::string in_bytes(std::uint64_t bytes) { return std::to_string(bytes) + " bytes"; }

}  // namespace

std::int64_t choose_num_blocks(const KvCacheLayout& layout, std::int64_t context_length, std::size_t kv_cache_bytes,
                               std::uint64_t free_bytes) {
  const std::uint64_t block_bytes = std::max<std::uint64_t>(layout.block_bytes, 1);
  const std::string block =
      "a block of " + std::to_string(layout.block_size_tokens) + " tokens takes " + in_bytes(block_bytes);
  if (kv_cache_bytes > 0) {
    const std::uint64_t num_blocks = kv_cache_bytes / block_bytes;
    if (num_blocks == 0) {
      throw Error(ErrorKind::kUsage, "a cache of " + in_bytes(kv_cache_bytes) + " holds nothing: " + block,
                  "kv_cache_bytes", "give more, or 0 for the default");
    }
    if (kv_cache_bytes > free_bytes) {
      throw Error(
          ErrorKind::kDeviceMissing,
          "a cache of " + in_bytes(kv_cache_bytes) + " was asked for, but " + in_bytes(free_bytes) + " are free",
          "kv_cache_bytes", "ask for less, or free memory");
    }
    return std::min(static_cast<std::int64_t>(std::min<std::uint64_t>(num_blocks, kMaxBlocks)), kMaxBlocks);
  }
  const std::int64_t num_one = (context_length + layout.block_size_tokens - 1) / layout.block_size_tokens;
  const auto blocks_in = [&](std::uint64_t bytes) {
    return static_cast<std::int64_t>(std::min<std::uint64_t>(bytes / block_bytes, kMaxBlocks));
  };
  std::int64_t num_blocks = std::min(kDefaultSequences * num_one, blocks_in(free_bytes / 4));
  // One whole sequence is worth more than a quarter.
  num_blocks = std::max(num_blocks, std::min(num_one, blocks_in(free_bytes / 4 * 3)));
  if (num_blocks == 0) {
    throw Error(ErrorKind::kDeviceMissing,
                "there is no memory for a cache: " + block + ", but " + in_bytes(free_bytes) + " are free",
                "kv_cache_bytes", "free memory, or use a smaller model");
  }
  return num_blocks;
}

}  // namespace pajamas
