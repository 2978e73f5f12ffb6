// The packed weights of an engine in one block of device memory, shared by all its sessions.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "pajamas/tensor.h"
#include "targets/cuda/constant_pool.h"
#include "targets/cuda/runtime/device_context.h"
#include "targets/cuda/runtime/engine_index.h"

namespace pajamas::cuda {

/// Packed constants in host memory, on their way to an engine file and to the device.
class PackedConstants {
 public:
  /// Packs what `uses` asks for and is not there yet. Throws as pack().
  void add(const std::vector<ConstantUse>& uses, const ConstantTable& table);
  /// Places in the section `weights`, each at a multiple of kBufferAlignment, in order.
  const std::vector<ConstantPlace>& places() const noexcept { return places_; }
  std::size_t size_bytes() const noexcept { return size_bytes_; }
  /// The section in pieces, padding included. Valid while this lives.
  std::vector<std::span<const std::byte>> pieces() const;

 private:
  std::map<std::string, std::size_t> index_;  ///< Key → position in places_ and tensors_.
  std::vector<ConstantPlace> places_;
  std::vector<Tensor> tensors_;
  std::size_t size_bytes_ = 0;
};

/// Immutable after construction; shareable between threads.
class DeviceConstants {
 public:
  /// From the section of an engine file: one allocation and one copy.
  DeviceConstants(std::span<const std::byte> weights, const std::vector<ConstantPlace>& places);
  /// `shared`: others that find() knows too.
  explicit DeviceConstants(const PackedConstants& packed, std::shared_ptr<const DeviceConstants> shared = nullptr);

  /// Device address. Throws Error{kInternal} for a key that was not packed.
  std::byte* find(const std::string& key) const;
  bool contains(const std::string& key) const {
    return addresses_.count(key) != 0 || (shared_ && shared_->contains(key));
  }
  std::size_t size_bytes() const noexcept { return memory_.size_bytes(); }

 private:
  std::shared_ptr<const DeviceConstants> shared_;
  DeviceMemory memory_;
  std::map<std::string, std::byte*> addresses_;
};

}  // namespace pajamas::cuda
