// See random_fill.h.
#include "targets/cuda/runtime/random_fill.h"

#include <algorithm>
#include <random>
#include <vector>

#include "tensor/half.h"

namespace pajamas::cuda {
namespace {

constexpr std::size_t kBlockElements = std::size_t{1} << 20;

template <typename T, typename Convert>
std::vector<std::byte> block_of(const Convert& convert) {
  std::mt19937 random(7);
  std::uniform_real_distribution<float> distribution(-1.0F, 1.0F);
  std::vector<std::byte> bytes(kBlockElements * sizeof(T));
  T* values = reinterpret_cast<T*>(bytes.data());
  for (std::size_t i = 0; i < kBlockElements; ++i) values[i] = convert(distribution(random));
  return bytes;
}

/// Empty for types that are filled with zeros.
std::vector<std::byte> host_block(DType dtype) {
  switch (dtype) {
    case DType::kFloat32: return block_of<float>([](float value) { return value; });
    case DType::kFloat64: return block_of<double>([](float value) { return static_cast<double>(value); });
    case DType::kFloat16: return block_of<std::uint16_t>([](float value) { return float16_from_float(value); });
    case DType::kBfloat16: return block_of<std::uint16_t>([](float value) { return bfloat16_from_float(value); });
    case DType::kFloat8E4M3Fn:
    case DType::kFloat8E5M2:
      // Sign and mantissa at random below one; no NaN among them.
      return block_of<std::uint8_t>([](float value) {
        const auto bits = static_cast<unsigned>((value + 1.0F) * 63.9F);
        return static_cast<std::uint8_t>((bits & 0x07U) | 0x30U | ((bits & 0x40U) << 1U));
      });
    case DType::kInt8:  // Factors of products; no index has so few bits.
      return block_of<std::int8_t>([](float value) { return static_cast<std::int8_t>(value * 127.0F); });
    default: return {};
  }
}

}  // namespace

void RandomFill::fill(std::byte* memory, std::size_t size_bytes, DType dtype, cudaStream_t stream) {
  if (size_bytes == 0) return;
  auto found = blocks_.find(dtype);
  if (found == blocks_.end()) {
    const std::vector<std::byte> host = host_block(dtype);
    DeviceMemory block(host.size());
    if (!host.empty()) {
      check(cudaMemcpy(block.data(), host.data(), host.size(), cudaMemcpyHostToDevice), "copying random values");
    }
    found = blocks_.emplace(dtype, std::move(block)).first;
  }
  const DeviceMemory& block = found->second;
  if (block.size_bytes() == 0) {
    check(cudaMemsetAsync(memory, 0, size_bytes, stream), "filling with zeros");
    return;
  }
  for (std::size_t offset = 0; offset < size_bytes; offset += block.size_bytes()) {
    check(cudaMemcpyAsync(memory + offset, block.data(), std::min(block.size_bytes(), size_bytes - offset),
                          cudaMemcpyDeviceToDevice, stream),
          "filling with random values");
  }
}

}  // namespace pajamas::cuda
