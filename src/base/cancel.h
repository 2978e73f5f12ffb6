// Cancellation and progress, passed by reference through every long step. Not signal handling: the command line
// connects SIGINT to the process-wide token.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <string_view>

namespace pajamas {

/// A flag that one thread (or a signal handler: `cancel` is async-signal-safe) sets and long work polls.
class CancelToken {
 public:
  void cancel() noexcept { is_cancelled_.store(true, std::memory_order_relaxed); }
  bool is_cancelled() const noexcept { return is_cancelled_.load(std::memory_order_relaxed); }
  /// Throws Error{kCancelled} naming `step` when cancelled.
  void check(std::string_view step) const;

 private:
  std::atomic<bool> is_cancelled_{false};
};

/// One report of progress. `fraction` is in [0, 1], or negative where the amount of work is not known.
struct ProgressEvent {
  std::string step;    ///< "Building engine", "Verifying", ...
  std::string detail;  ///< Free text, may be empty.
  double fraction = -1.0;
};

/// What long steps are given: where to report, and whether to stop. Both pointers may be null. The callback is called
/// from the thread that does the work, at most a few times a second.
struct Progress {
  std::function<void(const ProgressEvent&)> report;
  const CancelToken* cancel = nullptr;

  void step(std::string_view name, double fraction = -1.0, std::string_view detail = {}) const;
  /// Throws Error{kCancelled} when the token is set.
  void check(std::string_view step) const;
};

}  // namespace pajamas
