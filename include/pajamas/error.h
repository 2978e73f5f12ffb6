// The one error type of the project. Everything inside throws it; only the edges (command line, HTTP, C API)
// catch it and turn it into an exit code, a status or a return code. An expected "no" is not an error: see
// `Support` in engine/target.h.
#pragma once

#include <stdexcept>
#include <string>

namespace pajamas {

/// What kind of failure this is; decides the exit code of the command line.
enum class ErrorKind {
  kUsage,          ///< The request itself is malformed (unknown option, contradictory options). Exit code 2.
  kUnsupported,    ///< A well-formed request that a target, operator, type or version does not support. Exit code 3.
  kBadInput,       ///< A file or value given to us is damaged, missing or inconsistent. Exit code 4.
  kDeviceMissing,  ///< The device, driver or vendor library needed is not on this machine. Exit code 5.
  kBusy,           ///< A queue is full; the same request may succeed later. Exit code 6.
  kCancelled,      ///< Stopped by the user (Ctrl-C) or a deadline. Exit code 130.
  kInternal,       ///< A fault of this program. Exit code 1.
};

/// Name as printed in messages and JSON: "usage", "unsupported", "bad_input", "device_missing", "busy",
/// "cancelled", "internal".
const char* to_string(ErrorKind kind) noexcept;

/// Exit code of the command line for `kind` (see ErrorKind).
int exit_code(ErrorKind kind) noexcept;

/// An error with its four parts: what failed and why (`message`), where (`where`: a file, node or option, may be
/// empty), and what to do about it (`remedy`, may be empty). `what()` joins them into one text.
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, std::string message, std::string where = {}, std::string remedy = {});

  ErrorKind kind() const noexcept { return kind_; }
  const std::string& message() const noexcept { return message_; }
  const std::string& where() const noexcept { return where_; }
  const std::string& remedy() const noexcept { return remedy_; }

  /// The same error with `outer` put before `where` ("outer: where"), for callers that know the file.
  Error with_context(const std::string& outer) const;

 private:
  ErrorKind kind_;
  std::string message_;
  std::string where_;
  std::string remedy_;
};

}  // namespace pajamas
