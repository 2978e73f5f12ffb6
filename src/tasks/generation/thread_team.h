// ThreadTeam: a few threads that share the items of one piece of work at a time, beside the thread that gives it. For
// drawing tokens of many sequences and making grammar masks while an engine runs; not a general task queue.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace pajamas {

/// Given work by one thread at a time.
class ThreadTeam {
 public:
  /// `num_helpers` 0: wait() does all of it.
  explicit ThreadTeam(std::size_t num_helpers);
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  /// Lets the helpers begin with work(item, thread) for items 0 .. num_items - 1, in no order; `thread` is below
  /// num_threads(). `work` must not throw, and lives until wait() returns.
  void start(std::size_t num_items, const std::function<void(std::size_t item, std::size_t thread)>& work);
  /// Takes part until all items are done.
  void wait();
  /// Helpers and the thread that waits.
  std::size_t num_threads() const { return helpers_.size() + 1; }

 private:
  void help(std::size_t thread);
  /// Does items until none is left to begin; the lock is held at entry and return.
  void work_on(std::size_t thread, std::unique_lock<std::mutex>& lock);

  std::mutex mutex_;
  std::condition_variable has_work_, is_done_;
  const std::function<void(std::size_t, std::size_t)>* work_ = nullptr;
  std::size_t next_ = 0, num_items_ = 0, num_unfinished_ = 0;
  bool is_ending_ = false;
  std::vector<std::thread> helpers_;
};

}  // namespace pajamas
