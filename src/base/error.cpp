// Texts and exit codes of pajamas::Error. The type itself is public: include/pajamas/error.h.
#include "pajamas/error.h"

namespace pajamas {

const char* to_string(ErrorKind kind) noexcept {
  switch (kind) {
    case ErrorKind::kUsage: return "usage";
    case ErrorKind::kUnsupported: return "unsupported";
    case ErrorKind::kBadInput: return "bad_input";
    case ErrorKind::kDeviceMissing: return "device_missing";
    case ErrorKind::kBusy: return "busy";
    case ErrorKind::kCancelled: return "cancelled";
    case ErrorKind::kInternal: return "internal";
  }
  return "internal";
}

int exit_code(ErrorKind kind) noexcept {
  switch (kind) {
    case ErrorKind::kUsage: return 2;
    case ErrorKind::kUnsupported: return 3;
    case ErrorKind::kBadInput: return 4;
    case ErrorKind::kDeviceMissing: return 5;
    case ErrorKind::kBusy: return 6;
    case ErrorKind::kCancelled: return 130;
    case ErrorKind::kInternal: return 1;
  }
  return 1;
}

namespace {

std::string join(const std::string& message, const std::string& where, const std::string& remedy) {
  std::string text = where.empty() ? message : where + ": " + message;
  if (!remedy.empty()) text += " (" + remedy + ")";
  return text;
}

}  // namespace

Error::Error(ErrorKind kind, std::string message, std::string where, std::string remedy)
    : std::runtime_error(join(message, where, remedy)),
      kind_(kind),
      message_(std::move(message)),
      where_(std::move(where)),
      remedy_(std::move(remedy)) {}

Error Error::with_context(const std::string& outer) const {
  return Error(kind_, message_, where_.empty() ? outer : outer + ": " + where_, remedy_);
}

}  // namespace pajamas
