// What the fuzz targets of checkpoint readers do with a file: copy it, read it, and touch every byte of every tensor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "io/checkpoint_tensor.h"
#include "pajamas/error.h"

namespace pajamas::fuzz {

/// A copy of the exact size lets AddressSanitizer see a read past the end.
inline std::shared_ptr<std::vector<std::byte>> copy_of(const std::uint8_t* data, std::size_t size) {
  auto bytes = std::make_shared<std::vector<std::byte>>(size);
  if (size > 0) std::memcpy(bytes->data(), data, size);
  return bytes;
}

/// Reads every byte, so that a wrong extent is seen.
inline void touch(std::span<const std::byte> bytes) {
  unsigned sum = 0;
  for (const std::byte byte : bytes) sum += std::to_integer<unsigned>(byte);
  if (sum == 0xFFFFFFFFU) __builtin_trap();
}

/// `Checkpoint` is refused, or gives every tensor, each of the size its type and shape say.
template <typename Checkpoint>
void read_checkpoint(const std::uint8_t* data, std::size_t size) {
  const auto bytes = copy_of(data, size);
  try {
    const auto file = Checkpoint::parse(*bytes, bytes, "fuzz");
    for (const std::string& name : file.names()) {
      const CheckpointTensor& tensor = file.tensor(name);
      if (!tensor.block_type && tensor.bytes.size() != bytes_of(tensor.dtype, tensor.shape)) __builtin_trap();
      touch(tensor.bytes);
    }
  } catch (const Error&) {
  }
}

}  // namespace pajamas::fuzz
