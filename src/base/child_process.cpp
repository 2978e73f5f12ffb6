// fork and exec with limits. Between fork and exec only async-signal-safe calls are made, since the parent may have
// other threads; everything they need is prepared before. See child_process.h.
#include "base/child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <thread>

#include "base/descriptor.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr std::size_t kMaxLineBytes = 1U << 20;
constexpr std::size_t kMaxErrorBytes = 16U << 10;
// How often limits are looked at. A child that fills memory at 2 GB/s overshoots its limit by about 40 MB.
constexpr int kPollMs = 20;
constexpr milliseconds kTick{250};

[[noreturn]] void fail(const std::string& what, const std::filesystem::path& program, int error) {
  throw Error(ErrorKind::kInternal, what + ": " + system_reason(error), program.string());
}

struct Pipe {
  Descriptor read_end;
  Descriptor write_end;
};

/// Both ends are closed on exec and lie above the numbers that the child dups onto.
Pipe make_pipe(const std::filesystem::path& program) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) fail("cannot create a pipe to the program", program, errno);
  Pipe pipe{Descriptor(ends[0]), Descriptor(ends[1])};
  for (Descriptor* end : {&pipe.read_end, &pipe.write_end}) {
    if (end->get() > kChildReportDescriptor) continue;
    const int moved = ::fcntl(end->get(), F_DUPFD_CLOEXEC, kChildReportDescriptor + 1);
    if (moved < 0) fail("cannot create a pipe to the program", program, errno);
    end->reset(moved);
  }
  return pipe;
}

