// Cancellation checks and progress reports. See cancel.h.
#include "base/cancel.h"

#include "pajamas/error.h"

namespace pajamas {

void CancelToken::check(std::string_view step) const {
  if (is_cancelled()) {
    throw Error(ErrorKind::kCancelled, "stopped on request while " + std::string(step) + "; nothing was left behind");
  }
}

void Progress::step(std::string_view name, double fraction, std::string_view detail) const {
  check(name);
  if (report) report(ProgressEvent{std::string(name), std::string(detail), fraction});
}

void Progress::check(std::string_view step) const {
  if (cancel != nullptr) cancel->check(step);
}

}  // namespace pajamas
