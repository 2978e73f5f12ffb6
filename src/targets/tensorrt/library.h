// Finds and opens the TensorRT libraries at run time and checks that their version is one whose binary interface is
// known (abi.h). Opening maps 230 MB and runs vendor code: the build does it in a child process (builder_process.h),
// the run-time side in this one.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "targets/tensorrt/abi.h"

namespace pajamas::tensorrt {

/// Where a library was found. `parser` is the ONNX parser that belongs to it: empty for a run-time-only library.
struct LibraryPaths {
  std::filesystem::path library;  ///< A file, or a bare name left to the system's loader.
  std::filesystem::path parser;
  std::string found_by;  ///< "PAJAMAS_TENSORRT_LIBRARY", "beside the program", ...: for messages.
};

/// Sets the file or folder looked at before every other place (option --tensorrt-library). Process-wide; empty: unset.
void set_library_location(const std::filesystem::path& location);

/// All places in the order of search: the location set above, the environment variable PAJAMAS_TENSORRT_LIBRARY (file
/// or folder; when it or the location is set, nothing else is looked at), the program's folder and its ../lib, the
/// dependencies folder of this build, the system loader. Only files that exist are listed, except the loader's names.
std::vector<LibraryPaths> library_candidates();

/// The first candidate whose file exists or which the loader can open. Does not open it otherwise. Throws
/// Error{kDeviceMissing} naming every place that was looked at.
LibraryPaths find_library();

/// Opened libraries. Lives as long as the process: the vendor's threads and its logger do too.
class Library {
 public:
  /// Throws Error{kDeviceMissing} when it cannot be opened, Error{kUnsupported} when it is not TensorRT or is a version
  /// that is not known. Nothing is called but the version functions before the version is known to be right.
  static std::shared_ptr<const Library> open(const LibraryPaths& paths);

  const LibraryPaths& paths() const noexcept { return paths_; }
  const Version& version() const noexcept { return version_; }
  Family family() const noexcept { return slots_->family; }
  bool has_builder() const noexcept { return create_builder_ != nullptr && create_parser_ != nullptr; }

  /// Each throws Error{kInternal} when the library gives nothing, Error{kUnsupported} when it has no such part (the
  /// lean run-time library cannot build). `logger` must live as long as the process.
  Owned<Builder> create_builder(Logger& logger) const;
  Owned<Parser> create_parser(const Network& network, Logger& logger) const;
  Owned<Runtime> create_runtime(Logger& logger) const;

 private:
  Library() = default;
  LibraryPaths paths_;
  Version version_;
  std::int32_t version_number_ = 0;
  const SlotTable* slots_ = nullptr;
  void* (*create_builder_)(void* logger, std::int32_t version) = nullptr;
  void* (*create_runtime_)(void* logger, std::int32_t version) = nullptr;
  void* (*create_parser_)(void* network, void* logger, std::int32_t version) = nullptr;
};

}  // namespace pajamas::tensorrt
