// Runs the rest of a command in a copy of this process, so that vendor code that crashes or never returns on hostile
// input takes down the copy and not the program: it still says what happened, cleans up and gives an exit code. Every
// command that lets vendor code work calls it first. TensorRT's builder has a tighter child of its own besides
// (targets/tensorrt/builder_process.h).
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "cli.h"

namespace pajamas::cli {

/// What the copy tells the process that watches it; lives in memory that both share. Small and without pointers, so
/// that it stays readable whatever happened to the writer.
class SupervisionBoard {
 public:
  virtual ~SupervisionBoard() = default;
  /// The step now running and how far it is (negative: not known). The time limit begins anew when either changes. Any
  /// thread of the copy.
  virtual void set_step(const std::string& step, double fraction) = 0;
};

/// What is being watched, in the words that messages need.
struct WatchedWork {
  std::string name;                 ///< "the build", "the run", ...
  std::string where;                ///< The model or bundle.
  std::chrono::seconds step_limit;  ///< For one step.
  std::string crash_remedy;         ///< What to do when a library crashes on it.
};

/// Splits the process; call it before the process has other threads. In the copy it returns nothing, sets
/// `context.board`, and the command goes on. In the watching process it returns the exit code that the copy ended with;
/// that process waits, passes SIGINT, SIGTERM and SIGHUP on (and kills the copy 2 s later, or at once at a second one),
/// removes the folders that a killed copy was staging, and throws Error{kUnsupported} naming `where` when a signal
/// ended the copy or one step took longer than the limit, Error{kCancelled} when it had to be killed on request. The
/// copy dies with the watching process.
std::optional<int> supervise(Context& context, const WatchedWork& work);

}  // namespace pajamas::cli
