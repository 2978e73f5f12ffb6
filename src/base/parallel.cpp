// Threads of parallel_for. See parallel.h.
#include "base/parallel.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace pajamas {

void parallel_for(std::int64_t count, int num_threads, const std::function<void(std::int64_t)>& body) {
  if (count <= 0) return;
  const std::int64_t wanted =
      num_threads > 0 ? num_threads : static_cast<std::int64_t>(std::max(1U, std::thread::hardware_concurrency()));
  std::atomic<std::int64_t> next{0};
  std::mutex mutex;
  std::exception_ptr first_exception;
  const auto work = [&] {
    for (;;) {
      const std::int64_t index = next.fetch_add(1);
      if (index >= count) return;
      try {
        body(index);
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (first_exception == nullptr) first_exception = std::current_exception();
        next.store(count);
        return;
      }
    }
  };
  std::vector<std::jthread> threads;
  for (std::int64_t i = 1; i < std::min(wanted, count); ++i) threads.emplace_back(work);
  work();
  threads.clear();  // joins
  if (first_exception != nullptr) std::rethrow_exception(first_exception);
}

}  // namespace pajamas
