// A tensor as a checkpoint file holds it: what the readers of formats other than safetensors and GGUF have in common.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>

#include "pajamas/tensor.h"
#include "tensor/ggml_blocks.h"

namespace pajamas {

/// Dense, row-major, little-endian, at any address. `owner` keeps the bytes alive.
struct CheckpointTensor {
  Shape shape;
  DType dtype = DType::kUndefined;     ///< kUndefined for blocks.
  std::optional<GgmlType> block_type;  ///< Only for types that are no plain arrays.
  std::span<const std::byte> bytes;
  std::shared_ptr<const void> owner;
};

/// The tensor as a Tensor: sharing the bytes where their address suits the type, else a copy. Not for blocks.
inline Tensor to_tensor(const CheckpointTensor& tensor) {
  const auto address = reinterpret_cast<std::uintptr_t>(tensor.bytes.data());
  const auto element_bytes = static_cast<std::uintptr_t>(bits_of(tensor.dtype)) / 8;
  if (element_bytes <= 1 || address % element_bytes == 0) {
    return {tensor.dtype, tensor.shape, tensor.owner, tensor.bytes};
  }
  return Tensor::copy_of({tensor.dtype, tensor.shape, tensor.bytes.data()});
}

}  // namespace pajamas
