// Search, opening and version check of the TensorRT libraries. See library.h.
#include "targets/tensorrt/library.h"

#include <dlfcn.h>

#include <array>
#include <cstdlib>
#include <mutex>

#include "base/files.h"
#include "pajamas/error.h"

namespace pajamas::tensorrt {
namespace {

namespace fs = std::filesystem;

struct LibraryNames {
  const char* library;
  const char* parser;
};
// In order of preference: the one that needs no GPU to build first; the lean library can only run engines.
constexpr std::array kNames{LibraryNames{"libtensorrt_rtx.so.1", "libtensorrt_onnxparser_rtx.so.1"},
                            LibraryNames{"libnvinfer.so.11", "libnvonnxparser.so.11"},
                            LibraryNames{"libnvinfer_lean.so.11", nullptr}};
constexpr const char* kVariable = "PAJAMAS_TENSORRT_LIBRARY";

std::mutex location_mutex;
fs::path& location_setting() {
  static fs::path location;
  return location;
}

/// The parser beside a library file: by the pair of names; for a renamed library, any known parser in its folder.
fs::path parser_beside(const fs::path& library) {
  std::error_code ignored;
  for (const LibraryNames& names : kNames) {
    if (names.parser == nullptr) continue;
    if (library.filename() != names.library) continue;
    const fs::path parser = library.parent_path() / names.parser;
    return fs::exists(parser, ignored) ? parser : fs::path(names.parser);
  }
  for (const LibraryNames& names : kNames) {
    if (names.parser != nullptr && fs::exists(library.parent_path() / names.parser, ignored)) {
      return library.parent_path() / names.parser;
    }
  }
  return {};
}

void add_from_folder(std::vector<LibraryPaths>& found, const fs::path& folder, const std::string& found_by) {
  std::error_code ignored;
  for (const LibraryNames& names : kNames) {
    const fs::path library = folder / names.library;
    if (fs::is_regular_file(library, ignored)) found.push_back({library, parser_beside(library), found_by});
  }
}

void add_explicit(std::vector<LibraryPaths>& found, const fs::path& location, const std::string& found_by) {
  std::error_code ignored;
  if (!fs::exists(location, ignored)) {
    throw Error(ErrorKind::kDeviceMissing, "the TensorRT library named by " + found_by + " does not exist",
                location.string(), "name the file libtensorrt_rtx.so.1 or the folder it lies in");
  }
  if (!fs::is_directory(location, ignored)) {
    found.push_back({location, parser_beside(location), found_by});
    return;
  }
  add_from_folder(found, location, found_by);
  if (found.empty()) {
    throw Error(ErrorKind::kDeviceMissing, "the folder named by " + found_by + " holds no TensorRT library",
                location.string(), "it must hold libtensorrt_rtx.so.1 or libnvinfer.so.11");
  }
}

[[noreturn]] void refuse_library(const LibraryPaths& paths, const std::string& why) {
  throw Error(ErrorKind::kUnsupported, why, paths.library.string(),
              "known are: " + known_versions() + "; the wheel tensorrt-rtx-cu13-libs (./dev setup) has a known one");
}

void* open_or_throw(const fs::path& path) {
  // RTLD_GLOBAL is not wanted: two versions must be able to live in one process.
  void* handle = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* reason = ::dlerror();
    throw Error(ErrorKind::kDeviceMissing, std::string("cannot open the library: ") + (reason ? reason : "no reason"),
                path.string(), "set PAJAMAS_TENSORRT_LIBRARY to a TensorRT library of this machine's architecture");
  }
  return handle;
}

template <typename Function>
void find_function(void* handle, const char* name, Function& function) {
  function = reinterpret_cast<Function>(::dlsym(handle, name));
}

}  // namespace

void set_library_location(const fs::path& location) {
  const std::lock_guard lock(location_mutex);
  location_setting() = location;
}

std::vector<LibraryPaths> library_candidates() {
  std::vector<LibraryPaths> found;
  fs::path location;
  {
    const std::lock_guard lock(location_mutex);
    location = location_setting();
  }
  if (!location.empty()) {
    add_explicit(found, location, "the option --tensorrt-library");
    return found;
  }
  if (const char* value = std::getenv(kVariable); value != nullptr && *value != '\0') {
    add_explicit(found, value, std::string("the environment variable ") + kVariable);
    return found;
  }
  const fs::path program = executable_path().parent_path();
  add_from_folder(found, program, "beside the program");
  add_from_folder(found, program.parent_path() / "lib", "beside the program");
  const fs::path deps = PAJAMAS_DEPS_DIR;
  add_from_folder(found, deps / "tensorrt_rtx" / "tensorrt_rtx_libs", "this build's dependencies folder");
  for (const LibraryNames& names : kNames) {
    found.push_back({names.library, names.parser != nullptr ? names.parser : "", "the system's loader"});
  }
  return found;
}

