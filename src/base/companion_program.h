// A program that runs beside this one and talks with it over descriptors, ended with its owner. Not for a program that
// is run to its end under limits: that is child_process.h.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "base/descriptor.h"

namespace pajamas {

/// What the program gets as its standard streams; each stays the caller's. -1: /dev/null.
struct ProgramStreams {
  int input = -1;
  int output = -1;
  int errors = -1;
};

/// One program, started without a shell: in a process group of its own (Ctrl-C on a terminal does not reach it), with
/// no signal blocked or ignored, and with no descriptor but its streams and those that lack O_CLOEXEC. One thread at a
/// time.
class CompanionProgram {
 public:
  CompanionProgram() = default;
  /// Kills and reaps it.
  ~CompanionProgram() { stop(); }
  CompanionProgram(const CompanionProgram&) = delete;
  CompanionProgram& operator=(const CompanionProgram&) = delete;

  /// Starts words[0], a path or a name looked for on PATH. 0, or the system's error number (ENOENT: no such program).
  /// Nothing may be running. The streams must lie above descriptor 2: above_standard_streams().
  [[nodiscard]] int start(std::vector<std::string> words, const ProgramStreams& streams);
  /// Waits for its end; the status of waitpid(). Must be running.
  int wait();
  /// The same, but nothing when it has not ended by then.
  std::optional<int> wait_until(std::chrono::steady_clock::time_point deadline);
  void stop();
  bool is_running() const { return process_ > 0; }

 private:
  pid_t process_ = -1;
};

/// The same stream under a number above 2, closed on exec: a program's standard streams are put in place one after
/// another, so none may lie where another belongs. Not open where the system refuses (errno).
Descriptor above_standard_streams(Descriptor descriptor);

}  // namespace pajamas
