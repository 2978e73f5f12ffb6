// Fuzz target: any bytes through io/ggml_checkpoint.h. Whatever is accepted must hand out every tensor, each of the
// size its type and shape say.
#include <cstddef>
#include <cstdint>

#include "io/ggml_checkpoint.h"
#include "read_checkpoint.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  pajamas::fuzz::read_checkpoint<pajamas::GgmlCheckpoint>(data, size);
  return 0;
}
