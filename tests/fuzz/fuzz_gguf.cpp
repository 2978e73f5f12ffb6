// Fuzz target: any bytes as a GGUF file. Whatever is accepted must hand out every key and every tensor, each of the
// size its type and shape say; and, where it says that it is a language model, its configuration and its weights.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "io/gguf.h"
#include "models/weight_source.h"
#include "pajamas/error.h"
#include "read_checkpoint.h"

namespace {

/// More would only make the fuzzer slow.
constexpr std::int64_t kMaxRowElements = 1 << 16;

template <typename Call>
void attempt(const Call& call) {
  try {
    call();
  } catch (const pajamas::Error&) {
  }
}

void read_metadata(const pajamas::Gguf& file) {
  for (const std::string_view key : file.keys()) {
    attempt([&] { file.find_string(key); });
    attempt([&] { file.find_int(key); });
    attempt([&] { file.find_float(key); });
    attempt([&] { file.find_bool(key); });
    attempt([&] { file.find_ints(key); });
    attempt([&] { file.find_floats(key); });
    attempt([&] {
      std::size_t sum = 0;
      for (const std::string_view text : file.find_strings(key).value_or(std::vector<std::string_view>())) {
        for (const char c : text) sum += static_cast<unsigned char>(c);
      }
      if (sum == SIZE_MAX) __builtin_trap();
    });
  }
}

void read_weights(const pajamas::Gguf& file) {
  const auto source = pajamas::weight_source_of(file);
  for (const std::string& name : source->names()) {
    const pajamas::WeightRows rows = pajamas::weight_rows_of(source->shape_of(name));
    if (rows.num_rows == 0 || rows.row_elements > kMaxRowElements) continue;
    std::vector<float> row(static_cast<std::size_t>(rows.row_elements));
    for (std::int64_t i = 0; i < std::min<std::int64_t>(rows.num_rows, 64); ++i) {
      attempt([&] { source->read_rows_f32(name, i, 1, row); });
    }
    if (rows.num_rows * rows.row_elements > kMaxRowElements) continue;
    attempt([&] { source->tensor(name); });
    attempt([&] {
      const pajamas::BlockWeight weight = source->blocks(name);
      pajamas::dequantize_rows(weight, 0, 1, row);
    });
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = pajamas::fuzz::copy_of(data, size);
  attempt([&] {
    const auto file = pajamas::Gguf::parse(*bytes, bytes, "fuzz");
    read_metadata(file);
    for (const pajamas::GgufTensor& tensor : file.tensors()) {
      pajamas::fuzz::touch(tensor.bytes);
    }
    read_weights(file);
  });
  return 0;
}
