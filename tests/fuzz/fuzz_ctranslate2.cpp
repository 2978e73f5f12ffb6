// Fuzz target: any bytes through io/ctranslate2.h. Whatever is accepted must hand out every tensor, each of the size
// its type and shape say.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "io/ctranslate2.h"
#include "pajamas/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // A copy of the exact size lets AddressSanitizer see a read past the end.
  const auto bytes = std::make_shared<std::vector<std::byte>>(size);
  if (size > 0) std::memcpy(bytes->data(), data, size);
  try {
    const auto file = pajamas::Ctranslate2Model::parse(*bytes, bytes, "fuzz");
    for (const std::string& name : file.names()) {
      const pajamas::CheckpointTensor& tensor = file.tensor(name);
      if (!tensor.block_type && tensor.bytes.size() != pajamas::bytes_of(tensor.dtype, tensor.shape)) __builtin_trap();
      unsigned sum = 0;  // touches every byte, so that a wrong extent is seen
      for (const std::byte byte : tensor.bytes) sum += std::to_integer<unsigned>(byte);
      if (sum == 0xFFFFFFFFU) __builtin_trap();
    }
  } catch (const pajamas::Error&) {
  }
  return 0;
}
