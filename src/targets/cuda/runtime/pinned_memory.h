// Page-locked host memory: copies from and to it run at full speed and asynchronously. Needs a device made current.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <string>
#include <utility>

#include "targets/cuda/runtime/device_context.h"

namespace pajamas::cuda {

class PinnedMemory {
 public:
  PinnedMemory() = default;
  explicit PinnedMemory(std::size_t size_bytes) { reserve(size_bytes); }
  ~PinnedMemory() {
    if (data_ != nullptr) cudaFreeHost(data_);
  }
  PinnedMemory(PinnedMemory&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), capacity_bytes_(std::exchange(other.capacity_bytes_, 0)) {}
  PinnedMemory& operator=(PinnedMemory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(capacity_bytes_, other.capacity_bytes_);
    return *this;
  }

  /// Keeps what it has when that is large enough; contents are lost otherwise.
  void reserve(std::size_t size_bytes) {
    if (size_bytes <= capacity_bytes_) return;
    if (data_ != nullptr) cudaFreeHost(std::exchange(data_, nullptr));
    capacity_bytes_ = 0;
    void* memory = nullptr;
    check(cudaHostAlloc(&memory, size_bytes, cudaHostAllocDefault),
          "allocating " + std::to_string(size_bytes) + " bytes of page-locked memory");
    data_ = static_cast<std::byte*>(memory);
    capacity_bytes_ = size_bytes;
  }
  std::byte* data() const noexcept { return data_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t capacity_bytes_ = 0;
};

}  // namespace pajamas::cuda
