// Element types, shapes and tensors: the values that pass between all parts of the project. Host memory only; device
// memory belongs to the targets.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pajamas {

/// Element types. The values are ONNX's TensorProto.DataType numbers and so are permanent.
enum class DType : std::int32_t {
  kUndefined = 0,
  kFloat32 = 1,
  kUint8 = 2,
  kInt8 = 3,
  kUint16 = 4,
  kInt16 = 5,
  kInt32 = 6,
  kInt64 = 7,
  kString = 8,
  kBool = 9,
  kFloat16 = 10,
  kFloat64 = 11,
  kUint32 = 12,
  kUint64 = 13,
  kComplex64 = 14,
  kComplex128 = 15,
  kBfloat16 = 16,
  kFloat8E4M3Fn = 17,
  kFloat8E4M3Fnuz = 18,
  kFloat8E5M2 = 19,
  kFloat8E5M2Fnuz = 20,
  kUint4 = 21,
  kInt4 = 22,
  kFloat4E2M1 = 23,
  kFloat8E8M0 = 24,
  kUint2 = 25,
  kInt2 = 26,
  kFloat6E2M3 = 27,
  kFloat6E3M2 = 28,
};

/// Name used everywhere in messages and JSON: "float32", "float16", "bfloat16", "int64", "uint4", "float8e4m3fn", ...
const char* to_string(DType dtype) noexcept;
/// The inverse of to_string. Throws Error{kBadInput} for an unknown name.
DType parse_dtype(std::string_view name);
/// Bits of one element; 0 for kString and kUndefined.
int bits_of(DType dtype) noexcept;
/// float16, bfloat16, float32, float64 and the 8-, 6- and 4-bit floats.
bool is_floating_point(DType dtype) noexcept;

/// Extents of a tensor, outermost first. Rank 0 is a scalar. Extents are never negative.
class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<std::int64_t> extents) : extents_(extents) {}
  explicit Shape(std::vector<std::int64_t> extents) : extents_(std::move(extents)) {}

  std::size_t rank() const noexcept { return extents_.size(); }
  std::int64_t operator[](std::size_t axis) const { return extents_[axis]; }
  std::int64_t& operator[](std::size_t axis) { return extents_[axis]; }
  const std::vector<std::int64_t>& extents() const noexcept { return extents_; }
  auto begin() const noexcept { return extents_.begin(); }
  auto end() const noexcept { return extents_.end(); }
  void push_back(std::int64_t extent) { extents_.push_back(extent); }

  /// Product of the extents (1 for a scalar). Throws Error{kBadInput} for a negative extent or past 2^63-1.
  std::int64_t num_elements() const;
  /// "[1, 3, 640, 640]".
  std::string to_string() const;

  bool operator==(const Shape&) const = default;

 private:
  std::vector<std::int64_t> extents_;
};

/// Bytes of `shape` elements of `dtype`, dense, sub-byte types packed as ONNX does (4-bit two, 2-bit four to a byte,
/// 6-bit four to three) and rounded up. Throws Error{kBadInput} on overflow, Error{kInternal} for kString.
std::size_t bytes_of(DType dtype, const Shape& shape);

/// Borrowed view of a dense row-major tensor in host memory. Valid as long as what it was taken from.
struct TensorView {
  DType dtype = DType::kUndefined;
  Shape shape;
  const std::byte* data = nullptr;

  std::size_t size_bytes() const { return bytes_of(dtype, shape); }
  template <typename T>
  std::span<const T> as() const {
    return {reinterpret_cast<const T*>(data), size_bytes() / sizeof(T)};
  }
};

/// A dense row-major tensor in host memory. Copies share the storage; `mutable_bytes` makes it unique first
/// (copy-on-write), so a Tensor behaves as a value. Sub-byte types are packed, first element in the low bits, as in
/// ONNX. Distinct Tensor objects may be used from distinct threads.
class Tensor {
 public:
  Tensor() = default;
  /// Storage of `shape` elements, aligned to 64 bytes, not initialised. Throws Error{kBadInput} when it does not fit
  /// into memory.
  Tensor(DType dtype, Shape shape);
  /// Shares `bytes` kept alive by `owner` (a mapped file, a protobuf string). `bytes` must be bytes_of(dtype, shape)
  /// long, else Error{kInternal}.
  Tensor(DType dtype, Shape shape, std::shared_ptr<const void> owner, std::span<const std::byte> bytes);
  /// A kString tensor. `values` must have as many entries as `shape` has elements.
  Tensor(Shape shape, std::vector<std::string> values);

