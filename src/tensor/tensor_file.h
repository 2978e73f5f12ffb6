// TensorFile: a file of raw tensors that grows while it is mapped, so that a conversion can put each result on disk and
// go on with a Tensor that shares the file. No header: the bytes are what ONNX calls external data, and the index stays
// with the writer. Not a checkpoint format (io/safetensors.h).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/descriptor.h"
#include "base/files.h"
#include "pajamas/tensor.h"

namespace pajamas {

/// Where tensors begin: a multiple of this, which suits every vector instruction and the alignment of Tensor.
inline constexpr std::uint64_t kTensorFileAlignment = 64;

/// Largest file: address space that is set aside for its one mapping. Only what is read takes memory.
inline constexpr std::uint64_t kMaxTensorFileBytes = std::uint64_t{1} << 38;

/// Append-only; one thread at a time. The tensors that it gives keep the file mapped on their own, also when it has
/// been renamed or removed; they are valid until the file is changed by somebody else.
class TensorFile {
 public:
  struct Entry {
    std::string name;
    DType dtype = DType::kUndefined;
    Shape shape;
    std::uint64_t offset = 0;      ///< Bytes from the beginning of the file.
    std::uint64_t size_bytes = 0;  ///< bytes_of(dtype, shape).
  };

  /// Creates the file, or empties it. Throws Error{kBadInput} with the path and the system's reason.
  static TensorFile create(const std::filesystem::path& path);
  /// A file without a name in `directory`, gone with the last tensor. Throws as create.
  static TensorFile create_unnamed(const std::filesystem::path& directory);

  /// Writes the tensor at the next aligned place and gives it back as one that shares the file. Throws
  /// Error{kBadInput} when the disk is full, with the system's reason, Error{kUnsupported} past kMaxTensorFileBytes,
  /// Error{kInternal} for strings.
  Tensor append(const std::string& name, const Tensor& tensor);
  /// In the order of the file.
  std::span<const Entry> entries() const { return entries_; }
  std::uint64_t size_bytes() const { return size_bytes_; }
  /// Of a file without a name: its folder.
  const std::filesystem::path& path() const { return path_; }
  /// The mapping that all tensors given by `append` lie in, at their offsets. It is longer than the file.
  const std::shared_ptr<const MappedFile>& mapping() const { return mapping_; }

 private:
  TensorFile(std::filesystem::path path, Descriptor descriptor, const std::filesystem::path& mapped_path);
  std::filesystem::path path_;
  Descriptor descriptor_;
  std::uint64_t size_bytes_ = 0;
  std::vector<Entry> entries_;
  std::shared_ptr<const MappedFile> mapping_;
};

}  // namespace pajamas
