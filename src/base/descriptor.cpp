// Errors of the system's calls on files, and whole writes. See descriptor.h.
#include "base/descriptor.h"

#include <cerrno>
#include <system_error>

#include "pajamas/error.h"

namespace pajamas {
namespace {

[[noreturn]] void fail(const std::string& what, const std::string& where, int error_number,
                       const std::string& elsewhere) {
  std::string remedy;
  switch (error_number) {
    case ENOENT: remedy = "check the path"; break;
    case EACCES:
    case EPERM:
    case EROFS: remedy = "check the permissions" + elsewhere; break;
    case ENOSPC:
    case EDQUOT:
    case EFBIG: remedy = "free some space" + elsewhere; break;
    case EPIPE: remedy = "let the program that reads it run to its end"; break;
    default: remedy = "check the path" + elsewhere; break;
  }
  throw Error(ErrorKind::kBadInput, what + ": " + system_reason(error_number), where, remedy);
}

}  // namespace

std::string system_reason(int error_number) { return std::generic_category().message(error_number); }

void fail_to_read(const std::string& what, const std::string& where, int error_number) {
  fail(what, where, error_number, "");
}

void fail_to_write(const std::string& what, const std::string& where, int error_number) {
  fail(what, where, error_number, ", or choose another folder");
}

void write_all(int descriptor, std::span<const std::byte> bytes, const std::string& where,
               std::optional<std::uint64_t> offset) {
  while (!bytes.empty()) {
    const ssize_t put = offset ? ::pwrite(descriptor, bytes.data(), bytes.size(), static_cast<off_t>(*offset))
                               : ::write(descriptor, bytes.data(), bytes.size());
    if (put < 0) {
      if (errno == EINTR) continue;
      fail_to_write("cannot write", where, errno);
    }
    bytes = bytes.subspan(static_cast<std::size_t>(put));
    if (offset) *offset += static_cast<std::uint64_t>(put);
  }
}

}  // namespace pajamas
