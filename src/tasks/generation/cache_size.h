// How many blocks the KV cache of a generator gets, from what was asked for and what is free. Rules:
// docs/language-scheduler.md.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/kv_cache.h"

namespace pajamas {

/// `kv_cache_bytes` 0: the default size. `free_bytes`: what a cache could take. Throws Error{kUsage} where what was
/// asked for holds no block, Error{kDeviceMissing} where it, or by default a single block, is more than is free; the
/// message has the sizes.
std::int64_t choose_num_blocks(const KvCacheLayout& layout, std::int64_t context_length, std::size_t kv_cache_bytes,
                               std::uint64_t free_bytes);

}  // namespace pajamas
