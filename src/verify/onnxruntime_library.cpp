// Opening ONNX Runtime's shared library: the search, the checks before its code runs, and the table of entries.
#include "verify/onnxruntime_library.h"

#include <dlfcn.h>
#include <elf.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "base/files.h"
#include "base/log.h"
#include "pajamas/error.h"

namespace pajamas {
namespace {

namespace fs = std::filesystem;

constexpr const char* kRemedy =
    "run ./dev setup, which downloads it, or set PAJAMAS_ONNXRUNTIME_LIBRARY to libonnxruntime.so of version 1.20 or "
    "later";
/// ONNX Runtime's severity 2 is "warning": what it says is passed on at debug level, errors come back as statuses.
constexpr int kLogSeverity = 2;

/// What the library exports: two functions, the same since the first release.
struct ApiBase {
  const void* (*get_api)(std::uint32_t version);
  const char* (*get_version_string)();
};

[[noreturn]] void refuse(const std::string& why, const fs::path& path) {
  throw Error(ErrorKind::kDeviceMissing, "ONNX Runtime cannot be used: " + why, path.string(), kRemedy);
}

/// A truncated library would raise SIGBUS inside the loader, which maps segments past the end of the file; so the
/// extents that the ELF header promises are checked first.
void check_is_whole_library(const fs::path& path) {
  std::shared_ptr<const MappedFile> file;
  try {
    file = MappedFile::open(path);
  } catch (const Error& error) {
    refuse(error.message(), path);
  }
  const auto bytes = file->bytes();
  Elf64_Ehdr header;
  if (bytes.size() < sizeof(header)) refuse("the file is too short for a shared library", path);
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) refuse("the file is no shared library", path);
  if (header.e_ident[EI_CLASS] != ELFCLASS64) refuse("the library is not a 64-bit one", path);
  const auto fits = [&](std::uint64_t offset, std::uint64_t size) {
    return offset <= bytes.size() && size <= bytes.size() - offset;
  };
  const bool has_headers =
      header.e_phentsize == sizeof(Elf64_Phdr) &&
      fits(header.e_phoff, std::uint64_t{header.e_phnum} * header.e_phentsize) &&
      (header.e_shoff == 0 || fits(header.e_shoff, std::uint64_t{header.e_shnum} * header.e_shentsize));
  if (!has_headers) refuse("the file is damaged: its headers lie past its end, as after a broken download", path);
  for (std::size_t i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment;
    std::memcpy(&segment, bytes.data() + header.e_phoff + i * sizeof(segment), sizeof(segment));
    if (segment.p_type == PT_LOAD && !fits(segment.p_offset, segment.p_filesz)) {
      refuse("the file is damaged: it ends before its contents do, as after a broken download", path);
    }
  }
}

/// The library's own messages; those that matter come back as statuses too, so they are for debugging only.
void forward_log(void* /*parameter*/, int /*severity*/, const char* category, const char* /*log_id*/,
                 const char* /*code_location*/, const char* message) {
  log().debug("onnxruntime [{}]: {}", category != nullptr ? category : "", message != nullptr ? message : "");
}

/// Fills the table by the indices of the interface, counted in the struct OrtApi of the public C header.
OnnxRuntimeFunctions resolve_functions(const void* api) {
  const auto entry = [api](std::size_t index, auto& function) {
    static_assert(sizeof(function) == sizeof(void*));
    std::memcpy(&function, static_cast<const std::byte*>(api) + index * sizeof(void*), sizeof(void*));
  };
  OnnxRuntimeFunctions f{};
  entry(1, f.get_error_code);
  entry(2, f.get_error_message);
  entry(4, f.create_env_with_custom_logger);
  entry(7, f.create_session);
  entry(8, f.create_session_from_array);
  entry(9, f.run);
  entry(10, f.create_session_options);
  entry(22, f.set_session_log_severity_level);
  entry(23, f.set_session_graph_optimization_level);
  entry(24, f.set_intra_op_num_threads);
  entry(25, f.set_inter_op_num_threads);
  entry(30, f.session_get_input_count);
  entry(31, f.session_get_output_count);
  entry(33, f.session_get_input_type_info);
  entry(34, f.session_get_output_type_info);
  entry(36, f.session_get_input_name);
  entry(37, f.session_get_output_name);
  entry(48, f.create_tensor_as_ort_value);
  entry(49, f.create_tensor_with_data_as_ort_value);
  entry(51, f.get_tensor_mutable_data);
  entry(52, f.fill_string_tensor);
  entry(53, f.get_string_tensor_data_length);
  entry(54, f.get_string_tensor_content);
  entry(55, f.cast_type_info_to_tensor_info);
  entry(60, f.get_tensor_element_type);
  entry(61, f.get_dimensions_count);
  entry(62, f.get_dimensions);
  entry(63, f.get_symbolic_dimensions);
  entry(65, f.get_tensor_type_and_shape);
  entry(67, f.get_value_type);
  entry(69, f.create_cpu_memory_info);
  entry(76, f.allocator_free);
  entry(78, f.get_allocator_with_default_options);
  entry(93, f.release_status);
  entry(95, f.release_session);
  entry(96, f.release_value);
  entry(98, f.release_type_info);
  entry(99, f.release_tensor_type_and_shape_info);
  entry(100, f.release_session_options);
  entry(130, f.add_session_config_entry);
  return f;
}

/// "1.31.1" → 31; nothing but 1.x has this interface. -1 when the text is something else.
int minor_version(const std::string& version) {
  if (version.rfind("1.", 0) != 0) return -1;
  char* end = nullptr;
  const long minor = std::strtol(version.c_str() + 2, &end, 10);
  return end != version.c_str() + 2 && minor >= 0 && minor < 100000 ? static_cast<int>(minor) : -1;
}

/// Files "libonnxruntime.so*" of a folder, by falling name, so that the newest version comes first.
void append_libraries_of(const fs::path& folder, std::vector<fs::path>& paths) {
  std::vector<fs::path> found;
  std::error_code ignored;
  for (fs::directory_iterator it(folder, ignored), end; !ignored && it != end; it.increment(ignored)) {
    if (it->path().filename().string().rfind("libonnxruntime.so", 0) == 0) found.push_back(it->path());
  }
  std::sort(found.rbegin(), found.rend());
  paths.insert(paths.end(), found.begin(), found.end());
}

/// What the user named in the environment; empty when nothing.
fs::path named_library() {
  const char* named = std::getenv(kOnnxRuntimeLibraryVariable);
  return named != nullptr ? fs::path(named) : fs::path();
}

}  // namespace