void set_limit(decltype(RLIMIT_STACK) which, rlim_t wanted) {
  rlimit limit{};
  if (::getrlimit(which, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max == RLIM_INFINITY ? wanted : std::min(wanted, limit.rlim_max);
  ::setrlimit(which, &limit);
}

/// The child between fork and exec. Never returns; an error number goes to `error_pipe`.
[[noreturn]] void become_program(const char* program, char* const* arguments, char* const* environment,
                                 const ChildCommand& command, pid_t parent, int null_device, int report, int error,
                                 int error_pipe) {
  const ChildLimits& limits = command.limits;
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);  // The parent died before the line above.
  struct sigaction default_action {};
  default_action.sa_handler = SIG_DFL;
  for (const int signal : {SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGPIPE, SIGXFSZ, SIGCHLD}) {
    ::sigaction(signal, &default_action, nullptr);
  }
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  set_limit(RLIMIT_CORE, 0);
  if (command.use_fixed_addresses) ::personality(ADDR_NO_RANDOMIZE);
  if (limits.stack_bytes != 0) set_limit(RLIMIT_STACK, limits.stack_bytes);
  if (limits.file_bytes != 0) set_limit(RLIMIT_FSIZE, limits.file_bytes);
  bool is_ready = ::dup2(null_device, STDIN_FILENO) >= 0 && ::dup2(null_device, STDOUT_FILENO) >= 0 &&
                  ::dup2(error, STDERR_FILENO) >= 0 && ::dup2(report, kChildReportDescriptor) >= 0;
  if (is_ready) {
    // Descriptors that the parent's other code opened without close-on-exec do not belong in the child.
    ::syscall(SYS_close_range, kChildReportDescriptor + 1, ~0U, 4U /* CLOSE_RANGE_CLOEXEC */);
    ::execve(program, arguments, environment);
  }
  const int saved = errno;
  [[maybe_unused]] const ssize_t ignored = ::write(error_pipe, &saved, sizeof saved);
  ::_exit(127);
}

/// Kills and reaps the child if an exception passes through.
class ChildGuard {
 public:
  explicit ChildGuard(pid_t pid) : pid_(pid) {}
  ~ChildGuard() {
    if (pid_ <= 0) return;
    kill_group(SIGKILL);
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  ChildGuard(const ChildGuard&) = delete;
  ChildGuard& operator=(const ChildGuard&) = delete;
  /// The group does not exist until the child made it, so the process itself is signalled too.
  void kill_group(int signal) const {
    ::kill(-pid_, signal);
    ::kill(pid_, signal);
  }
  void release() { pid_ = -1; }

 private:
  pid_t pid_;
};

std::uint64_t resident_bytes(pid_t pid) {
  std::array<char, 64> path{};
  std::snprintf(path.data(), path.size(), "/proc/%d/statm", static_cast<int>(pid));
  const Descriptor file(::open(path.data(), O_RDONLY | O_CLOEXEC));
  std::array<char, 128> text{};
  if (!file.is_open() || ::read(file.get(), text.data(), text.size() - 1) <= 0) return 0;
  unsigned long long size = 0;
  unsigned long long resident = 0;
  if (std::sscanf(text.data(), "%llu %llu", &size, &resident) != 2) return 0;
  return resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

/// Cuts what arrives on the report pipe into lines.
class LineReader {
 public:
  explicit LineReader(const std::function<void(std::string_view)>& on_line) : on_line_(on_line) {}
  void feed(std::string_view bytes) {
    while (!bytes.empty()) {
      const std::size_t end = bytes.find('\n');
      const std::string_view piece = bytes.substr(0, end);
      line_.append(piece.substr(0, kMaxLineBytes - std::min(kMaxLineBytes, line_.size())));
      if (end == std::string_view::npos) return;
      flush();
      bytes.remove_prefix(end + 1);
    }
  }
  void flush() {
    if (on_line_ && !line_.empty()) on_line_(line_);
    line_.clear();
  }

 private:
  const std::function<void(std::string_view)>& on_line_;
  std::string line_;
};

/// Reads what is there without blocking; closes the descriptor at its end. Reads more than any pipe holds, but not for
/// ever: a child that writes without end must not keep the caller from its limits.
template <typename Take>
void drain(Descriptor& descriptor, const Take& take) {
  std::array<char, 65536> buffer;
  constexpr int kMaxReads = 64;
  for (int i = 0; i < kMaxReads && descriptor.is_open(); ++i) {
    const ssize_t got = ::read(descriptor.get(), buffer.data(), buffer.size());
    if (got > 0) {
      take(std::string_view(buffer.data(), static_cast<std::size_t>(got)));
    } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
      descriptor.reset();
    } else if (errno == EAGAIN) {
      return;
    }
  }
}

}  // namespace

std::string signal_name(int signal) {
  const char* name = ::sigabbrev_np(signal);
  return name != nullptr ? std::string("SIG") + name : "signal " + std::to_string(signal);
}

std::string ChildResult::describe() const {
  std::array<char, 64> seconds{};
  std::snprintf(seconds.data(), seconds.size(), "%.1f s", static_cast<double>(elapsed.count()) / 1000.0);
  switch (end) {
    case ChildEnd::kExited: return "ended with exit code " + std::to_string(exit_code);
    case ChildEnd::kSignalled: return "was killed by " + signal_name(signal);
    case ChildEnd::kOutOfTime: return std::string("ran out of time after ") + seconds.data();
    case ChildEnd::kOutOfMemory:
      return "ran out of memory at " + std::to_string(peak_memory_bytes >> 20) + " MiB after " + seconds.data();
    case ChildEnd::kCancelled: return std::string("was stopped on request after ") + seconds.data();
  }
  return "ended";
}

ChildResult run_child(const ChildCommand& command) {
  const std::string program = command.program.string();
  std::vector<std::string> argument_texts{program};
  argument_texts.insert(argument_texts.end(), command.arguments.begin(), command.arguments.end());
  std::vector<std::string> environment_texts;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const bool is_replaced =
        std::any_of(command.environment.begin(), command.environment.end(),
                    [&](const auto& added) { return text.substr(0, text.find('=')) == added.first; });
    if (!is_replaced) environment_texts.emplace_back(text);
  }
  for (const auto& [name, value] : command.environment) environment_texts.push_back(name + "=" + value);
  const auto pointers = [](std::vector<std::string>& texts) {
    std::vector<char*> result;
    for (std::string& text : texts) result.push_back(text.data());
    result.push_back(nullptr);
    return result;
  };
  const std::vector<char*> arguments = pointers(argument_texts);
  const std::vector<char*> environment = pointers(environment_texts);

  Pipe report = make_pipe(command.program);
  Pipe errors = make_pipe(command.program);
  Pipe start = make_pipe(command.program);
  const Descriptor null_device(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null_device.is_open()) fail("cannot open /dev/null for the program", command.program, errno);

  const pid_t parent = ::getpid();
  const Clock::time_point begin = Clock::now();
  const pid_t pid = ::fork();
  if (pid < 0) fail("cannot start the program", command.program, errno);
  if (pid == 0) {
    become_program(program.c_str(), arguments.data(), environment.data(), command, parent, null_device.get(),
                   report.write_end.get(), errors.write_end.get(), start.write_end.get());
  }
  ChildGuard child(pid);
  report.write_end.reset();
  errors.write_end.reset();
  start.write_end.reset();
  int start_error = 0;
  ssize_t got;
  do {
    got = ::read(start.read_end.get(), &start_error, sizeof start_error);
  } while (got < 0 && errno == EINTR);
  if (got == static_cast<ssize_t>(sizeof start_error)) fail("cannot start the program", command.program, start_error);

  for (const Descriptor* end : {&report.read_end, &errors.read_end}) {
    ::fcntl(end->get(), F_SETFL, ::fcntl(end->get(), F_GETFL) | O_NONBLOCK);
  }
  ChildResult result;
  LineReader lines(command.on_line);
  const auto take_error = [&](std::string_view bytes) {
    result.error_tail.append(bytes);
    if (result.error_tail.size() > kMaxErrorBytes) {
      result.error_tail.erase(0, result.error_tail.size() - kMaxErrorBytes);
    }
  };
  const auto take_report = [&](std::string_view bytes) { lines.feed(bytes); };

  bool is_killed = false;
  Clock::time_point kill_at = Clock::time_point::max();
  Clock::time_point next_tick = begin + kTick;
  const auto elapsed = [&] { return std::chrono::duration_cast<milliseconds>(Clock::now() - begin); };
  const auto stop = [&](ChildEnd why) {
    result.end = why;
    child.kill_group(SIGKILL);
    is_killed = true;
  };
  int status = 0;
  rusage usage{};
  for (;;) {
    std::array<pollfd, 2> waits{pollfd{report.read_end.get(), POLLIN, 0}, pollfd{errors.read_end.get(), POLLIN, 0}};
    if (report.read_end.is_open() || errors.read_end.is_open()) {
      ::poll(waits.data(), waits.size(), kPollMs);  // A closed end has number -1, which poll skips.
    } else {
      std::this_thread::sleep_for(milliseconds(2));
    }
    const pid_t ended = ::wait4(pid, &status, WNOHANG, &usage);
    drain(errors.read_end, take_error);
    drain(report.read_end, take_report);
    if (ended == pid) break;
    if (ended < 0 && errno != EINTR) fail("lost the program", command.program, errno);
    const std::uint64_t resident = resident_bytes(pid);
    result.peak_memory_bytes = std::max(result.peak_memory_bytes, resident);
    if (is_killed) continue;
    const Clock::time_point now = Clock::now();
    if (command.limits.time.count() > 0 && now - begin >= command.limits.time) {
      stop(ChildEnd::kOutOfTime);
    } else if (command.limits.memory_bytes > 0 && resident > command.limits.memory_bytes) {
      stop(ChildEnd::kOutOfMemory);
    } else if (now >= kill_at) {
      stop(ChildEnd::kCancelled);
    } else if (command.cancel != nullptr && command.cancel->is_cancelled() && result.end != ChildEnd::kCancelled) {
      result.end = ChildEnd::kCancelled;
      kill_at = now + command.grace;
      child.kill_group(SIGTERM);
    }
    if (command.on_tick && now >= next_tick) {
      next_tick = now + kTick;
      command.on_tick(elapsed());
    }
  }
  child.release();
  ::kill(-pid, SIGKILL);  // What the child itself may have started.
  lines.flush();
  result.elapsed = elapsed();
  result.peak_memory_bytes =
      std::max(result.peak_memory_bytes, static_cast<std::uint64_t>(usage.ru_maxrss) * std::uint64_t{1024});
  if (WIFEXITED(status)) result.exit_code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) {
    result.signal = WTERMSIG(status);
    if (result.end == ChildEnd::kExited) result.end = ChildEnd::kSignalled;
  }
  return result;
}

}  // namespace pajamas
