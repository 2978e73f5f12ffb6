// cuDNN, opened at run time: the functions used, its version, and a store of handles. Only the graph interface
// (cudnn_graph.h) is used. No other file calls dlsym for it.
#pragma once

#include <cudnn.h>

#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace pajamas::cuda {

/// Made once a device. All members may be called from any thread.
class CudnnLibrary {
 public:
  /// Throws Error{kDeviceMissing} when there is none, or one older than 9.8 or of another major version.
  static std::unique_ptr<CudnnLibrary> open(int device_index);
  ~CudnnLibrary();
  CudnnLibrary(const CudnnLibrary&) = delete;
  CudnnLibrary& operator=(const CudnnLibrary&) = delete;

  decltype(&cudnnGetVersion) get_version = nullptr;
  decltype(&cudnnGetErrorString) get_error_string = nullptr;
  decltype(&cudnnGetLastErrorString) get_last_error_string = nullptr;
  decltype(&cudnnCreate) create = nullptr;
  decltype(&cudnnSetStream) set_stream = nullptr;
  decltype(&cudnnBackendCreateDescriptor) create_descriptor = nullptr;
  decltype(&cudnnBackendDestroyDescriptor) destroy_descriptor = nullptr;
  decltype(&cudnnBackendFinalize) finalize = nullptr;
  decltype(&cudnnBackendSetAttribute) set_attribute = nullptr;
  decltype(&cudnnBackendGetAttribute) get_attribute = nullptr;
  decltype(&cudnnBackendExecute) execute = nullptr;

  /// "9.19.0".
  std::string version() const;
  /// Throws Error{kInternal} "what failed: cuDNN's reason".
  void check(cudnnStatus_t status, const std::string& what) const;
  /// cuDNN's reason for the last failure of this thread.
  std::string reason(cudnnStatus_t status) const;

  /// A handle for one thread at a time, given back at the end of its life.
  class Lease {
   public:
    explicit Lease(const CudnnLibrary& library) : library_(library), handle_(library.take()) {}
    ~Lease() { library_.give_back(handle_); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    cudnnHandle_t get() const noexcept { return handle_; }

   private:
    const CudnnLibrary& library_;
    cudnnHandle_t handle_;
  };

 private:
  explicit CudnnLibrary(int device_index);
  cudnnHandle_t take() const;
  void give_back(cudnnHandle_t handle) const;

  int device_index_;
  mutable std::mutex mutex_;
  mutable std::vector<cudnnHandle_t> free_handles_;
};

}  // namespace pajamas::cuda
