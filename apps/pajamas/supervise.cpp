// fork, watch, clean up. See supervise.h.
#include "supervise.h"

#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <new>

#include "base/child_process.h"
#include "base/files.h"
#include "pajamas/error.h"

namespace pajamas::cli {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

/// How often the flag of Ctrl-C and the time limit are looked at; the end of the copy wakes at once.
constexpr int kPollMs = 50;
constexpr std::chrono::seconds kGrace{2};
/// TensorRT's own child has the same limit and a better message, so it goes first.
constexpr std::chrono::seconds kSlack{5};

/// A folder that the copy is filling; StagedDirectory stages one or two at once.
struct StagedFolder {
  std::atomic<bool> is_used{false};
  std::size_t num_made_parents = 0;
  char path[4096] = {};
};

struct SharedState {
  std::atomic<unsigned> num_reports{0};
  std::atomic<int> percent{-1};
  char step[128] = {};
  std::array<StagedFolder, 4> folders;
};

template <std::size_t N>
void copy_text(char (&to)[N], const std::string& text) {
  const std::size_t length = std::min(text.size(), N - 1);
  std::memcpy(to, text.data(), length);
  to[length] = '\0';
}

/// The text up to its end; a writer that died midway may have left none.
template <std::size_t N>
std::string text_of(const char (&from)[N]) {
  return {from, ::strnlen(from, N)};
}

/// The copy's side.
class SharedBoard final : public SupervisionBoard, public StagingObserver {
 public:
  explicit SharedBoard(SharedState& state) : state_(state) {}
  void set_step(const std::string& step, double fraction) override {
    const int percent = fraction >= 0 ? static_cast<int>(std::lround(100 * std::min(fraction, 1.0))) : -1;
    const bool is_same_step = step.compare(0, sizeof(state_.step) - 1, text_of(state_.step)) == 0;
    if (is_same_step && state_.percent == percent) return;
    if (!is_same_step) copy_text(state_.step, step);
    state_.percent = percent;
    state_.num_reports.fetch_add(1);
  }
  void on_begin(const fs::path& staging, std::size_t num_made_parents) override {
    for (StagedFolder& folder : state_.folders) {
      if (folder.is_used || staging.native().size() >= sizeof(folder.path)) continue;
      folder.num_made_parents = num_made_parents;
      copy_text(folder.path, staging.native());
      folder.is_used = true;
      return;
    }
  }
  void on_end(const fs::path& staging) override {
    for (StagedFolder& folder : state_.folders) {
      if (folder.is_used && staging.native() == text_of(folder.path)) folder.is_used = false;
    }
  }

