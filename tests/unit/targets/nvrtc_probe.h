// Whether generated CUDA C++ compiles: NVRTC, opened at run time where it is on the machine. Needs no GPU and nothing
// of the target's own NVRTC code, so it is in every build's tests.
#pragma once

#include <dlfcn.h>

#include <string>

namespace pajamas::cuda {

/// NVRTC, opened at run time: compiling needs no GPU.
class Nvrtc {
 public:
  Nvrtc() {
    for (const char* name : {"libnvrtc.so.13", "libnvrtc.so", "/usr/local/cuda/lib/libnvrtc.so.13",
                             "/usr/local/cuda/lib64/libnvrtc.so.13"}) {
      if (library_ = dlopen(name, RTLD_NOW); library_ != nullptr) break;
    }
  }
  bool is_there() const { return library_ != nullptr; }
  /// Empty when it compiles.
  std::string compile(const std::string& source, const char* arch) const {
    void* program = nullptr;
    find<int (*)(void**, const char*, const char*, int, const char* const*, const char* const*)>("nvrtcCreateProgram")(
        &program, source.c_str(), "probe.cu", 0, nullptr, nullptr);
    const char* options[] = {arch, "--std=c++17"};
    const int status = find<int (*)(void*, int, const char* const*)>("nvrtcCompileProgram")(program, 2, options);
    std::string log;
    if (status != 0) {
      std::size_t size = 0;
      find<int (*)(void*, std::size_t*)>("nvrtcGetProgramLogSize")(program, &size);
      log.resize(size + 1);
      find<int (*)(void*, char*)>("nvrtcGetProgramLog")(program, log.data());
      log = "failed: " + log;
    }
    find<int (*)(void**)>("nvrtcDestroyProgram")(&program);
    return log;
  }

 private:
  template <typename Function>
  Function find(const char* name) const {
    return reinterpret_cast<Function>(dlsym(library_, name));
  }
  void* library_ = nullptr;
};

}  // namespace pajamas::cuda
