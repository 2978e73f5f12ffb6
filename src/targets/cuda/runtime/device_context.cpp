// See device_context.h. The primary context of the device through cudart; modules through the driver.
#include "targets/cuda/runtime/device_context.h"

#include <array>
#include <cstdio>
#include <map>
#include <mutex>

#include "targets/cuda/runtime/driver.h"
#include "targets/cuda/runtime/nvrtc.h"
#if __has_include("targets/cuda/backends/cublaslt_library.h")
#include "targets/cuda/backends/cublaslt_library.h"
#define PAJAMAS_HAS_CUBLASLT 1
#endif
#if __has_include("targets/cuda/backends/cudnn_library.h")
#include "targets/cuda/backends/cudnn_library.h"
#define PAJAMAS_HAS_CUDNN 1
#endif

namespace pajamas::cuda {
namespace {

constexpr int kLeastSm = 80;

ErrorKind kind_of(cudaError_t status) {
  switch (status) {
    case cudaErrorNoDevice:
    case cudaErrorInvalidDevice:
    case cudaErrorInsufficientDriver:
    case cudaErrorDevicesUnavailable:
    case cudaErrorSystemDriverMismatch:
    case cudaErrorSystemNotReady: return ErrorKind::kDeviceMissing;
    case cudaErrorMemoryAllocation: return ErrorKind::kUnsupported;
    default: return ErrorKind::kInternal;
  }
}

std::string uuid_text(const cudaUUID_t& uuid) {
  std::string text = "GPU-";
  for (int i = 0; i < 16; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    std::array<char, 3> digits{};
    std::snprintf(digits.data(), digits.size(), "%02x",
                  static_cast<unsigned>(static_cast<unsigned char>(uuid.bytes[i])));
    text += digits.data();
  }
  return text;
}

class Device final : public DeviceContext {
 public:
  explicit Device(int index) {
    driver();  // Says what is missing, where something is.
    int count = 0;
    const cudaError_t status = cudaGetDeviceCount(&count);
    if (status == cudaErrorNoDevice || (status == cudaSuccess && count == 0)) {
      throw Error(ErrorKind::kDeviceMissing, "there is an NVIDIA driver but no NVIDIA GPU on this machine", {},
                  "check `nvidia-smi` and CUDA_VISIBLE_DEVICES");
    }
    check(status, "looking for NVIDIA GPUs");
    if (index < 0 || index >= count) {
      throw Error(ErrorKind::kDeviceMissing,
                  "there is no GPU " + std::to_string(index) + ": this machine has " + std::to_string(count), {},
                  "count from 0");
    }
    cudaDeviceProp properties{};
    check(cudaGetDeviceProperties(&properties, index), "asking for the GPU's properties");
    info_.index = index;
    info_.name = properties.name;
    info_.sm = properties.major * 10 + properties.minor;
    info_.num_multiprocessors = properties.multiProcessorCount;
    info_.memory_bytes = properties.totalGlobalMem;
    info_.l2_bytes = static_cast<std::size_t>(properties.l2CacheSize);
    info_.uuid = uuid_text(properties.uuid);
    check(cudaDriverGetVersion(&info_.driver_version), "asking for the driver's version");
    if (info_.sm < kLeastSm) {
      throw Error(
          ErrorKind::kUnsupported,
          "the GPU " + info_.name + " has SM " + std::to_string(info_.sm) + "; the cuda target needs 80 or later", {},
          "use --target tensorrt or --target openvino");
    }
    make_current();
    check(cudaFree(nullptr), "starting the GPU");
  }

  const DeviceInfo& info() const override { return info_; }
  void make_current() const override { check(cudaSetDevice(info_.index), "using the GPU"); }

  const CudnnLibrary& cudnn() override {
#ifdef PAJAMAS_HAS_CUDNN
    return open_once(cudnn_);
#else
    missing("cuDNN");
#endif
  }
  const CublasLtLibrary& cublaslt() override {
#ifdef PAJAMAS_HAS_CUBLASLT
    return open_once(cublaslt_);
#else
    missing("cuBLASLt");
#endif
  }

