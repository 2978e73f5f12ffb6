// See nvrtc.h.
#include "targets/cuda/runtime/nvrtc.h"

#include <dlfcn.h>
#include <nvrtc.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <future>
#include <map>
#include <mutex>
#include <utility>

#include "pajamas/error.h"

namespace pajamas::cuda {
namespace {

namespace fs = std::filesystem;

constexpr const char* kRemedy =
    "install the CUDA 13 toolkit, or set PAJAMAS_NVRTC to libnvrtc.so.13 (its headers are then looked for in "
    "../include and in CUDA_HOME)";

struct Nvrtc {
  decltype(&nvrtcVersion) version = nullptr;
  decltype(&nvrtcGetErrorString) get_error_string = nullptr;
  decltype(&nvrtcCreateProgram) create_program = nullptr;
  decltype(&nvrtcDestroyProgram) destroy_program = nullptr;
  decltype(&nvrtcCompileProgram) compile_program = nullptr;
  decltype(&nvrtcGetProgramLogSize) get_log_size = nullptr;
  decltype(&nvrtcGetProgramLog) get_log = nullptr;
  decltype(&nvrtcGetCUBINSize) get_cubin_size = nullptr;
  decltype(&nvrtcGetCUBIN) get_cubin = nullptr;
  std::string include_option;  ///< "-I<folder of cuda_fp16.h>", or empty.
};

/// Where toolkits put the library; the last is any that the loader knows.
std::vector<fs::path> library_candidates() {
  std::vector<fs::path> candidates;
  if (const char* named = std::getenv(kNvrtcVariable); named != nullptr && *named != '\0') return {named};
  for (const char* variable : {"CUDA_HOME", "CUDA_PATH"}) {
    const char* home = std::getenv(variable);
    if (home != nullptr && *home != '\0') candidates.push_back(fs::path(home) / "lib64/libnvrtc.so.13");
  }
  candidates.emplace_back("/usr/local/cuda/lib64/libnvrtc.so.13");
  candidates.emplace_back("libnvrtc.so.13");
  return candidates;
}

std::string find_headers(const fs::path& library) {
  std::vector<fs::path> folders;
  std::error_code ignored;
  const fs::path real = fs::canonical(library, ignored);
  for (const fs::path& path : {library, real}) {
    for (fs::path up = path.parent_path(); up.has_relative_path(); up = up.parent_path())
      folders.push_back(up / "include");
  }
  for (const char* variable : {"CUDA_HOME", "CUDA_PATH"}) {
    const char* home = std::getenv(variable);
    if (home != nullptr && *home != '\0') folders.push_back(fs::path(home) / "include");
  }
  folders.emplace_back("/usr/local/cuda/include");
  for (const fs::path& folder : folders) {
    if (fs::exists(folder / "cuda_fp16.h", ignored)) return "-I" + folder.string();
  }
  return {};
}

Nvrtc open_nvrtc() {
  std::string reasons;
  void* library = nullptr;
  fs::path path;
  for (const fs::path& candidate : library_candidates()) {
    library = ::dlopen(candidate.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library != nullptr) {
      path = candidate;
      break;
    }
    const char* reason = ::dlerror();
    reasons += (reasons.empty() ? "" : "; ") + std::string(reason != nullptr ? reason : candidate.string());
  }
  if (library == nullptr) {
    throw Error(ErrorKind::kDeviceMissing, "NVRTC, CUDA's run-time compiler, cannot be opened: " + reasons, {},
                kRemedy);
  }
  Nvrtc nvrtc;
  const auto find = [&](const char* name, auto& function) {
    function = reinterpret_cast<std::decay_t<decltype(function)>>(::dlsym(library, name));
    if (function == nullptr) {
      throw Error(ErrorKind::kDeviceMissing, std::string("NVRTC is too old: it has no ") + name, path.string(),
                  kRemedy);
    }
  };
  find("nvrtcVersion", nvrtc.version);
  find("nvrtcGetErrorString", nvrtc.get_error_string);
  find("nvrtcCreateProgram", nvrtc.create_program);
  find("nvrtcDestroyProgram", nvrtc.destroy_program);
  find("nvrtcCompileProgram", nvrtc.compile_program);
  find("nvrtcGetProgramLogSize", nvrtc.get_log_size);
  find("nvrtcGetProgramLog", nvrtc.get_log);
  find("nvrtcGetCUBINSize", nvrtc.get_cubin_size);
  find("nvrtcGetCUBIN", nvrtc.get_cubin);
  Dl_info info{};
  const void* address = reinterpret_cast<const void*>(nvrtc.version);
  if (::dladdr(address, &info) != 0 && info.dli_fname != nullptr) path = info.dli_fname;
  nvrtc.include_option = find_headers(path);
  return nvrtc;
}

const Nvrtc& nvrtc() {
  static const Nvrtc kNvrtc = open_nvrtc();
  return kNvrtc;
}

/// The architecture with the chip's own instructions where there is such a variant.
std::string architecture_option(int sm) {
  const bool has_variant = sm == 90 || (sm >= 100 && sm < 130);
  return "--gpu-architecture=sm_" + std::to_string(sm) + (has_variant ? "a" : "");
}

std::vector<std::byte> compile(const std::string& source, const std::string& name, int sm) {
  const Nvrtc& library = nvrtc();
  const auto fail = [&](nvrtcResult result, const std::string& log) {
    const std::string reason = library.get_error_string(result);
    if (result == NVRTC_ERROR_INVALID_OPTION) {
      throw Error(ErrorKind::kUnsupported, "NVRTC does not know this GPU (" + architecture_option(sm) + "): " + reason,
                  name, "install a newer CUDA toolkit");
    }
    if (library.include_option.empty() && log.find("could not open source file") != std::string::npos) {
      throw Error(ErrorKind::kDeviceMissing, "CUDA's headers (cuda_fp16.h) were not found beside NVRTC", name, kRemedy);
    }
    throw Error(ErrorKind::kInternal,
                "a generated kernel does not compile: " + reason + (log.empty() ? "" : "\n" + log), name);
  };
  nvrtcProgram program = nullptr;
  nvrtcResult result = library.create_program(&program, source.c_str(), (name + ".cu").c_str(), 0, nullptr, nullptr);
  if (result != NVRTC_SUCCESS) fail(result, {});
  struct Destroy {
    const Nvrtc& library;
    nvrtcProgram& program;
    ~Destroy() { library.destroy_program(&program); }
  } destroy{library, program};
  const std::string architecture = architecture_option(sm);
  std::vector<const char*> options{architecture.c_str(), "--std=c++17", "--device-int128",
                                   "--extra-device-vectorization"};
  if (!library.include_option.empty()) options.push_back(library.include_option.c_str());
  result = library.compile_program(program, static_cast<int>(options.size()), options.data());
  std::string log;
  if (result != NVRTC_SUCCESS) {
    std::size_t size = 0;
    if (library.get_log_size(program, &size) == NVRTC_SUCCESS && size > 1) {
      log.resize(size);
      library.get_log(program, log.data());
      log.resize(size - 1);
    }
    fail(result, log);
  }
  std::size_t size = 0;
  result = library.get_cubin_size(program, &size);
  if (result != NVRTC_SUCCESS) fail(result, {});
  std::vector<std::byte> cubin(size);
  result = library.get_cubin(program, reinterpret_cast<char*>(cubin.data()));
  if (result != NVRTC_SUCCESS) fail(result, {});
  return cubin;
}

}  // namespace

std::vector<std::byte> compile_to_cubin(const std::string& source, const std::string& name, int sm) {
  using Cubin = std::vector<std::byte>;
  static std::mutex mutex;
  static std::map<std::pair<int, std::string>, std::shared_future<Cubin>> cache;
  std::promise<Cubin> promise;
  std::shared_future<Cubin> result;
  bool is_ours = false;
  {
    const std::lock_guard lock(mutex);
    const auto [found, is_new] = cache.try_emplace({sm, source});
    if (is_new) found->second = promise.get_future().share();
    is_ours = is_new;
    result = found->second;
  }
  if (is_ours) {
    try {
      promise.set_value(compile(source, name, sm));
    } catch (...) {
      promise.set_exception(std::current_exception());
    }
  }
  return result.get();
}

std::string nvrtc_version() {
  int major = 0;
  int minor = 0;
  nvrtc().version(&major, &minor);
  return std::to_string(major) + "." + std::to_string(minor);
}

}  // namespace pajamas::cuda
