// Writing and mapping of TensorFile. See tensor_file.h.
#include "tensor/tensor_file.h"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>
#include <utility>

#include "base/staged_file.h"
#include "pajamas/error.h"

namespace pajamas {

TensorFile::TensorFile(std::filesystem::path path, Descriptor descriptor, const std::filesystem::path& mapped_path)
    : path_(std::move(path)),
      descriptor_(std::move(descriptor)),
      mapping_(MappedFile::open_range(mapped_path, 0, kMaxTensorFileBytes)) {}

TensorFile TensorFile::create(const std::filesystem::path& path) {
  Descriptor descriptor(::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!descriptor.is_open()) fail_to_write("cannot write", path.string(), errno);
  return {path, std::move(descriptor), path};
}

TensorFile TensorFile::create_unnamed(const std::filesystem::path& directory) {
  Descriptor descriptor = open_unnamed_file(directory);
  const std::string link = "/proc/self/fd/" + std::to_string(descriptor.get());
  return {directory, std::move(descriptor), link};
}

Tensor TensorFile::append(const std::string& name, const Tensor& tensor) {
  static constexpr std::array<std::byte, kTensorFileAlignment> kZeros{};
  Entry entry{name, tensor.dtype(), tensor.shape(), 0, bytes_of(tensor.dtype(), tensor.shape())};
  const std::uint64_t padding = (kTensorFileAlignment - size_bytes_ % kTensorFileAlignment) % kTensorFileAlignment;
  entry.offset = size_bytes_ + padding;
  if (entry.size_bytes > kMaxTensorFileBytes || entry.offset > kMaxTensorFileBytes - entry.size_bytes) {
    throw Error(ErrorKind::kUnsupported,
                "would become larger than " + std::to_string(kMaxTensorFileBytes >> 30) + " GiB", path_.string(),
                "build a smaller model, or with fewer bits a weight");
  }
  write_all(descriptor_.get(), std::span(kZeros).first(padding), path_.string(), size_bytes_);
  write_all(descriptor_.get(), tensor.bytes(), path_.string(), entry.offset);

  Tensor result = tensor;
  if (entry.size_bytes > 0) {
    const auto place =
        mapping_->bytes().subspan(static_cast<std::size_t>(entry.offset), static_cast<std::size_t>(entry.size_bytes));
    result = Tensor(tensor.dtype(), tensor.shape(), mapping_, place);
  }
  size_bytes_ = entry.offset + entry.size_bytes;
  entries_.push_back(std::move(entry));
  return result;
}

}  // namespace pajamas
