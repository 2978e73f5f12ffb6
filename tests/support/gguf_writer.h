// GgufWriter: makes GGUF files for tests, right ones and, by its raw pieces, wrong ones. Independent of io/gguf.h: it
// follows the format's description, not the reader.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tensor/ggml_blocks.h"

namespace pajamas::test {

class GgufWriter {
 public:
  std::uint32_t version = 3;
  std::uint64_t alignment = 32;

  GgufWriter& text(const std::string& key, std::string_view value) { return entry(key, 8, packed_text(value)); }
  GgufWriter& uint32(const std::string& key, std::uint32_t value) { return entry(key, 4, packed(value)); }
  GgufWriter& uint16(const std::string& key, std::uint16_t value) { return entry(key, 2, packed(value)); }
  GgufWriter& int32(const std::string& key, std::int32_t value) { return entry(key, 5, packed(value)); }
  GgufWriter& uint64(const std::string& key, std::uint64_t value) { return entry(key, 10, packed(value)); }
  GgufWriter& float32(const std::string& key, float value) { return entry(key, 6, packed(value)); }
  GgufWriter& float64(const std::string& key, double value) { return entry(key, 12, packed(value)); }
  GgufWriter& boolean(const std::string& key, bool value) { return entry(key, 7, packed<std::uint8_t>(value ? 1 : 0)); }
  GgufWriter& texts(const std::string& key, const std::vector<std::string>& values) {
    std::string elements;
    for (const std::string& value : values) elements += packed_text(value);
    return array(key, 8, values.size(), elements);
  }
  GgufWriter& int32s(const std::string& key, const std::vector<std::int32_t>& values) {
    std::string elements;
    for (const std::int32_t value : values) elements += packed(value);
    return array(key, 5, values.size(), elements);
  }
  GgufWriter& float32s(const std::string& key, const std::vector<float>& values) {
    std::string elements;
    for (const float value : values) elements += packed(value);
    return array(key, 6, values.size(), elements);
  }
  GgufWriter& array(const std::string& key, std::uint32_t type, std::uint64_t count, const std::string& elements) {
    return entry(key, 9, packed(type) + packed(count) + elements);
  }
  /// Any value: `type` as a number of the format, `payload` its bytes.
  GgufWriter& entry(const std::string& key, std::uint32_t type, const std::string& payload) {
    metadata_ += packed_text(key) + packed(type) + payload;
    ++num_keys;
    return *this;
  }

  /// `shape` outermost first, as the project has it; `data` the blocks. The file gets them in the order of the calls.
  GgufWriter& tensor(const std::string& name, GgmlType type, std::vector<std::uint64_t> shape, std::string data) {
    return raw_tensor(name, static_cast<std::uint32_t>(type), std::move(shape), padded_size(data_.size()),
                      std::move(data));
  }
  GgufWriter& floats(const std::string& name, std::vector<std::uint64_t> shape, const std::vector<float>& values) {
    std::string data(values.size() * sizeof(float), '\0');
    std::memcpy(data.data(), values.data(), data.size());
    return tensor(name, GgmlType::kF32, std::move(shape), std::move(data));
  }
  /// A table entry that may lie; `data` is appended where the writer stands.
  GgufWriter& raw_tensor(const std::string& name, std::uint32_t type, std::vector<std::uint64_t> shape,
                         std::uint64_t offset, std::string data) {
    table_ += packed_text(name) + packed(static_cast<std::uint32_t>(shape.size()));
    for (std::size_t i = shape.size(); i-- > 0;) table_ += packed(shape[i]);
    table_ += packed(type) + packed(offset);
    data_.resize(static_cast<std::size_t>(padded_size(data_.size())));
    data_ += data;
    ++num_tensors;
    return *this;
  }

  /// May be changed to lie about them.
  std::uint64_t num_keys = 0;
  std::uint64_t num_tensors = 0;

  std::string bytes() const {
    std::string file = "GGUF" + packed(version) + packed(num_tensors) + packed(num_keys) + metadata_ + table_;
    if (!data_.empty()) file.resize(static_cast<std::size_t>(padded_size(file.size())));
    return file + data_;
  }

  /// Little-endian bytes of a number.
  template <typename T>
  static std::string packed(T value) {
    std::string bytes(sizeof(T), '\0');
    std::memcpy(bytes.data(), &value, sizeof(T));
    if constexpr (std::endian::native == std::endian::big) bytes.assign(bytes.rbegin(), bytes.rend());
    return bytes;
  }
  static std::string packed_text(std::string_view text) {
    return packed<std::uint64_t>(text.size()) + std::string(text);
  }

 private:
  std::uint64_t padded_size(std::uint64_t size) const { return (size + alignment - 1) / alignment * alignment; }
  std::string metadata_, table_, data_;
};

}  // namespace pajamas::test
