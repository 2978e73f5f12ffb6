// The progress line: step, bar and elapsed time, redrawn in place on a terminal. Where stderr is not a terminal nothing
// is drawn; --log-level info shows the steps there.
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdio>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "base/log.h"
#include "cli.h"
#include "supervise.h"

namespace pajamas::cli {
namespace {

/// Draws until destroyed. Reports may come from any thread; a thread of its own redraws, so that the elapsed time moves
/// while a vendor library is silent.
class ProgressLine {
 public:
  ProgressLine() : thread_([this] { loop(); }) {}
  ~ProgressLine() {
    {
      const std::lock_guard lock(mutex_);
      is_done_ = true;
    }
    wake_.notify_all();
    thread_.join();
    std::fputs("\r\033[K", stderr);
  }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  void report(const ProgressEvent& event) {
    const std::lock_guard lock(mutex_);
    if (event.step != event_.step) step_start_ = std::chrono::steady_clock::now();
    event_ = event;
  }

 private:
  void loop() {
    std::unique_lock lock(mutex_);
    while (!wake_.wait_for(lock, std::chrono::milliseconds(150), [this] { return is_done_; })) {
      if (!event_.step.empty()) draw();
    }
  }
  void draw() const {
    const double elapsed_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - step_start_).count();
    std::string bar;
    if (event_.fraction >= 0) {
      constexpr int kWidth = 20;
      const int filled = static_cast<int>(std::lround(event_.fraction * kWidth));
      bar = fmt::format(" [{:<{}}] {:3.0f}%", std::string(static_cast<std::size_t>(filled), '#'), kWidth,
                        event_.fraction * 100);
    }
    std::string text = fmt::format("{}{} {:.1f} s {}", event_.step, bar, elapsed_s, event_.detail);
    if (text.size() > 110) text.resize(110);
    std::fprintf(stderr, "\r\033[K%s", text.c_str());
    std::fflush(stderr);
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  bool is_done_ = false;
  ProgressEvent event_;
  std::chrono::steady_clock::time_point step_start_ = std::chrono::steady_clock::now();
  std::thread thread_;
};

}  // namespace

Progress Context::progress() const {
  Progress progress;
  progress.cancel = cancel;
  if (::isatty(STDERR_FILENO) != 0) {
    auto line = std::make_shared<ProgressLine>();
    progress.report = [line](const ProgressEvent& event) { line->report(event); };
  } else {
    auto last_step = std::make_shared<std::string>();
    progress.report = [last_step](const ProgressEvent& event) {
      if (event.step != *last_step) log().info("{}", event.step);
      *last_step = event.step;
    };
  }
  if (board != nullptr) {
    progress.report = [watcher = board, show = std::move(progress.report)](const ProgressEvent& event) {
      watcher->set_step(event.step, event.fraction);
      show(event);
    };
  }
  return progress;
}

}  // namespace pajamas::cli
