// Files: memory mapping, whole reads, and writes that never leave half a file (write aside, flush, rename).
// Every failure is an Error that names the path and the system's reason.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "pajamas/error.h"

namespace pajamas {

/// A file mapped read-only for as long as the object lives. Shareable between threads. A file that another process
/// truncates while mapped raises SIGBUS on access: map only files that nobody rewrites in place.
class MappedFile {
 public:
  /// Throws Error{kBadInput} when `path` is missing, is not a regular file or cannot be read.
  static std::shared_ptr<const MappedFile> open(const std::filesystem::path& path);
  /// Maps `size` bytes from `offset`, a multiple of 64 KiB. The range may reach past the file's end: what is appended
  /// later becomes readable through it, and reading what is not there yet raises SIGBUS. For files that this process is
  /// writing. Throws as `open`.
  static std::shared_ptr<const MappedFile> open_range(const std::filesystem::path& path, std::uint64_t offset,
                                                      std::size_t size);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }
  const std::filesystem::path& path() const noexcept { return path_; }
  /// Gives the physical memory of a part of bytes() back (whole pages inside it). The content stays readable: the
  /// next access reads it from the file again. For callers that are done with the part. Thread-safe.
  void release_memory(std::span<const std::byte> part) const noexcept;

 private:
  MappedFile(std::filesystem::path path, const std::byte* data, std::size_t size)
      : path_(std::move(path)), data_(data), size_(size) {}
  static std::shared_ptr<const MappedFile> map(const std::filesystem::path& path, int descriptor, int flags,
                                               std::uint64_t offset, std::size_t size);
  std::filesystem::path path_;
  const std::byte* data_;
  std::size_t size_;
};

/// MappedFile::release_memory for whoever holds bytes and does not know their file: gives the memory back when `part`
/// lies within a file that is mapped now, and does nothing otherwise. Thread-safe.
void release_file_memory(std::span<const std::byte> part) noexcept;

/// Reads a whole file. Throws Error{kBadInput} when it is missing, unreadable or larger than `max_bytes`.
std::string read_file(const std::filesystem::path& path, std::uint64_t max_bytes = UINT64_MAX);

/// Replaces `path` by `bytes` atomically: a temporary file beside it, fsync, rename. On any failure the old file is
/// untouched and no temporary file is left. Throws Error{kBadInput} (no space, no permission) with the system's reason.
void write_file(const std::filesystem::path& path, std::span<const std::byte> bytes);
void write_file(const std::filesystem::path& path, std::string_view text);
/// The same for content in pieces, so that large parts need not be joined in memory first.
void write_file(const std::filesystem::path& path, std::span<const std::span<const std::byte>> pieces);

/// Told of every folder that this process stages: before it is made, and when it is in place or gone. For a process
/// that watches this one and cleans up after it.
class StagingObserver {
 public:
  virtual ~StagingObserver() = default;
  /// `num_made_parents`: how many folders above the staging folder are made for it.
  virtual void on_begin(const std::filesystem::path& staging, std::size_t num_made_parents) = 0;
  virtual void on_end(const std::filesystem::path& staging) = 0;
};
/// Sets the observer of the process, which must live to its end. Call it before other threads stage folders.
void observe_staging(StagingObserver* observer);

/// A directory that appears under its final name only when it is complete. The work happens in a hidden sibling
/// (".<name>.partial-<pid>-<n>"), which the destructor removes unless `commit` was called, with the parents it made.
///
/// Two processes may stage the same target: each has its own sibling and the later commit wins as a whole. Siblings
/// left by processes that no longer live are removed when the next one is staged.
class StagedDirectory {
 public:
  /// Creates the sibling (and the parents of `target`). Throws Error{kBadInput} with the path and the system's reason.
  explicit StagedDirectory(std::filesystem::path target);
  ~StagedDirectory();
  StagedDirectory(const StagedDirectory&) = delete;
  StagedDirectory& operator=(const StagedDirectory&) = delete;

  /// Where to write while staging.
  const std::filesystem::path& path() const noexcept { return staging_; }
  const std::filesystem::path& target() const noexcept { return target_; }

  /// Flushes the files and puts the directory in place, replacing an older one as a whole.
  void commit();
  /// An error in the user's words: the hidden folder, which is gone when the error is read, becomes the target.
  Error described(const Error& error) const;

 private:
  void discard() const;
  std::filesystem::path target_;
  std::filesystem::path staging_;
  std::vector<std::filesystem::path> made_parents_;  ///< Innermost first.
  bool is_committed_ = false;
};

/// Joins `root` and `relative`, refusing anything that could leave `root`: absolute paths, "..", and symbolic links
/// that lead outside. Throws Error{kBadInput} saying which. The file need not exist.
std::filesystem::path resolve_inside(const std::filesystem::path& root, std::string_view relative);

/// Path of the running executable.
std::filesystem::path executable_path();

}  // namespace pajamas
