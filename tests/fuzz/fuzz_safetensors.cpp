// Fuzz target: any bytes as a safetensors file. Whatever is accepted must hand out every tensor, each of the size its
// type and shape say. Each input is tried a second time with the length mended, so that the header is reached.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "io/safetensors.h"
#include "pajamas/error.h"
#include "read_checkpoint.h"

namespace {

void read_all(std::span<const std::byte> bytes, const std::shared_ptr<const void>& owner) {
  try {
    const auto file = pajamas::Safetensors::parse(bytes, owner, "fuzz");
    for (const std::string& name : file.names()) {
      const pajamas::Tensor tensor = file.tensor(name);
      if (tensor.size_bytes() != pajamas::bytes_of(tensor.dtype(), tensor.shape())) __builtin_trap();
      pajamas::fuzz::touch(tensor.bytes());
    }
  } catch (const pajamas::Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = pajamas::fuzz::copy_of(data, size);
  read_all(*bytes, bytes);
  // The same with a header as long as the last '}' says.
  std::size_t end = size;
  while (end > 8 && (*bytes)[end - 1] != std::byte{'}'}) --end;
  if (end > 8) {
    const std::uint64_t header_bytes = end - 8;
    for (std::size_t i = 0; i < 8; ++i) (*bytes)[i] = static_cast<std::byte>(header_bytes >> (8 * i));
    read_all(*bytes, bytes);
  }
  return 0;
}