  /// A tensor holding a copy of `values`; `T` decides the dtype (float, double, (u)int8..64, bool as uint8 is not one).
  template <typename T>
  static Tensor of(Shape shape, std::span<const T> values);
  template <typename T>
  static Tensor of(Shape shape, std::initializer_list<T> values) {
    return of<T>(std::move(shape), std::span<const T>(values.begin(), values.size()));
  }
  template <typename T>
  static Tensor scalar(T value) {
    return of<T>(Shape{}, {value});
  }
  static Tensor copy_of(const TensorView& view);

  DType dtype() const noexcept { return dtype_; }
  const Shape& shape() const noexcept { return shape_; }
  std::int64_t num_elements() const { return shape_.num_elements(); }
  std::size_t size_bytes() const noexcept { return size_bytes_; }
  std::span<const std::byte> bytes() const noexcept { return {data_, size_bytes_}; }
  std::span<std::byte> mutable_bytes();
  const std::vector<std::string>& strings() const;
  TensorView view() const { return {dtype_, shape_, data_}; }
  /// The same storage under another shape of as many elements. Throws Error{kInternal} otherwise.
  Tensor reshaped(Shape shape) const;

  /// Elements as T. Throws Error{kInternal} when T is not the C++ type of dtype().
  template <typename T>
  std::span<const T> as() const;
  template <typename T>
  std::span<T> mutable_as();

 private:
  void require_type(DType dtype) const;
  DType dtype_ = DType::kUndefined;
  Shape shape_;
  std::shared_ptr<const void> owner_;
  const std::byte* data_ = nullptr;
  std::size_t size_bytes_ = 0;
  bool is_writable_ = false;  ///< The storage was allocated by Tensor, so may be written when unique.
};

/// The DType of a C++ element type. float16 and bfloat16 have no C++ type here: see tensor/half.h.
template <typename T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::kFloat32;
};
template <>
struct DTypeOf<double> {
  static constexpr DType value = DType::kFloat64;
};
template <>
struct DTypeOf<std::uint8_t> {
  static constexpr DType value = DType::kUint8;
};
template <>
struct DTypeOf<std::int8_t> {
  static constexpr DType value = DType::kInt8;
};
template <>
struct DTypeOf<std::uint16_t> {
  static constexpr DType value = DType::kUint16;
};
template <>
struct DTypeOf<std::int16_t> {
  static constexpr DType value = DType::kInt16;
};
template <>
struct DTypeOf<std::int32_t> {
  static constexpr DType value = DType::kInt32;
};
template <>
struct DTypeOf<std::int64_t> {
  static constexpr DType value = DType::kInt64;
};
template <>
struct DTypeOf<std::uint32_t> {
  static constexpr DType value = DType::kUint32;
};
template <>
struct DTypeOf<std::uint64_t> {
  static constexpr DType value = DType::kUint64;
};
template <>
struct DTypeOf<bool> {
  static constexpr DType value = DType::kBool;
};

template <typename T>
Tensor Tensor::of(Shape shape, std::span<const T> values) {
  return copy_of(TensorView{DTypeOf<T>::value, std::move(shape), reinterpret_cast<const std::byte*>(values.data())});
}

template <typename T>
std::span<const T> Tensor::as() const {
  require_type(DTypeOf<T>::value);
  return {reinterpret_cast<const T*>(data_), size_bytes_ / sizeof(T)};
}

template <typename T>
std::span<T> Tensor::mutable_as() {
  require_type(DTypeOf<T>::value);
  const auto bytes = mutable_bytes();
  return {reinterpret_cast<T*>(bytes.data()), bytes.size() / sizeof(T)};
}

}  // namespace pajamas
