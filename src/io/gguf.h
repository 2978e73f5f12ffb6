// GGUF files as llama.cpp and its kin publish them: typed metadata and mapped tensors, with every number of the file
// checked before it is used. What a tensor's blocks mean is tensor/ggml_blocks.h's; what architectures and names mean
// is models/language/'s.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/files.h"
#include "pajamas/tensor.h"
#include "tensor/ggml_blocks.h"

namespace pajamas {

/// One tensor of the file. The bytes stay mapped as long as `owner` lives.
struct GgufTensor {
  std::string name;
  GgmlType type = GgmlType::kF32;
  Shape shape;  ///< Row-major, outermost first: the file's dimensions reversed.
  std::span<const std::byte> bytes;
  std::shared_ptr<const void> owner;
};

/// A GGUF model: version 2 or 3, little-endian, one file or all its splits. Immutable; shareable between threads;
/// copies share everything. Views it gives are valid as long as any copy of it.
class Gguf {
 public:
  /// Opens a file. When it is one of several ("…-00001-of-00003.gguf") the others are taken from the same folder.
  /// Throws Error{kBadInput} naming the file and the key or tensor: truncated, counts that the file cannot hold,
  /// offsets past the end, overlapping or misaligned tensors, duplicate names, nested arrays, a missing split;
  /// Error{kUnsupported} for big-endian files, other versions and unknown tensor types.
  static Gguf read(const std::filesystem::path& path);
  /// The same checks on one file in memory, which `owner` keeps alive; `where` names it in errors.
  static Gguf parse(std::span<const std::byte> bytes, std::shared_ptr<const void> owner, const std::string& where);
  /// Whether a file begins with GGUF's magic number. Throws Error{kBadInput} when it cannot be opened.
  static bool is_gguf(const std::filesystem::path& path);

  /// Metadata. A key that is absent gives nothing; one of another type throws Error{kBadInput} naming key and both
  /// types. Keys of splits are those of the first file.
  bool has(std::string_view key) const;
  std::vector<std::string_view> keys() const;
  std::optional<std::string_view> find_string(std::string_view key) const;
  /// Any integer type; Error{kBadInput} past int64.
  std::optional<std::int64_t> find_int(std::string_view key) const;
  /// Any float or integer type.
  std::optional<double> find_float(std::string_view key) const;
  std::optional<bool> find_bool(std::string_view key) const;
  /// Arrays. The strings are views into the file, found anew on each call (262,144 take about 1 ms).
  std::optional<std::vector<std::string_view>> find_strings(std::string_view key) const;
  /// Any integer type, also a bool array.
  std::optional<std::vector<std::int64_t>> find_ints(std::string_view key) const;
  /// Any float or integer type, as float32.
  std::optional<std::vector<float>> find_floats(std::string_view key) const;
  /// Whether the key holds an array, of any type.
  bool is_array(std::string_view key) const;

  /// The same for keys that must be there: Error{kBadInput} naming the key otherwise.
  std::string_view string(std::string_view key) const;
  std::int64_t integer(std::string_view key) const;
  double number(std::string_view key) const;
  std::vector<std::string_view> strings(std::string_view key) const;

  /// general.architecture, which every model file has. Throws Error{kBadInput} without it.
  std::string_view architecture() const { return string("general.architecture"); }

  bool has_tensor(std::string_view name) const;
  /// Throws Error{kBadInput} when there is no such tensor.
  const GgufTensor& tensor(std::string_view name) const;
  /// In the order of the file, splits one after another.
  std::span<const GgufTensor> tensors() const;

  /// File (the first split), for messages.
  const std::string& where() const;

 private:
  struct Content;
  explicit Gguf(std::shared_ptr<const Content> content) : content_(std::move(content)) {}
  std::shared_ptr<const Content> content_;
};

}  // namespace pajamas