std::vector<fs::path> OnnxRuntimeLibrary::candidates() {
  // A path the user named is taken or refused; falling back to another library would hide the mistake.
  if (const auto named = named_library(); !named.empty()) return {named};
  std::vector<fs::path> paths;
  append_libraries_of(executable_path().parent_path().parent_path() / "lib", paths);
#ifdef PAJAMAS_DEPS_DIR
  append_libraries_of(fs::path(PAJAMAS_DEPS_DIR) / "onnxruntime" / "onnxruntime" / "capi", paths);
#endif
  paths.emplace_back("libonnxruntime.so.1");
  paths.emplace_back("libonnxruntime.so");
  return paths;
}

std::shared_ptr<const OnnxRuntimeLibrary> OnnxRuntimeLibrary::open(const fs::path& path) {
  if (path.has_parent_path() || fs::exists(path)) check_is_whole_library(path);
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* reason = dlerror();
    refuse(std::string("the library does not load: ") + (reason != nullptr ? reason : "no reason given"), path);
  }
  using GetApiBase = const ApiBase* (*)();
  const auto get_api_base = reinterpret_cast<GetApiBase>(dlsym(handle, "OrtGetApiBase"));
  if (get_api_base == nullptr) {
    dlclose(handle);
    refuse("the library exports no OrtGetApiBase, so it is not ONNX Runtime", path);
  }
  const ApiBase* base = get_api_base();
  const char* version_text = base->get_version_string();
  const std::string version = version_text != nullptr ? version_text : "";
  if (minor_version(version) < static_cast<int>(kOnnxRuntimeApiVersion)) {
    refuse("this is ONNX Runtime " + (version.empty() ? std::string("of an unknown version") : version) +
               ", and its interface version 20 came with 1.20",
           path);
  }
  const void* api = base->get_api(kOnnxRuntimeApiVersion);
  if (api == nullptr) refuse("ONNX Runtime " + version + " does not give interface version 20", path);

  std::shared_ptr<OnnxRuntimeLibrary> library(new OnnxRuntimeLibrary);
  library->functions_ = resolve_functions(api);
  library->version_ = version;
  library->path_ = path;
  const auto& f = library->functions_;
  const auto check = [&](OrtStatus* status) {
    if (status == nullptr) return;
    const std::string message = f.get_error_message(status);
    f.release_status(status);
    refuse("it does not start: " + message, path);
  };
  check(f.create_env_with_custom_logger(&forward_log, nullptr, kLogSeverity, "pajamas", &library->environment_));
  constexpr int kDeviceAllocator = 0;
  constexpr int kDefaultMemory = 0;
  check(f.create_cpu_memory_info(kDeviceAllocator, kDefaultMemory, &library->host_memory_));
  check(f.get_allocator_with_default_options(&library->allocator_));
  return library;
}

std::shared_ptr<const OnnxRuntimeLibrary> OnnxRuntimeLibrary::get() {
  static std::mutex mutex;
  static std::shared_ptr<const OnnxRuntimeLibrary> library;
  const std::lock_guard lock(mutex);
  if (library) return library;
  std::string tried;
  for (const auto& path : candidates()) {
    try {
      library = open(path);
      return library;
    } catch (const Error& error) {
      if (!named_library().empty()) throw;
      tried += (tried.empty() ? "" : "; ") + path.string() + " (" + error.message() + ")";
    }
  }
  throw Error(ErrorKind::kDeviceMissing,
              "verification needs ONNX Runtime as the independent reference, and it was not found; tried " + tried,
              "libonnxruntime.so", kRemedy);
}

}  // namespace pajamas
