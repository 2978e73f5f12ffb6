// Tensor, Shape and DType. See include/pajamas/tensor.h.
#include "pajamas/tensor.h"

#include <array>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>

#include "pajamas/error.h"

namespace pajamas {
namespace {

struct DTypeFacts {
  const char* name;
  int bits;
  bool is_floating_point;
};

// Indexed by the value of DType.
constexpr std::array<DTypeFacts, 29> kFacts{{
    {"undefined", 0, false},     {"float32", 32, true},     {"uint8", 8, false},         {"int8", 8, false},
    {"uint16", 16, false},       {"int16", 16, false},      {"int32", 32, false},        {"int64", 64, false},
    {"string", 0, false},        {"bool", 8, false},        {"float16", 16, true},       {"float64", 64, true},
    {"uint32", 32, false},       {"uint64", 64, false},     {"complex64", 64, false},    {"complex128", 128, false},
    {"bfloat16", 16, true},      {"float8e4m3fn", 8, true}, {"float8e4m3fnuz", 8, true}, {"float8e5m2", 8, true},
    {"float8e5m2fnuz", 8, true}, {"uint4", 4, false},       {"int4", 4, false},          {"float4e2m1", 4, true},
    {"float8e8m0", 8, true},     {"uint2", 2, false},       {"int2", 2, false},          {"float6e2m3", 6, true},
    {"float6e3m2", 6, true},
}};

const DTypeFacts& facts_of(DType dtype) noexcept {
  const auto index = static_cast<std::size_t>(dtype);
  return index < kFacts.size() ? kFacts[index] : kFacts[0];
}

/// Alignment of storage: one cache line, and wide enough for every vector unit.
constexpr std::size_t kAlignment = 64;

}  // namespace

const char* to_string(DType dtype) noexcept { return facts_of(dtype).name; }

DType parse_dtype(std::string_view name) {
  for (std::size_t i = 1; i < kFacts.size(); ++i) {
    if (name == kFacts[i].name) return static_cast<DType>(i);
  }
  throw Error(ErrorKind::kBadInput, "unknown element type '" + std::string(name) + "'");
}

int bits_of(DType dtype) noexcept { return facts_of(dtype).bits; }

bool is_floating_point(DType dtype) noexcept { return facts_of(dtype).is_floating_point; }

std::int64_t Shape::num_elements() const {
  std::int64_t count = 1;
  bool has_zero = false;
  for (const std::int64_t extent : extents_) {
    if (extent < 0) throw Error(ErrorKind::kBadInput, "shape " + to_string() + " has a negative extent");
    if (extent == 0) has_zero = true;
  }
  if (has_zero) return 0;
  for (const std::int64_t extent : extents_) {
    if (__builtin_mul_overflow(count, extent, &count)) {
      throw Error(ErrorKind::kBadInput, "shape " + to_string() + " has more elements than can be counted");
    }
  }
  return count;
}

std::string Shape::to_string() const {
  std::string text = "[";
  for (std::size_t i = 0; i < extents_.size(); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(extents_[i]);
  }
  return text + "]";
}

std::size_t bytes_of(DType dtype, const Shape& shape) {
  const int bits = bits_of(dtype);
  if (bits == 0) {
    throw Error(ErrorKind::kInternal, std::string("elements of type ") + to_string(dtype) + " have no fixed size");
  }
  const auto count = static_cast<std::uint64_t>(shape.num_elements());
  std::uint64_t total_bits = 0;
  if (__builtin_mul_overflow(count, static_cast<std::uint64_t>(bits), &total_bits)) {
    throw Error(ErrorKind::kBadInput, "a tensor of shape " + shape.to_string() + " is larger than memory can be");
  }
  return static_cast<std::size_t>((total_bits + 7) / 8);
}

Tensor::Tensor(DType dtype, Shape shape) : dtype_(dtype), shape_(std::move(shape)) {
  size_bytes_ = bytes_of(dtype_, shape_);
  // At least one byte, so that an empty tensor still has an address.
  const std::size_t rounded = (std::max<std::size_t>(size_bytes_, 1) + kAlignment - 1) / kAlignment * kAlignment;
  void* storage = rounded < size_bytes_ ? nullptr : std::aligned_alloc(kAlignment, rounded);
  if (storage == nullptr) {
    throw Error(ErrorKind::kBadInput,
                "no memory for a tensor of " + std::to_string(size_bytes_) + " bytes, shape " + shape_.to_string());
  }
  owner_ = std::shared_ptr<void>(storage, std::free);
  data_ = static_cast<const std::byte*>(storage);
  is_writable_ = true;
}

Tensor::Tensor(DType dtype, Shape shape, std::shared_ptr<const void> owner, std::span<const std::byte> bytes)
    : dtype_(dtype),
      shape_(std::move(shape)),
      owner_(std::move(owner)),
      data_(bytes.data()),
      size_bytes_(bytes.size()) {
  if (bytes.size() != bytes_of(dtype_, shape_)) {
    throw Error(ErrorKind::kInternal, "a tensor of shape " + shape_.to_string() + " and type " +
                                          pajamas::to_string(dtype_) + " was given " + std::to_string(bytes.size()) +
                                          " bytes");
  }
}

Tensor::Tensor(Shape shape, std::vector<std::string> values) : dtype_(DType::kString), shape_(std::move(shape)) {
  if (static_cast<std::int64_t>(values.size()) != shape_.num_elements()) {
    throw Error(ErrorKind::kInternal, "a string tensor of shape " + shape_.to_string() + " was given " +
                                          std::to_string(values.size()) + " values");
  }
  owner_ = std::make_shared<const std::vector<std::string>>(std::move(values));
}

Tensor Tensor::copy_of(const TensorView& view) {
  Tensor tensor(view.dtype, view.shape);
  if (tensor.size_bytes_ > 0) std::memcpy(tensor.mutable_bytes().data(), view.data, tensor.size_bytes_);
  return tensor;
}

std::span<std::byte> Tensor::mutable_bytes() {
  if (dtype_ == DType::kString) throw Error(ErrorKind::kInternal, "a string tensor has no bytes");
  if (!is_writable_ || owner_.use_count() != 1) *this = copy_of(view());
  // Ours alone now, and allocated by the constructor as writable memory.
  return {const_cast<std::byte*>(data_), size_bytes_};
}

const std::vector<std::string>& Tensor::strings() const {
  require_type(DType::kString);
  return *static_cast<const std::vector<std::string>*>(owner_.get());
}

Tensor Tensor::reshaped(Shape shape) const {
  if (shape.num_elements() != shape_.num_elements()) {
    throw Error(ErrorKind::kInternal, "cannot view shape " + shape_.to_string() + " as " + shape.to_string());
  }
  Tensor tensor = *this;
  tensor.shape_ = std::move(shape);
  return tensor;
}

void Tensor::require_type(DType dtype) const {
  if (dtype_ != dtype) {
    throw Error(ErrorKind::kInternal, std::string("a tensor of type ") + pajamas::to_string(dtype_) + " was read as " +
                                          pajamas::to_string(dtype));
  }
}

}  // namespace pajamas
