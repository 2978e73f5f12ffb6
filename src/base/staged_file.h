// A file that appears under its name only when it is complete, for content that is written as it is made. Content that
// is in memory already is write_file's (base/files.h); whole folders are StagedDirectory's.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

#include "base/descriptor.h"

namespace pajamas {

/// A name beside `target` for what is to become it, used by no other process or thread:
/// ".<name>.partial-<pid>-<n>".
std::filesystem::path staging_sibling(const std::filesystem::path& target);

/// An open, hidden sibling of a file to be (".<name>.partial-<pid>-<n>"). The destructor removes it unless `commit` was
/// called. Use from one thread at a time.
class StagedFile {
 public:
  /// Creates the sibling. Throws Error{kBadInput} with the path and the system's reason.
  explicit StagedFile(std::filesystem::path target);
  ~StagedFile();
  StagedFile(const StagedFile&) = delete;
  StagedFile& operator=(const StagedFile&) = delete;

  /// Open for reading and writing until commit() or the destructor; owned by this object.
  int descriptor() const noexcept { return descriptor_.get(); }
  const std::filesystem::path& target() const noexcept { return target_; }

  /// Appends. Throws as the constructor.
  void write(std::span<const std::byte> bytes);
  /// Flushes the file and puts it in place of whatever has the name. Throws as the constructor; the older file is then
  /// untouched.
  void commit();

 private:
  [[noreturn]] void fail(int error_number) const;
  std::filesystem::path target_;
  std::filesystem::path staging_;
  Descriptor descriptor_;
};

/// An open file without a name in the folder for temporary files, gone when it is closed. Throws Error{kBadInput}
/// naming the folder and the system's reason.
Descriptor open_unnamed_file();
/// Likewise in `folder`.
Descriptor open_unnamed_file(const std::filesystem::path& folder);

}  // namespace pajamas
