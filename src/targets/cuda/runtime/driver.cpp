// See driver.h.
#include "targets/cuda/runtime/driver.h"

#include <cuda_runtime_api.h>
#include <dlfcn.h>

#include <string>

#include "pajamas/error.h"

namespace pajamas::cuda {
namespace {

constexpr const char* kNoDriverRemedy =
    "run on a machine with an NVIDIA GPU and its driver, or build with --target openvino";

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

/// The runtime reports a missing driver as a too old one, so that is looked at first.
void require_driver() {
  void* library = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* reason = ::dlerror();
    throw Error(
        ErrorKind::kDeviceMissing,
        std::string("there is no NVIDIA driver on this machine: ") + (reason != nullptr ? reason : "libcuda.so.1"), {},
        kNoDriverRemedy);
  }
  int version = 0;
  cudaDriverGetVersion(&version);
  if (version / 1000 < CUDART_VERSION / 1000) {
    throw Error(ErrorKind::kUnsupported,
                "the NVIDIA driver is too old: it is made for CUDA " + version_text(version) + ", this program for " +
                    version_text(CUDART_VERSION),
                {}, "install an NVIDIA driver of version 580 or later");
  }
}

template <typename Function>
void find(const char* name, unsigned since, Function& function, bool is_required = true) {
  void* entry = nullptr;
  cudaDriverEntryPointQueryResult result{};
  const cudaError_t status = cudaGetDriverEntryPointByVersion(name, &entry, since, cudaEnableDefault, &result);
  if (status != cudaSuccess || result != cudaDriverEntryPointSuccess || entry == nullptr) {
    if (!is_required) return;
    throw Error(ErrorKind::kUnsupported, std::string("the NVIDIA driver is too old: it has no ") + name, {},
                "install an NVIDIA driver of version 580 or later");
  }
  function = reinterpret_cast<Function>(entry);
}

}  // namespace

const DriverFunctions& driver() {
  static const DriverFunctions kFunctions = [] {
    require_driver();
    DriverFunctions found;
    // The numbers are the CUDA versions since which the form that cuda.h declares exists.
    find("cuGetErrorString", 6000, found.get_error_string);
    find("cuModuleLoadData", 2000, found.module_load_data);
    find("cuModuleUnload", 2000, found.module_unload);
    find("cuModuleGetFunction", 2000, found.module_get_function);
    find("cuFuncSetAttribute", 9000, found.func_set_attribute);
    find("cuLaunchKernelEx", 11060, found.launch_kernel_ex);
    find("cuTensorMapEncodeTiled", 12000, found.tensor_map_encode_tiled, false);
    find("cuTensorMapEncodeIm2col", 12000, found.tensor_map_encode_im2col, false);
    return found;
  }();
  return kFunctions;
}

}  // namespace pajamas::cuda
