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
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <memory>
#include <new>

#include "base/child_process.h"
#include "pajamas/error.h"

namespace pajamas::cli {
namespace {

using Clock = std::chrono::steady_clock;

/// How often the flag of Ctrl-C and the time limit are looked at; the end of the copy wakes at once.
constexpr int kPollMs = 50;
constexpr std::chrono::seconds kGrace{2};
/// TensorRT's own child has the same limit and a better message, so it goes first.
constexpr std::chrono::seconds kSlack{5};

struct SharedState {
  std::atomic<unsigned> num_steps{0};
  char step[128] = {};
  char staging[4096] = {};
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

class SharedBoard final : public SupervisionBoard {
 public:
  explicit SharedBoard(SharedState& state) : state_(state) {}
  void set_step(const std::string& step) override {
    if (step.compare(0, sizeof(state_.step) - 1, state_.step) == 0) return;
    copy_text(state_.step, step);
    state_.num_steps.fetch_add(1);
  }
  void set_staging(const std::filesystem::path& folder) override { copy_text(state_.staging, folder.string()); }

 private:
  SharedState& state_;
};

[[noreturn]] void fail(const char* what) {
  throw Error(ErrorKind::kInternal, std::string(what) + ": " + std::strerror(errno), {},
              "the system is out of processes or memory: end other programs");
}

/// Waits up to `timeout_ms` for the end of the process; true when it ended.
bool wait_for_end(pid_t pid, int pid_descriptor, int timeout_ms, int& status) {
  if (pid_descriptor >= 0) {
    pollfd wait{pid_descriptor, POLLIN, 0};
    ::poll(&wait, 1, timeout_ms);
  } else {  // Linux before 5.3 has no descriptor for a process.
    ::poll(nullptr, 0, timeout_ms);
  }
  const pid_t ended = ::waitpid(pid, &status, WNOHANG);
  if (ended < 0 && errno != EINTR) fail("lost the building process");
  return ended == pid;
}

void remove_staging(const SharedState& state) {
  std::error_code ignored;
  if (const std::string staging = text_of(state.staging); !staging.empty()) {
    std::filesystem::remove_all(staging, ignored);
  }
  if (::isatty(STDERR_FILENO) != 0) std::fputs("\r\033[K", stderr);  // The copy's progress line.
}

}  // namespace

Supervision supervise(const std::string& model, std::chrono::seconds step_limit, const CancelToken& cancel) {
  void* memory = ::mmap(nullptr, sizeof(SharedState), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) fail("cannot share memory with the building process");
  auto* state = new (memory) SharedState;
  std::cout.flush();
  std::cerr.flush();
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) fail("cannot start the building process");
  if (pid == 0) {
    // A group of its own: Ctrl-C on a terminal reaches the watching process only, which passes it on once.
    ::setpgid(0, 0);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(exit_code(ErrorKind::kCancelled));
    const rlimit no_core{0, 0};
    ::setrlimit(RLIMIT_CORE, &no_core);
    static SharedBoard board(*state);
    return {&board, 0};
  }
  const int pid_descriptor = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
  int status = 0;
  bool is_out_of_time = false;
  bool is_stopping = false;
  unsigned num_steps = 0;
  Clock::time_point step_start = Clock::now();
  Clock::time_point kill_at = Clock::time_point::max();
  while (!wait_for_end(pid, pid_descriptor, kPollMs, status)) {
    const Clock::time_point now = Clock::now();
    if (const unsigned seen = state->num_steps.load(); seen != num_steps) {
      num_steps = seen;
      step_start = now;
    }
    if (cancel.is_cancelled() && !is_stopping) {
      is_stopping = true;
      kill_at = now + kGrace;
      ::kill(pid, SIGTERM);
    } else if (!is_out_of_time && now - step_start > step_limit + kSlack) {
      is_out_of_time = true;
      kill_at = now;
    }
    if (now >= kill_at) {
      kill_at = Clock::time_point::max();
      ::kill(pid, SIGKILL);
    }
  }
  if (pid_descriptor >= 0) ::close(pid_descriptor);
  if (WIFEXITED(status)) return {nullptr, WEXITSTATUS(status)};

  remove_staging(*state);
  const std::string step = text_of(state->step);
  const std::string doing = step.empty() ? std::string() : " while at the step '" + step + "'";
  const int signal = WTERMSIG(status);
  if (is_out_of_time) {
    throw Error(ErrorKind::kUnsupported,
                "the build was stopped" + doing + ", which took longer than the limit of " +
                    std::to_string(step_limit.count()) + " s",
                model,
                "raise --time-limit; the libraries need very long for chains of thousands of nodes and for loops that "
                "do not end, which an export can often avoid");
  }
  if (is_stopping) {
    throw Error(ErrorKind::kCancelled, "stopped on request" + doing + "; nothing was left behind", model);
  }
  if (signal == SIGKILL) {
    throw Error(ErrorKind::kInternal, "the building process was killed from outside (SIGKILL)" + doing, model,
                "the system does this when memory runs out: free memory, or use a smaller model or batch");
  }
  throw Error(ErrorKind::kUnsupported, "a library crashed on this model (" + signal_name(signal) + ")" + doing, model,
              "check the model with its exporter, simplify it, or build for another target; nothing was left behind");
}

}  // namespace pajamas::cli