  std::vector<std::byte> compile_to_cubin(const std::string& source, const std::string& name) override {
    return cuda::compile_to_cubin(source, name, info_.sm);
  }

  CompiledKernel load_kernel(std::span<const std::byte> image, const std::string& entry) override {
    make_current();
    CUmodule module = nullptr;
    check(driver().module_load_data(&module, image.data()), "loading the kernel " + entry);
    CompiledKernel kernel;
    const int index = info_.index;
    kernel.module = std::shared_ptr<void>(module, [index](void* loaded) {
      int before = 0;
      cudaGetDevice(&before);
      cudaSetDevice(index);
      driver().module_unload(static_cast<CUmodule>(loaded));
      cudaSetDevice(before);
    });
    check(driver().module_get_function(&kernel.function, module, entry.c_str()), "finding the kernel " + entry);
    return kernel;
  }

 private:
  /// A library that cannot be opened is asked for again: it may be there the next time.
  template <typename Library>
  const Library& open_once(std::unique_ptr<Library>& library) {
    const std::lock_guard lock(libraries_mutex_);
    if (!library) library = Library::open(info_.index);
    return *library;
  }
  [[noreturn, maybe_unused]] static void missing(const std::string& name) {
    throw Error(ErrorKind::kDeviceMissing, "this program was built without its " + name + " backend");
  }

  std::mutex libraries_mutex_;
#ifdef PAJAMAS_HAS_CUDNN
  std::unique_ptr<CudnnLibrary> cudnn_;
#endif
#ifdef PAJAMAS_HAS_CUBLASLT
  std::unique_ptr<CublasLtLibrary> cublaslt_;
#endif
  DeviceInfo info_;
};

}  // namespace

void check(cudaError_t status, std::string_view what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // The next call must not report this one's error again.
  throw Error(kind_of(status), std::string(what) + " failed: " + cudaGetErrorString(status) + " (CUDA error " +
                                   std::to_string(static_cast<int>(status)) + ")");
}

void check(CUresult status, std::string_view what) {
  if (status == CUDA_SUCCESS) return;
  const char* reason = nullptr;
  driver().get_error_string(status, &reason);
  // The runtime's numbers are the driver's.
  throw Error(kind_of(static_cast<cudaError_t>(status)),
              std::string(what) + " failed: " + (reason != nullptr ? reason : "unknown reason") + " (CUDA error " +
                  std::to_string(static_cast<int>(status)) + ")");
}

std::shared_ptr<DeviceContext> DeviceContext::open(int device_index) {
  static std::mutex mutex;
  // Never destroyed: at the end of the process CUDA may be gone before the libraries that would be closed with it.
  static auto* const devices = new std::map<int, std::shared_ptr<DeviceContext>>;
  const std::lock_guard lock(mutex);
  std::shared_ptr<DeviceContext>& device = (*devices)[device_index];
  if (!device) device = std::make_shared<Device>(device_index);
  return device;
}

DeviceMemory::DeviceMemory(std::size_t size_bytes) : size_bytes_(size_bytes) {
  if (size_bytes == 0) return;
  void* memory = nullptr;
  const cudaError_t status = cudaMalloc(&memory, size_bytes);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    std::size_t free_bytes = 0;
    std::size_t total_bytes = 0;
    cudaMemGetInfo(&free_bytes, &total_bytes);
    throw Error(ErrorKind::kUnsupported,
                std::to_string(size_bytes) + " bytes of GPU memory are needed and " + std::to_string(free_bytes) +
                    " of " + std::to_string(total_bytes) + " are free",
                {}, "use a smaller batch, or end other programs on this GPU (see `nvidia-smi`)");
  }
  check(status, "allocating GPU memory");
  data_ = static_cast<std::byte*>(memory);
}

DeviceMemory::~DeviceMemory() {
  if (data_ != nullptr) cudaFree(data_);
}

}  // namespace pajamas::cuda
