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

std::filesystem::path staging_sibling(const std::filesystem::path& target) {
  static std::atomic<unsigned> counter{0};
  return target.parent_path() / ("." + target.filename().string() + ".partial-" + std::to_string(::getpid()) + "-" +
                                 std::to_string(counter.fetch_add(1)));
}

StagedFile::StagedFile(std::filesystem::path target) : target_(std::move(target)) {
  if (std::error_code ignored; std::filesystem::is_directory(target_, ignored)) fail(EISDIR);
  staging_ = staging_sibling(target_);
  descriptor_.reset(::open(staging_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (!descriptor_.is_open()) fail(errno);
}

void StagedFile::fail(int error_number) const { fail_to_write("cannot write", target_.string(), error_number); }

void StagedFile::write(std::span<const std::byte> bytes) { write_all(descriptor_.get(), bytes, target_.string()); }

StagedFile::~StagedFile() {
  if (!descriptor_.is_open()) return;
  ::unlink(staging_.c_str());
}

void StagedFile::commit() {
  if (!descriptor_.is_open()) return;
  if (::fsync(descriptor_.get()) != 0) fail(errno);
  if (::rename(staging_.c_str(), target_.c_str()) != 0) fail(errno);
  descriptor_.reset();
}

Descriptor open_unnamed_file() {
  std::error_code error;
  const std::filesystem::path folder = std::filesystem::temp_directory_path(error);
  if (error) {
    throw Error(ErrorKind::kBadInput, "cannot find the folder for temporary files: " + error.message(), {},
                "set TMPDIR to a folder that is there");
  }
  return open_unnamed_file(folder);
}

Descriptor open_unnamed_file(const std::filesystem::path& folder) {
  Descriptor descriptor(::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (descriptor.is_open()) return descriptor;
  // Not every file system has files without a name.
  std::string name = (folder / "pajamas-XXXXXX").string();
  descriptor.reset(::mkostemp(name.data(), O_CLOEXEC));
  if (!descriptor.is_open()) fail_to_write("cannot create a file in it", folder.string(), errno);
  ::unlink(name.c_str());
  return descriptor;
}

}  // namespace pajamas