LibraryPaths find_library() {
  const std::vector<LibraryPaths> candidates = library_candidates();
  for (const LibraryPaths& candidate : candidates) {
    if (candidate.library.has_parent_path()) return candidate;
    if (void* handle = ::dlopen(candidate.library.c_str(), RTLD_LAZY | RTLD_LOCAL)) {
      ::dlclose(handle);
      return candidate;
    }
  }
  throw Error(ErrorKind::kDeviceMissing,
              "no TensorRT library on this machine: looked beside the program, in " + std::string(PAJAMAS_DEPS_DIR) +
                  " and with the system's loader for libtensorrt_rtx.so.1 and libnvinfer.so.11",
              {}, "run ./dev setup, or set PAJAMAS_TENSORRT_LIBRARY to the file or its folder");
}

std::shared_ptr<const Library> Library::open(const LibraryPaths& paths) {
  void* handle = open_or_throw(paths.library);
  auto library = std::shared_ptr<Library>(new Library());
  library->paths_ = paths;
  std::int32_t (*get_version)() = nullptr;
  find_function(handle, "getInferLibVersion", get_version);
  std::array<std::int32_t (*)(), 4> parts{};
  find_function(handle, "getInferLibMajorVersion", parts[0]);
  find_function(handle, "getInferLibMinorVersion", parts[1]);
  find_function(handle, "getInferLibPatchVersion", parts[2]);
  find_function(handle, "getInferLibBuildVersion", parts[3]);
  if (get_version == nullptr) refuse_library(paths, "this is not a TensorRT library: it has no getInferLibVersion");
  for (const auto& part : parts) {
    if (part == nullptr) {
      refuse_library(paths, "this TensorRT library is too old (version number " + std::to_string(get_version()) +
                                "): it does not tell its parts of the version");
    }
  }
  library->version_number_ = get_version();
  library->version_ = {parts[0](), parts[1](), parts[2](), parts[3]()};
  library->slots_ = find_slot_table(library->version_);
  if (library->slots_ == nullptr) {
    refuse_library(paths, "TensorRT version " + library->version_.to_string() +
                              " is not one whose binary interface this program knows");
  }
  find_function(handle, "createInferBuilder_INTERNAL", library->create_builder_);
  find_function(handle, "createInferRuntime_INTERNAL", library->create_runtime_);
  if (library->create_runtime_ == nullptr) {
    refuse_library(paths, "this TensorRT library has no createInferRuntime_INTERNAL");
  }
  if (library->create_builder_ != nullptr && !paths.parser.empty()) {
    find_function(open_or_throw(paths.parser), "createNvOnnxParser_INTERNAL", library->create_parser_);
    if (library->create_parser_ == nullptr) {
      refuse_library({paths.parser, {}, paths.found_by}, "this is not TensorRT's ONNX parser");
    }
  }
  return library;
}

namespace {

template <typename H>
Owned<H> own(void* object, const SlotTable* slots, const char* what, const LibraryPaths& paths) {
  // TensorRT 11.4 without a driver gives the offset of a base class within no object (0x228) in place of null.
  constexpr std::uintptr_t kFirstPage = 4096;
  if (reinterpret_cast<std::uintptr_t>(object) < kFirstPage) {
    throw Error(ErrorKind::kInternal, std::string("TensorRT could not create its ") + what, paths.library.string(),
                "it may need an NVIDIA driver: check `nvidia-smi`");
  }
  H handle;
  handle.object = object;
  handle.slots = slots;
  return Owned<H>(handle);
}

}  // namespace

Owned<Builder> Library::create_builder(Logger& logger) const {
  if (!has_builder()) {
    throw Error(ErrorKind::kUnsupported, "this TensorRT library can run engines but not build them",
                paths_.library.string(), "use libtensorrt_rtx.so.1 with its ONNX parser beside it");
  }
  return own<Builder>(create_builder_(&logger, version_number_), slots_, "builder", paths_);
}

Owned<Parser> Library::create_parser(const Network& network, Logger& logger) const {
  return own<Parser>(create_parser_(network.object, &logger, version_number_), slots_, "ONNX parser", paths_);
}

Owned<Runtime> Library::create_runtime(Logger& logger) const {
  return own<Runtime>(create_runtime_(&logger, version_number_), slots_, "runtime", paths_);
}

}  // namespace pajamas::tensorrt
