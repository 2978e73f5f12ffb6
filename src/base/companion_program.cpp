// See companion_program.h.
#include "base/companion_program.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <thread>
#include <utility>

namespace pajamas {

int CompanionProgram::start(std::vector<std::string> words, const ProgramStreams& streams) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawnattr_init(&attributes);
  const std::array<std::pair<int, int>, 3> places{std::pair{streams.input, STDIN_FILENO},
                                                  std::pair{streams.output, STDOUT_FILENO},
                                                  std::pair{streams.errors, STDERR_FILENO}};
  for (const std::pair<int, int>& place : places) {
    if (place.first >= 0) {
      ::posix_spawn_file_actions_adddup2(&actions, place.first, place.second);
    } else {
      ::posix_spawn_file_actions_addopen(&actions, place.second, "/dev/null", O_RDWR, 0);
    }
  }
  sigset_t none;
  sigset_t defaults;
  ::sigemptyset(&none);
  ::sigfillset(&defaults);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &defaults);
  ::posix_spawnattr_setpgroup(&attributes, 0);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  const int error = ::posix_spawnp(&process_, words.at(0).c_str(), &actions, &attributes, arguments.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  ::posix_spawnattr_destroy(&attributes);
  if (error != 0) process_ = -1;
  return error;
}

int CompanionProgram::wait() {
  int status = 0;
  while (::waitpid(process_, &status, 0) < 0 && errno == EINTR) {
  }
  process_ = -1;
  return status;
}

std::optional<int> CompanionProgram::wait_until(std::chrono::steady_clock::time_point deadline) {
  using namespace std::chrono_literals;
  for (auto pause = 100us;; pause = std::min<std::chrono::microseconds>(2 * pause, 10ms)) {
    int status = 0;
    const pid_t ended = ::waitpid(process_, &status, WNOHANG);
    if (ended > 0) {
      process_ = -1;
      return status;
    }
    if (std::chrono::steady_clock::now() >= deadline) return std::nullopt;
    std::this_thread::sleep_for(pause);
  }
}

void CompanionProgram::stop() {
  if (process_ <= 0) return;
  ::kill(process_, SIGKILL);
  wait();
}

Descriptor above_standard_streams(Descriptor descriptor) {
  if (descriptor.get() > STDERR_FILENO) return descriptor;
  return Descriptor(::fcntl(descriptor.get(), F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
}

}  // namespace pajamas
