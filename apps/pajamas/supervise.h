// Runs the rest of a command in a copy of this process, so that vendor code that crashes or never returns on a hostile
// model takes down the copy and not the program: it still says what happened, cleans up and gives an exit code.
// TensorRT's builder has a tighter child of its own (targets/tensorrt/builder_process.h).
#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>

#include "cli.h"

namespace pajamas::cli {

/// What the copy tells the process that watches it; lives in memory that both share. Small and without pointers, so
/// that it stays readable whatever happened to the writer.
class SupervisionBoard {
 public:
  virtual ~SupervisionBoard() = default;
  /// The step now running; each may take the time limit. Any thread of the copy.
  virtual void set_step(const std::string& step) = 0;
  /// A folder to remove if the copy ends without doing so itself.
  virtual void set_staging(const std::filesystem::path& folder) = 0;
};

/// The copy's view, or the exit code that the copy ended with.
struct Supervision {
  SupervisionBoard* board =
      nullptr;        ///< Set in the copy, which goes on with the work. Lives to the end of the process.
  int exit_code = 0;  ///< Set in the watching process, which returns it.
};

/// Splits the process; call it before the process has other threads. The copy goes on from here. The watching process
/// waits, passes SIGINT and SIGTERM on (and kills the copy 2 s later), and throws Error{kUnsupported} naming `model`
/// when a signal ended the copy or one step took longer than `step_limit`, Error{kCancelled} when it had to be killed
/// on request. The copy dies with the watching process.
Supervision supervise(const std::string& model, std::chrono::seconds step_limit, const CancelToken& cancel);

}  // namespace pajamas::cli
