// See cudnn_library.h.
#include "targets/cuda/backends/cudnn_library.h"

#include <cuda_runtime_api.h>

#include <array>

#include "pajamas/error.h"
#include "targets/cuda/backends/vendor_library.h"

namespace pajamas::cuda {
namespace {

/// Plans as JSON and attention in one fused kernel for any sequence length are complete since then.
constexpr std::size_t kLeastVersion = 90800;

std::string text(std::size_t version) {
  return std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." +
         std::to_string(version % 100);
}

}  // namespace

CudnnLibrary::CudnnLibrary(int device_index) : device_index_(device_index) {
  const VendorLibrary library{"cuDNN", "libcudnn.so.9", "PAJAMAS_CUDNN", "cudnn/lib", "nvidia-cudnn-cu13"};
  void* handle = open_vendor_library(library);
  find_function(library, handle, "cudnnGetVersion", get_version);
  find_function(library, handle, "cudnnGetErrorString", get_error_string);
  find_function(library, handle, "cudnnGetLastErrorString", get_last_error_string);
  find_function(library, handle, "cudnnCreate", create);
  find_function(library, handle, "cudnnSetStream", set_stream);
  find_function(library, handle, "cudnnBackendCreateDescriptor", create_descriptor);
  find_function(library, handle, "cudnnBackendDestroyDescriptor", destroy_descriptor);
  find_function(library, handle, "cudnnBackendFinalize", finalize);
  find_function(library, handle, "cudnnBackendSetAttribute", set_attribute);
  find_function(library, handle, "cudnnBackendGetAttribute", get_attribute);
  find_function(library, handle, "cudnnBackendExecute", execute);
  const std::size_t version = get_version();
  if (version < kLeastVersion || version / 10000 != CUDNN_MAJOR) {
    throw Error(ErrorKind::kDeviceMissing,
                "cuDNN " + text(version) + " was found; this program works with " + text(kLeastVersion) + " to 9.x", {},
                "install cuDNN 9, or set PAJAMAS_CUDNN to another libcudnn.so.9");
  }
}

std::unique_ptr<CudnnLibrary> CudnnLibrary::open(int device_index) {
  return std::unique_ptr<CudnnLibrary>(new CudnnLibrary(device_index));
}

// Opened once a process: when that ends, the driver may be gone before, and destroying a handle would call it.
CudnnLibrary::~CudnnLibrary() = default;

std::string CudnnLibrary::version() const { return text(get_version()); }

std::string CudnnLibrary::reason(cudnnStatus_t status) const {
  std::array<char, 2048> message{};
  get_last_error_string(message.data(), message.size());
  std::string text = get_error_string(status);
  if (message[0] != '\0') text += std::string(" (") + message.data() + ")";
  return text;
}

void CudnnLibrary::check(cudnnStatus_t status, const std::string& what) const {
  if (status != CUDNN_STATUS_SUCCESS) throw Error(ErrorKind::kInternal, what + " failed: " + reason(status));
}

cudnnHandle_t CudnnLibrary::take() const {
  {
    const std::lock_guard lock(mutex_);
    if (!free_handles_.empty()) {
      cudnnHandle_t handle = free_handles_.back();
      free_handles_.pop_back();
      return handle;
    }
  }
  // A new handle allocates, which a capture that another part of this thread has begun would forbid.
  cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
  cudaThreadExchangeStreamCaptureMode(&mode);
  cudnnHandle_t handle = nullptr;
  cudaSetDevice(device_index_);
  const cudnnStatus_t status = create(&handle);
  cudaThreadExchangeStreamCaptureMode(&mode);
  check(status, "starting cuDNN");
  return handle;
}

void CudnnLibrary::give_back(cudnnHandle_t handle) const {
  const std::lock_guard lock(mutex_);
  free_handles_.push_back(handle);
}

}  // namespace pajamas::cuda
