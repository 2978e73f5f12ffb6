// A bounded cache that makes what it lacks: plans by shape. Least recently used out. Header-only, knows no CUDA.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <future>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

namespace pajamas::cuda {

/// Thread-safe. Values are shared: one that was put out lives on where it is in use. Equal keys asked for at once are
/// made once; others do not wait for it. A maker that throws leaves nothing behind, and all who waited get its error.
template <typename Key, typename Value>
class PlanCache {
 public:
  using Pointer = std::shared_ptr<const Value>;

  /// `capacity` of at least 1.
  explicit PlanCache(std::size_t capacity) : capacity_(capacity) {}

  /// The value of `key`; `make()` gives a Pointer where there is none yet.
  template <typename Make>
  Pointer get(const Key& key, const Make& make) {
    std::promise<Pointer> promise;
    std::shared_future<Pointer> result;
    std::uint64_t ticket = 0;
    {
      const std::lock_guard lock(mutex_);
      const auto found = entries_.find(key);
      if (found != entries_.end()) {
        order_.splice(order_.begin(), order_, found->second.place);
        result = found->second.value;
      } else {
        ticket = ++last_ticket_;
        result = promise.get_future().share();
        order_.push_front(key);
        entries_.emplace(key, Entry{result, order_.begin(), ticket});
        while (entries_.size() > capacity_) {
          entries_.erase(order_.back());
          order_.pop_back();
        }
      }
    }
    if (ticket != 0) {
      try {
        promise.set_value(make());
      } catch (...) {
        promise.set_exception(std::current_exception());
        forget(key, ticket);
      }
    }
    return result.get();
  }

  std::size_t size() const {
    const std::lock_guard lock(mutex_);
    return entries_.size();
  }
  bool contains(const Key& key) const {
    const std::lock_guard lock(mutex_);
    return entries_.count(key) != 0;
  }

 private:
  struct Entry {
    std::shared_future<Pointer> value;
    typename std::list<Key>::iterator place;
    std::uint64_t ticket;  ///< Which call made it: a failed one must not remove its successor.
  };

  void forget(const Key& key, std::uint64_t ticket) {
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(key);
    if (found == entries_.end() || found->second.ticket != ticket) return;
    order_.erase(found->second.place);
    entries_.erase(found);
  }

  const std::size_t capacity_;
  mutable std::mutex mutex_;
  std::map<Key, Entry> entries_;
  std::list<Key> order_;  ///< Most recently used first.
  std::uint64_t last_ticket_ = 0;
};

}  // namespace pajamas::cuda
