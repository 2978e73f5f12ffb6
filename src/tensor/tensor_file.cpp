// Writing and mapping of TensorFile. See tensor_file.h.
#include "tensor/tensor_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>
#include <utility>

#include "pajamas/error.h"

namespace pajamas {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path, int error_number) {
  const bool is_full = error_number == ENOSPC || error_number == EDQUOT;
  throw Error(ErrorKind::kBadInput, "cannot write: " + std::generic_category().message(error_number), path.string(),
              is_full ? "free some space, or choose another folder" : "check the path, or choose another folder");
}

void write_all(int descriptor, const std::filesystem::path& path, std::span<const std::byte> bytes,
               std::uint64_t offset) {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(descriptor, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0) {
      if (errno == EINTR) continue;
      fail(path, errno);
    }
    bytes = bytes.subspan(static_cast<std::size_t>(written));
    offset += static_cast<std::uint64_t>(written);
  }
}

}  // namespace

TensorFile::TensorFile(std::filesystem::path path, int descriptor) : path_(std::move(path)), descriptor_(descriptor) {
  try {
    mapping_ = MappedFile::open_range(path_, 0, kMaxTensorFileBytes);
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
}

TensorFile TensorFile::create(const std::filesystem::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (descriptor < 0) fail(path, errno);
  return {path, descriptor};
}

TensorFile TensorFile::create_unnamed(const std::filesystem::path& directory) {
  std::string name = (directory / "pajamas-weights-XXXXXX").string();
  const int descriptor = ::mkostemp(name.data(), O_CLOEXEC);
  if (descriptor < 0) fail(directory, errno);
  ::unlink(name.c_str());
  TensorFile file("/proc/self/fd/" + std::to_string(descriptor), descriptor);
  file.path_ = directory;  // What an error can name.
  return file;
}

TensorFile::~TensorFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

TensorFile::TensorFile(TensorFile&& other) noexcept
    : path_(std::move(other.path_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      size_bytes_(other.size_bytes_),
      entries_(std::move(other.entries_)),
      mapping_(std::move(other.mapping_)) {}

TensorFile& TensorFile::operator=(TensorFile&& other) noexcept {
  TensorFile moved(std::move(other));
  std::swap(path_, moved.path_);
  std::swap(descriptor_, moved.descriptor_);
  std::swap(size_bytes_, moved.size_bytes_);
  std::swap(entries_, moved.entries_);
  std::swap(mapping_, moved.mapping_);
  return *this;
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
  write_all(descriptor_, path_, std::span(kZeros).first(padding), size_bytes_);
  write_all(descriptor_, path_, tensor.bytes(), entry.offset);

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
