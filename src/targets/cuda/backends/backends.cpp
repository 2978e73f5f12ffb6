// The table of backends, one line each, in order of preference where nothing was timed.
#include "targets/cuda/runtime/device_context.h"
#include "targets/cuda/runtime/nvrtc.h"
#include "targets/cuda/runtime/step_kernel.h"
#if __has_include("targets/cuda/backends/cublaslt_library.h")
#include "targets/cuda/backends/cublaslt_library.h"
#define PAJAMAS_HAS_CUBLASLT 1
#endif
#if __has_include("targets/cuda/backends/cudnn_library.h")
#include "targets/cuda/backends/cudnn_library.h"
#define PAJAMAS_HAS_CUDNN 1
#endif

namespace pajamas::cuda {

const Backend& attention_backend();  // attention_nvrtc.cpp
const Backend& cublaslt_backend();   // cublaslt_backend.cpp
const Backend& cudnn_backend();      // cudnn_backend.cpp
const Backend& halo_backend();       // halo_nvrtc.cpp
const Backend& loop_backend();       // loop_nvrtc.cpp
const Backend& operator_backend();   // operator_nvrtc.cpp
const Backend& plain_backend();      // plain_nvrtc.cpp
const Backend& tile_backend();       // tile_nvrtc.cpp
const Backend& warpgroup_backend();  // warpgroup_nvrtc.cpp

const std::vector<const Backend*>& backends() {
  static const std::vector<const Backend*> kBackends = {
      &cublaslt_backend(), &cudnn_backend(), &attention_backend(), &warpgroup_backend(), &tile_backend(),
      &halo_backend(),     &loop_backend(),  &operator_backend(),  &plain_backend(),
  };
  return kBackends;
}

std::map<std::string, std::string> library_versions([[maybe_unused]] DeviceContext& device) {
  std::map<std::string, std::string> versions;
  const auto add = [&](const std::string& name, const auto& version) {
    try {
      versions[name] = version();
    } catch (const Error&) {
      // A library that is missing has no version; whoever needs it says so.
    }
  };
  add("nvrtc", [] { return nvrtc_version(); });
#ifdef PAJAMAS_HAS_CUDNN
  add("cudnn", [&] { return device.cudnn().version(); });
#endif
#ifdef PAJAMAS_HAS_CUBLASLT
  add("cublaslt", [&] { return device.cublaslt().version(); });
#endif
  return versions;
}

}  // namespace pajamas::cuda
