// See parallel.h.
#include "targets/cuda/runtime/parallel.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace pajamas::cuda {

void parallel_for(const DeviceContext& device, std::size_t count, int num_threads,
                  const std::function<void(std::size_t)>& work) {
  const std::size_t wanted = num_threads > 0 ? static_cast<std::size_t>(num_threads)
                                             : std::max<std::size_t>(1, std::thread::hardware_concurrency());
  const std::size_t num_workers = std::min(wanted, count);
  if (num_workers <= 1) {
    for (std::size_t i = 0; i < count; ++i) work(i);
    return;
  }
  std::atomic<std::size_t> next{0};
  std::atomic<bool> is_stopped{false};
  std::mutex mutex;
  std::exception_ptr failure;
  const auto loop = [&] {
    try {
      device.make_current();
      while (!is_stopped) {
        const std::size_t i = next++;
        if (i >= count) return;
        work(i);
      }
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
      is_stopped = true;
    }
  };
  std::vector<std::thread> threads;
  for (std::size_t i = 1; i < num_workers; ++i) threads.emplace_back(loop);
  loop();
  for (std::thread& thread : threads) thread.join();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace pajamas::cuda
