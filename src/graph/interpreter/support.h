// What all operator files of the interpreter share: the call they get, type dispatch, broadcasting and strided
// copies. Internal to the interpreter.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "graph/graph.h"
#include "pajamas/error.h"

namespace pajamas::interpreter {

/// One evaluation: the node, its inputs and the rules that hold.
struct Call {
  const Node& node;
  std::span<const Tensor* const> inputs;
  std::int64_t opset = 0;
  std::uint64_t max_output_bytes = 0;

  /// Throws Error{kBadInput} naming the node when it is absent.
  const Tensor& input(std::size_t index) const;
  /// nullptr when omitted.
  const Tensor* optional_input(std::size_t index) const;
  bool has_output(std::size_t index) const;
  /// A new tensor, after checking its size against the limit.
  Tensor make(DType dtype, Shape shape) const;
  /// The same check for strings, as if all were empty.
  void require_room_for_strings(const Shape& shape) const;
  [[noreturn]] void fail(const std::string& why) const;
  [[noreturn]] void unsupported(const std::string& why) const;
  [[noreturn]] void fail_too_large(const Shape& shape) const;
  void require(bool condition, const char* why) const {
    if (!condition) fail(why);
  }
  /// Axis in [0, rank) from one in [-rank, rank); `extra` widens the range (Unsqueeze, Concat from sequence).
  std::size_t axis(std::int64_t value, std::size_t rank) const;
  /// The axes given as an input (`input_index`) or as the attribute "axes"; empty when neither is there.
  std::vector<std::int64_t> axes(std::size_t input_index) const;
};

using Kernel = std::vector<Tensor> (*)(const Call&);

struct KernelEntry {
  Kernel kernel = nullptr;
  /// Inputs of float16 and bfloat16 are given as float32; the first result is rounded back to the type of the first
  /// input.
  bool is_half_widened = false;
};

using KernelTable = std::map<std::string, KernelEntry, std::less<>>;

// One per operator file; each adds its operators.
void add_elementwise(KernelTable& table);
void add_activations(KernelTable& table);
void add_casts(KernelTable& table);
void add_movement(KernelTable& table);
void add_indexing(KernelTable& table);
void add_reductions(KernelTable& table);
void add_linear(KernelTable& table);
void add_convolution(KernelTable& table);
void add_pooling(KernelTable& table);
void add_normalization(KernelTable& table);
void add_resize(KernelTable& table);
void add_detection(KernelTable& table);

const KernelTable& kernels();

/// Integer values of a 1-D or scalar integer tensor. Throws as Call::fail otherwise.
std::vector<std::int64_t> read_integers(const Call& call, const Tensor& tensor);
/// The single value of a one-element numeric tensor as double.
double read_number(const Call& call, const Tensor& tensor);

/// Row-major strides in elements.
std::vector<std::int64_t> strides_of(const Shape& shape);
/// NumPy broadcasting of two shapes. Throws as Call::fail when they do not fit.
Shape broadcast(const Call& call, const Shape& a, const Shape& b);
/// Strides with which a tensor of `shape` is read as if it had shape `out`: 0 along broadcast axes.
std::vector<std::int64_t> broadcast_strides(const Shape& shape, const Shape& out);

/// Elements of `in` picked with `strides` (in elements, may be 0 or negative) from `offset`, as a dense tensor.
Tensor strided_copy(const Call& call, const Tensor& in, const Shape& out_shape,
                    const std::vector<std::int64_t>& strides, std::int64_t offset);
/// `out[i] = in[index[i]]` over flat elements, for any element type of whole bytes and strings.
Tensor gather_flat(const Call& call, const Tensor& in, const Shape& out_shape, std::span<const std::int64_t> index);

/// Strides of N tensors that are walked together.
template <std::size_t N>
using RowStrides = std::array<std::vector<std::int64_t>, N>;

/// Calls `body(outer_offsets..., i)` for the broadcast of N inputs: walks all but the last axis with an odometer and
/// gives each innermost row as (offsets of the row in each input, offset in the output, length, inner strides).
template <std::size_t N, typename Body>
void for_each_row(const Shape& out, const RowStrides<N>& strides, const Body& body) {
  const std::size_t rank = out.rank();
  const std::int64_t length = rank == 0 ? 1 : out[rank - 1];
  std::int64_t num_rows = 1;
  for (std::size_t i = 0; i + 1 < rank; ++i) num_rows *= out[i];
  if (num_rows == 0 || length == 0) return;
  std::int64_t inner[N];
  std::int64_t offsets[N];
  for (std::size_t n = 0; n < N; ++n) {
    inner[n] = rank == 0 ? 0 : strides[n][rank - 1];
    offsets[n] = 0;
  }
  std::vector<std::int64_t> position(rank, 0);
  for (std::int64_t row = 0; row < num_rows; ++row) {
    body(offsets, row * length, length, inner);
    for (std::size_t axis = rank < 2 ? 0 : rank - 1; axis-- > 0;) {
      for (std::size_t n = 0; n < N; ++n) offsets[n] += strides[n][axis];
      if (++position[axis] < out[axis]) break;
      for (std::size_t n = 0; n < N; ++n) offsets[n] -= strides[n][axis] * out[axis];
      position[axis] = 0;
    }
  }
}

/// Calls `body(T{})` with the C++ type of `dtype`; false when it is none of the list.
template <typename Body>
bool visit_float(DType dtype, const Body& body) {
  switch (dtype) {
    case DType::kFloat32: body(float{}); return true;
    case DType::kFloat64: body(double{}); return true;
    default: return false;
  }
}

template <typename Body>
bool visit_integer(DType dtype, const Body& body) {
  switch (dtype) {
    case DType::kUint8: body(std::uint8_t{}); return true;
    case DType::kInt8: body(std::int8_t{}); return true;
    case DType::kUint16: body(std::uint16_t{}); return true;
    case DType::kInt16: body(std::int16_t{}); return true;
    case DType::kInt32: body(std::int32_t{}); return true;
    case DType::kInt64: body(std::int64_t{}); return true;
    case DType::kUint32: body(std::uint32_t{}); return true;
    case DType::kUint64: body(std::uint64_t{}); return true;
    default: return false;
  }
}

template <typename Body>
bool visit_numeric(DType dtype, const Body& body) {
  return visit_float(dtype, body) || visit_integer(dtype, body);
}

/// Calls visit and turns "no such type" into Error{kUnsupported}.
template <typename Body>
void require_numeric(const Call& call, DType dtype, const Body& body) {
  if (!visit_numeric(dtype, body)) call.unsupported(std::string("elements of type ") + to_string(dtype));
}
template <typename Body>
void require_float(const Call& call, DType dtype, const Body& body) {
  if (!visit_float(dtype, body)) call.unsupported(std::string("elements of type ") + to_string(dtype));
}

/// A float as an integer type: toward zero, and at the ends of the range where it does not fit (ONNX leaves that
/// open; NaN becomes 0).
template <typename To, typename From>
To to_integer(From value) {
  if constexpr (std::is_floating_point_v<From>) {
    if (std::isnan(value)) return 0;
    const double truncated = std::trunc(static_cast<double>(value));
    if (truncated <= static_cast<double>(std::numeric_limits<To>::lowest())) return std::numeric_limits<To>::lowest();
    if (truncated >= static_cast<double>(std::numeric_limits<To>::max())) return std::numeric_limits<To>::max();
    return static_cast<To>(truncated);
  } else {
    return static_cast<To>(value);
  }
}

/// Storage of a 128-bit element.
struct Bytes16 {
  std::uint64_t parts[2];
};

/// Calls `body(unsigned type of the element's size)`. Copies need the size only, never the meaning.
template <typename Body>
void visit_size(const Call& call, DType dtype, const Body& body) {
  switch (bits_of(dtype)) {
    case 8: body(std::uint8_t{}); break;
    case 16: body(std::uint16_t{}); break;
    case 32: body(std::uint32_t{}); break;
    case 64: body(std::uint64_t{}); break;
    case 128: body(Bytes16{}); break;
    default: call.unsupported(std::string("moving elements of type ") + to_string(dtype));
  }
}

/// A float16 or bfloat16 tensor as float32 (others unchanged), and back; see KernelEntry::is_half_widened.
Tensor widened(const Tensor& tensor);
Tensor narrowed(const Tensor& tensor, DType half);

}  // namespace pajamas::interpreter
