// How much memory this process could still take: what the system has, and what the control groups around the process
// leave. An estimate of this moment, for sizing caches; nothing is reserved.
#pragma once

#include <cstdint>
#include <filesystem>

namespace pajamas {

/// Bytes: the least of MemAvailable and, for each control group that holds this process (version 1 or 2), its limit
/// less what it uses, page cache that can be dropped not counted. UINT64_MAX where the system says nothing. `root`:
/// where /proc and /sys lie, for tests. Throws nothing.
std::uint64_t free_memory_bytes(const std::filesystem::path& root = "/");

}  // namespace pajamas
