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

/// Address space mapped at once, so that thousands of small tensors share one mapping. Only what is read takes memory.
constexpr std::uint64_t kSegmentBytes = std::uint64_t{1} << 30;
/// Where segments may begin: the largest page of the systems that run this.
constexpr std::uint64_t kSegmentAlignment = std::uint64_t{1} << 16;

[[noreturn]] void fail(const std::filesystem::path& path, int error_number) {
  const bool is_full = error_number == ENOSPC || error_number == EDQUOT;
  throw Error(ErrorKind::kBadInput, "cannot write: " + std::generic_category().message(error_number), path.string(),
              is_full ? "free some space, or choose another folder" : "");
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
  return {"/proc/self/fd/" + std::to_string(descriptor), descriptor};
}

TensorFile::~TensorFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

TensorFile::TensorFile(TensorFile&& other) noexcept
    : path_(std::move(other.path_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      size_bytes_(other.size_bytes_),
      entries_(std::move(other.entries_)),
      segment_(std::move(other.segment_)),
      segment_begin_(other.segment_begin_) {}

TensorFile& TensorFile::operator=(TensorFile&& other) noexcept {
  TensorFile moved(std::move(other));
  std::swap(path_, moved.path_);
  std::swap(descriptor_, moved.descriptor_);
  std::swap(size_bytes_, moved.size_bytes_);
  std::swap(entries_, moved.entries_);
  std::swap(segment_, moved.segment_);
  std::swap(segment_begin_, moved.segment_begin_);
  return *this;
}

Tensor TensorFile::append(const std::string& name, const Tensor& tensor) {
  static constexpr std::array<std::byte, kTensorFileAlignment> kZeros{};
  Entry entry{name, tensor.dtype(), tensor.shape(), 0, bytes_of(tensor.dtype(), tensor.shape())};
  const std::uint64_t padding = (kTensorFileAlignment - size_bytes_ % kTensorFileAlignment) % kTensorFileAlignment;
  entry.offset = size_bytes_ + padding;
  write_all(descriptor_, path_, std::span(kZeros).first(padding), size_bytes_);
  write_all(descriptor_, path_, tensor.bytes(), entry.offset);

  Tensor result = tensor;
  if (entry.size_bytes > 0) {
    if (segment_ == nullptr || entry.offset + entry.size_bytes > segment_begin_ + segment_->bytes().size()) {
      const std::uint64_t begin = entry.offset / kSegmentAlignment * kSegmentAlignment;
      const std::uint64_t size = std::max(kSegmentBytes, entry.offset - begin + entry.size_bytes);
      segment_ = MappedFile::open_range(path_, begin, static_cast<std::size_t>(size));
      segment_begin_ = begin;
    }
    const auto place = segment_->bytes().subspan(static_cast<std::size_t>(entry.offset - segment_begin_),
                                                 static_cast<std::size_t>(entry.size_bytes));
    result = Tensor(tensor.dtype(), tensor.shape(), segment_, place);
  }
  size_bytes_ = entry.offset + entry.size_bytes;
  entries_.push_back(std::move(entry));
  return result;
}

}  // namespace pajamas