 private:
  SharedState& state_;
};

[[noreturn]] void fail(const char* what) {
  throw Error(ErrorKind::kInternal, std::string(what) + ": " + std::strerror(errno), {},
              "the system is out of processes or memory: end other programs");
}

std::atomic<int> num_requests_to_stop{0};
extern "C" void count_request_to_stop(int) { num_requests_to_stop.fetch_add(1, std::memory_order_relaxed); }

/// Waits up to `timeout_ms` for the end of the process; true when it ended.
bool wait_for_end(pid_t pid, int pid_descriptor, int timeout_ms, int& status) {
  if (pid_descriptor >= 0) {
    pollfd wait{pid_descriptor, POLLIN, 0};
    ::poll(&wait, 1, timeout_ms);
  } else {  // Linux before 5.3 has no descriptor for a process.
    ::poll(nullptr, 0, timeout_ms);
  }
  const pid_t ended = ::waitpid(pid, &status, WNOHANG);
  if (ended < 0 && errno != EINTR) fail("lost the working process");
  return ended == pid;
}

/// Removes what the copy was staging. Its own children die a moment after it, so a folder may fill once more.
void remove_leavings(const SharedState& state, pid_t copy) {
  const std::string mark = ".partial-" + std::to_string(copy) + "-";
  for (const StagedFolder& folder : state.folders) {
    if (!folder.is_used) continue;
    const fs::path staging = text_of(folder.path);
    // The writer crashed: what it left must be a staging folder of its own before anything is removed.
    if (staging.filename().string().find(mark) == std::string::npos) continue;
    std::error_code error;
    for (int attempt = 0; attempt < 50; ++attempt) {
      fs::remove_all(staging, error);
      if (!fs::exists(staging, error)) break;
      ::poll(nullptr, 0, 20);
    }
    fs::path parent = staging.parent_path();
    for (std::size_t i = 0; i < folder.num_made_parents && ::rmdir(parent.c_str()) == 0; ++i) {
      parent = parent.parent_path();
    }
  }
}

/// How the copy was ended by force.
struct ForcedEnd {
  int signal = 0;
  bool is_out_of_time = false;
  bool is_requested = false;
};

[[noreturn]] void report(const ForcedEnd& end, const WatchedWork& work, const std::string& step) {
  const std::string doing = step.empty() ? std::string() : " while at the step '" + step + "'";
  if (end.is_out_of_time) {
    throw Error(ErrorKind::kUnsupported,
                work.name + " was stopped" + doing + ", which got no further for the limit of " +
                    std::to_string(work.step_limit.count()) + " s",
                work.where,
                "raise --time-limit; the libraries need very long for chains of thousands of nodes and for loops that "
                "do not end, which an export can often avoid");
  }
  if (end.is_requested) {
    throw Error(ErrorKind::kCancelled, work.name + " was stopped on request" + doing + "; nothing was left behind",
                work.where);
  }
  if (end.signal == SIGKILL) {
    throw Error(ErrorKind::kInternal, "the working process was killed from outside (SIGKILL)" + doing, work.where,
                "the system does this when memory runs out: free memory, or use a smaller model or batch");
  }
  throw Error(ErrorKind::kUnsupported, "a library crashed on this (" + signal_name(end.signal) + ")" + doing,
              work.where, work.crash_remedy);
}

}  // namespace

std::optional<int> supervise(Context& context, const WatchedWork& work) {
  void* memory = ::mmap(nullptr, sizeof(SharedState), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) fail("cannot share memory with a working process");
  auto* state = new (memory) SharedState;
  std::cout.flush();
  std::cerr.flush();
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) fail("cannot start a working process");
  if (pid == 0) {
    // A group of its own: Ctrl-C on a terminal reaches the watching process only, which passes it on once.
    ::setpgid(0, 0);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(exit_code(ErrorKind::kCancelled));
    const rlimit no_core{0, 0};
    ::setrlimit(RLIMIT_CORE, &no_core);
    static SharedBoard board(*state);
    context.board = &board;
    observe_staging(&board);
    return std::nullopt;
  }
  struct sigaction count {};
  count.sa_handler = count_request_to_stop;
  ::sigemptyset(&count.sa_mask);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) ::sigaction(signal, &count, nullptr);
  const int pid_descriptor = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
  int status = 0;
  ForcedEnd end;
  unsigned num_reports = 0;
  Clock::time_point step_start = Clock::now();
  Clock::time_point kill_at = Clock::time_point::max();
  while (!wait_for_end(pid, pid_descriptor, kPollMs, status)) {
    const Clock::time_point now = Clock::now();
    if (const unsigned seen = state->num_reports.load(); seen != num_reports) {
      num_reports = seen;
      step_start = now;
    }
    const int num_requests = num_requests_to_stop + (context.cancel->is_cancelled() ? 1 : 0);
    if (num_requests > 0 && !end.is_requested) {
      end.is_requested = true;
      kill_at = now + kGrace;
      ::kill(pid, SIGTERM);
    } else if (!end.is_out_of_time && now - step_start > work.step_limit + kSlack) {
      end.is_out_of_time = true;
      kill_at = now;
    }
    if (num_requests > 1) kill_at = std::min(kill_at, now);
    if (now >= kill_at) {
      kill_at = Clock::time_point::max();
      ::kill(pid, SIGKILL);
    }
  }
  if (pid_descriptor >= 0) ::close(pid_descriptor);
  if (WIFEXITED(status)) return WEXITSTATUS(status);
  remove_leavings(*state, pid);
  if (::isatty(STDERR_FILENO) != 0) std::fputs("\r\033[K", stderr);  // The copy's progress line.
  end.signal = WTERMSIG(status);
  report(end, work, text_of(state->step));
}

}  // namespace pajamas::cli
