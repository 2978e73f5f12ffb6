// See thread_team.h.
#include "tasks/generation/thread_team.h"

namespace pajamas {

ThreadTeam::ThreadTeam(std::size_t num_helpers) {
  helpers_.reserve(num_helpers);
  for (std::size_t i = 0; i < num_helpers; ++i) helpers_.emplace_back([this, i] { help(i); });
}

ThreadTeam::~ThreadTeam() {
  {
    const std::lock_guard lock(mutex_);
    is_ending_ = true;
  }
  has_work_.notify_all();
  for (std::thread& helper : helpers_) helper.join();
}

void ThreadTeam::start(std::size_t num_items, const std::function<void(std::size_t, std::size_t)>& work) {
  {
    const std::lock_guard lock(mutex_);
    work_ = &work;
    next_ = 0;
    num_items_ = num_unfinished_ = num_items;
  }
  if (num_items > 0) has_work_.notify_all();
}

void ThreadTeam::wait() {
  std::unique_lock lock(mutex_);
  work_on(helpers_.size(), lock);
  is_done_.wait(lock, [this] { return num_unfinished_ == 0; });
}

void ThreadTeam::work_on(std::size_t thread, std::unique_lock<std::mutex>& lock) {
  while (next_ < num_items_) {
    const std::size_t item = next_++;
    const auto& work = *work_;
    lock.unlock();
    work(item, thread);
    lock.lock();
    if (--num_unfinished_ == 0) is_done_.notify_all();
  }
}

void ThreadTeam::help(std::size_t thread) {
  std::unique_lock lock(mutex_);
  for (;;) {
    has_work_.wait(lock, [this] { return is_ending_ || next_ < num_items_; });
    if (is_ending_) return;
    work_on(thread, lock);
  }
}

}  // namespace pajamas
