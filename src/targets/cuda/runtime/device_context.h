// One GPU as the backends see it: what it is, the vendor libraries opened for it, compiled modules. Made once a device
// and process; errors of CUDA calls become pajamas::Error here.
#pragma once

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pajamas/error.h"

namespace pajamas::cuda {

class CublasLtLibrary;  // backends/cublaslt_library.h
class CudnnLibrary;     // backends/cudnn_library.h

struct DeviceInfo {
  int index = 0;
  std::string name;
  int sm = 0;  ///< 90 for 9.0.
  int num_multiprocessors = 0;
  std::size_t memory_bytes = 0;
  std::size_t l2_bytes = 0;
  int driver_version = 0;  ///< 13000 for CUDA 13.0.
  std::string uuid;
};

/// Throws Error{kInternal} "what failed: CUDA's reason"; Error{kDeviceMissing} where the reason is a missing driver or
/// device, Error{kUnsupported} where memory does not suffice.
void check(cudaError_t status, std::string_view what);
void check(CUresult status, std::string_view what);

/// A kernel in a loaded module; keeps the module.
struct CompiledKernel {
  std::shared_ptr<void> module;  ///< CUlibrary or CUmodule
  CUfunction function = nullptr;
};

class DeviceContext {
 public:
  /// Opens the device. Throws Error{kDeviceMissing} without a driver or such a device, with the reason.
  static std::shared_ptr<DeviceContext> open(int device_index = 0);
  virtual ~DeviceContext() = default;

  virtual const DeviceInfo& info() const = 0;
  /// Makes the device current in the calling thread; every public entry of the target does this first.
  virtual void make_current() const = 0;

  /// Opened on first use; throw Error{kDeviceMissing} saying which library is missing and how to install it.
  virtual const CudnnLibrary& cudnn() = 0;
  virtual const CublasLtLibrary& cublaslt() = 0;

  /// Compiles CUDA C++ for this device's SM by NVRTC; the result is a cubin. Equal sources are compiled once a process.
  /// Throws Error{kInternal} with NVRTC's log.
  virtual std::vector<std::byte> compile_to_cubin(const std::string& source, const std::string& name) = 0;
  /// Loads a cubin or fatbin and finds a function in it.
  virtual CompiledKernel load_kernel(std::span<const std::byte> image, const std::string& entry) = 0;
};

/// Device memory that frees itself.
class DeviceMemory {
 public:
  DeviceMemory() = default;
  /// Throws Error{kUnsupported} naming the bytes wanted and free when they do not suffice.
  explicit DeviceMemory(std::size_t size_bytes);
  ~DeviceMemory();
  DeviceMemory(DeviceMemory&& other) noexcept : data_(other.data_), size_bytes_(other.size_bytes_) {
    other.data_ = nullptr;
    other.size_bytes_ = 0;
  }
  DeviceMemory& operator=(DeviceMemory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_bytes_, other.size_bytes_);
    return *this;
  }
  std::byte* data() const noexcept { return data_; }
  std::size_t size_bytes() const noexcept { return size_bytes_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_bytes_ = 0;
};

}  // namespace pajamas::cuda
