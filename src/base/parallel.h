// A loop over several threads. For work that takes milliseconds at least: the threads are started for it. Not a pool.
#pragma once

#include <cstdint>
#include <functional>

namespace pajamas {

/// Calls body(0), body(1), ... body(count - 1), each once, from `num_threads` threads (0: as many as the machine has),
/// the calling one among them, and returns when all are done. Indices are begun in rising order. When a call throws no
/// further ones begin, and the first exception passes through. The body must be safe to call from several threads.
void parallel_for(std::int64_t count, int num_threads, const std::function<void(std::int64_t)>& body);

}  // namespace pajamas
