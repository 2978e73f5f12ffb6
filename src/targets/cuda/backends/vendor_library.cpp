// See vendor_library.h.
#include "targets/cuda/backends/vendor_library.h"

#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <vector>

#include "pajamas/error.h"

namespace pajamas::cuda {
namespace {

namespace fs = std::filesystem;

std::string remedy_of(const VendorLibrary& library) {
  return "install it (CUDA 13 packages of the distribution, or pip's " + library.pip_package + "), or set " +
         library.variable + " to the path of " + library.soname;
}

void add_pip_folders(const fs::path& site, const VendorLibrary& library, std::vector<fs::path>& candidates) {
  candidates.push_back(site / "nvidia" / library.pip_folder / library.soname);
}

std::vector<fs::path> candidates_of(const VendorLibrary& library) {
  const char* named = std::getenv(library.variable.c_str());
  if (named != nullptr && *named != '\0') return {named};
  std::vector<fs::path> candidates{library.soname};
  for (const char* variable : {"CUDA_HOME", "CUDA_PATH"}) {
    const char* home = std::getenv(variable);
    if (home != nullptr && *home != '\0') candidates.push_back(fs::path(home) / "lib64" / library.soname);
  }
  candidates.push_back(fs::path("/usr/local/cuda/lib64") / library.soname);
  candidates.push_back(fs::path("/usr/lib/x86_64-linux-gnu") / library.soname);
  // pip's packages: of every Python environment whose programs the user can call, and of those for all users.
  std::vector<fs::path> environments;
  const char* active = std::getenv("VIRTUAL_ENV");
  if (active != nullptr && *active != '\0') environments.emplace_back(active);
  const char* path = std::getenv("PATH");
  std::stringstream folders(path != nullptr ? path : "");
  for (std::string folder; std::getline(folders, folder, ':');) {
    const fs::path bin(folder);
    if (bin.filename() == "bin") environments.push_back(bin.parent_path());
  }
  std::error_code ignored;
  for (const fs::path& environment : environments) {
    for (const auto& entry : fs::directory_iterator(environment / "lib", ignored)) {
      if (entry.path().filename().string().rfind("python3", 0) != 0) continue;
      add_pip_folders(entry.path() / "site-packages", library, candidates);
      add_pip_folders(entry.path() / "dist-packages", library, candidates);
    }
  }
  return candidates;
}

}  // namespace

void* open_vendor_library(const VendorLibrary& library) {
  std::string reasons;
  std::error_code ignored;
  for (const fs::path& candidate : candidates_of(library)) {
    // Only what the loader is to search for itself may be absent as a file.
    if (candidate.has_parent_path() && !fs::exists(candidate, ignored)) {
      reasons += (reasons.empty() ? "" : "; ") + candidate.string() + " is not there";
      continue;
    }
    if (void* handle = ::dlopen(candidate.c_str(), RTLD_NOW | RTLD_LOCAL)) return handle;
    const char* reason = ::dlerror();
    reasons += (reasons.empty() ? "" : "; ") + std::string(reason != nullptr ? reason : candidate.string());
  }
  throw Error(ErrorKind::kDeviceMissing, library.title + " cannot be opened: " + reasons, {}, remedy_of(library));
}

void* find_function(const VendorLibrary& library, void* handle, const char* name) {
  if (void* function = ::dlsym(handle, name)) return function;
  throw Error(ErrorKind::kDeviceMissing, library.title + " is too old: it has no " + name, library.soname,
              remedy_of(library));
}

}  // namespace pajamas::cuda
