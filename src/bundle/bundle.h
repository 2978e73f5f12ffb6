// Bundle: a folder with a manifest and the files it lists. Written as a whole or not at all; opened without loading an
// engine.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "base/files.h"
#include "bundle/manifest.h"

namespace pajamas {

/// An opened bundle. Immutable but for the memory of which digests were found right; any thread.
class Bundle {
 public:
  /// Reads and checks the manifest, and that every listed file is there with its size. Digests are checked by
  /// `verify_digests`. Throws Error{kBadInput} or Error{kUnsupported} naming file and cause.
  static Bundle open(const std::filesystem::path& directory);

  const std::filesystem::path& directory() const noexcept { return directory_; }
  const Manifest& manifest() const noexcept { return manifest_; }
  /// Path of a listed file. Throws Error{kBadInput} when it is not listed.
  std::filesystem::path file(const std::string& name) const;
  /// Checks the SHA-256 of every file except those of role "cache", which can be made again. Throws Error{kBadInput}
  /// naming the damaged file.
  void verify_digests() const;
  /// Maps a listed file after checking size and digest; the digest is computed once for a file that stays as it is
  /// (size, time and inode), by this bundle or a copy of it. Returns null for a missing or damaged file of role
  /// "cache", throws Error{kBadInput} for any other.
  std::shared_ptr<const MappedFile> open_checked(const BundleFile& file) const;
  /// The same for a file that another member of the manifest names (a tokenizer). Never null: Error{kBadInput} when the
  /// file is not listed, missing or damaged.
  std::shared_ptr<const MappedFile> open_checked(const std::string& name) const;

 private:
  struct CheckedFiles;
  std::filesystem::path directory_;
  Manifest manifest_;
  std::shared_ptr<CheckedFiles> checked_;
};

/// Fills in sizes and digests of the files that `manifest` lists in `staged`, writes the manifest there and commits the
/// folder. After this the bundle exists; before it nothing does.
void write_bundle(StagedDirectory& staged, Manifest& manifest);

/// models/<model>/<target>/<precision> below `root`.
std::filesystem::path bundle_path(const std::filesystem::path& root, const Manifest& manifest);
/// A model name made fit for a folder name: letters, digits, '.', '_', '-'; anything else becomes '_'.
std::string folder_name(const std::string& model_name);

}  // namespace pajamas
