// Runs a program in a child process with limits and says exactly how it ended. Used where code that we do not control
// may crash, hang or eat the memory: it then takes down the child and not us. Not a shell and not a pool: one program,
// one run, no standard input.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/cancel.h"

namespace pajamas {

/// Limits on the child. Zero means none.
struct ChildLimits {
  std::chrono::milliseconds time{0};  ///< Wall-clock time, after which the child is killed.
  std::uint64_t memory_bytes = 0;     ///< Resident memory, sampled every 20 ms; the child is killed when it is above.
  std::uint64_t stack_bytes = 0;      ///< Stack of the child's main thread; 0: inherited.
  std::uint64_t file_bytes = 0;       ///< Largest file the child may write.
};

/// File descriptor on which the child finds the pipe whose lines reach ChildCommand::on_line.
inline constexpr int kChildReportDescriptor = 3;

struct ChildCommand {
  std::filesystem::path program;
  std::vector<std::string> arguments;                            ///< Without the program's own name.
  std::vector<std::pair<std::string, std::string>> environment;  ///< Added to the parent's.
  ChildLimits limits;
  bool use_fixed_addresses = false;  ///< No address randomisation, where the system allows that: repeatable results.
  /// Each line (without its end) that the child writes to kChildReportDescriptor, on the calling thread. Lines longer
  /// than 1 MiB are cut. An exception ends the child and passes through.
  std::function<void(std::string_view line)> on_line;
  /// Called on the calling thread about four times a second while the child runs.
  std::function<void(std::chrono::milliseconds elapsed)> on_tick;
  const CancelToken* cancel = nullptr;  ///< When set: SIGTERM, then SIGKILL after `grace`.
  std::chrono::milliseconds grace{2000};
};

enum class ChildEnd {
  kExited,       ///< By itself, with `exit_code`.
  kSignalled,    ///< Killed by `signal`, not sent by us.
  kOutOfTime,    ///< Killed by us at limits.time.
  kOutOfMemory,  ///< Killed by us at limits.memory_bytes.
  kCancelled,    ///< Stopped by us on request.
};

struct ChildResult {
  ChildEnd end = ChildEnd::kExited;
  int exit_code = 0;
  int signal = 0;
  std::string error_tail;  ///< The last 16 KiB the child wrote to standard error; may hold any bytes.
  std::chrono::milliseconds elapsed{0};
  std::uint64_t peak_memory_bytes = 0;  ///< Largest resident set.

  bool is_success() const { return end == ChildEnd::kExited && exit_code == 0; }
  /// "ended with exit code 3", "was killed by SIGSEGV", "ran out of time after 60.0 s", ...
  std::string describe() const;
};

/// Runs the command and waits for its end. The child is in its own process group (Ctrl-C on a terminal does not reach
/// it), dies with this process, writes no core file, and gets /dev/null as standard input and output. No process is
/// left behind, whatever happens. Any thread may call it, several at once; that thread must live until it returns.
/// Throws Error{kInternal} naming the program when it cannot be started.
ChildResult run_child(const ChildCommand& command);

/// "SIGSEGV" for 11; "signal 77" for one without a name.
std::string signal_name(int signal);

}  // namespace pajamas
