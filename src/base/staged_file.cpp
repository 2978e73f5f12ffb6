// Write aside, flush, rename. See staged_file.h.
#include "base/staged_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <system_error>
#include <utility>

#include "pajamas/error.h"

namespace pajamas {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path, int error) {
  const bool is_full = error == ENOSPC || error == EDQUOT;
  throw Error(ErrorKind::kBadInput, "cannot write: " + std::generic_category().message(error), path.string(),
              is_full ? "free some space, or choose another folder" : "check the path and its permissions");
}

}  // namespace

StagedFile::StagedFile(std::filesystem::path target) : target_(std::move(target)) {
  static std::atomic<unsigned> counter{0};
  if (std::error_code ignored; std::filesystem::is_directory(target_, ignored)) fail(target_, EISDIR);
  staging_ = target_.parent_path() / ("." + target_.filename().string() + ".partial-" + std::to_string(::getpid()) +
                                      "-" + std::to_string(counter.fetch_add(1)));
  descriptor_.reset(::open(staging_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (!descriptor_.is_open()) fail(target_, errno);
}

StagedFile::~StagedFile() {
  if (!descriptor_.is_open()) return;
  ::unlink(staging_.c_str());
}

void StagedFile::commit() {
  if (!descriptor_.is_open()) return;
  if (::fsync(descriptor_.get()) != 0) fail(target_, errno);
  if (::rename(staging_.c_str(), target_.c_str()) != 0) fail(target_, errno);
  descriptor_.reset();
}

Descriptor open_unnamed_file() {
  std::error_code error;
  const std::filesystem::path folder = std::filesystem::temp_directory_path(error);
  if (error) throw Error(ErrorKind::kBadInput, "cannot find the folder for temporary files: " + error.message());
  Descriptor descriptor(::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (descriptor.is_open()) return descriptor;
  // Not every file system has files without a name.
  std::string name = (folder / "pajamas-XXXXXX").string();
  descriptor.reset(::mkostemp(name.data(), O_CLOEXEC));
  if (!descriptor.is_open()) fail(folder, errno);
  ::unlink(name.c_str());
  return descriptor;
}

}  // namespace pajamas
