// Checks and dequantisation of BlockWeight. See block_weight.h.
#include "tensor/block_weight.h"

#include <algorithm>
#include <array>
#include <bit>
#include <string>
#include <vector>

#include "base/vector_clones.h"
#include "pajamas/error.h"
#include "tensor/half.h"

namespace pajamas {
namespace {

[[noreturn]] void fail(const std::string& message) {
  throw Error(ErrorKind::kInternal, "quantised weight: " + message);
}

/// The 256 values of E4M3 without infinities: sign, 4 bits of exponent (bias 7), 3 of mantissa; all ones is NaN.
const std::array<float, 256>& float8_values() {
  static const std::array<float, 256> values = [] {
    std::array<float, 256> table{};
    for (unsigned code = 0; code < 256; ++code) {
      const unsigned exponent = code >> 3 & 15, mantissa = code & 7;
      float value = exponent == 0 ? static_cast<float>(mantissa) * 0x1p-9F
                                  : std::bit_cast<float>((exponent + 120) << 23 | mantissa << 20);
      if ((code & 0x7F) == 0x7F) value = std::bit_cast<float>(0x7FC00000U);
      table[code] = (code & 0x80) != 0 ? -value : value;
    }
    return table;
  }();
  return values;
}

PAJAMAS_VECTOR_CLONES void unpack_uint4(const std::uint8_t* in, std::size_t num_bytes, float* out) {
  for (std::size_t i = 0; i < num_bytes; ++i) {
    out[2 * i] = static_cast<float>(in[i] & 0xF);
    out[2 * i + 1] = static_cast<float>(in[i] >> 4);
  }
}
PAJAMAS_VECTOR_CLONES void unpack_int4(const std::uint8_t* in, std::size_t num_bytes, float* out) {
  for (std::size_t i = 0; i < num_bytes; ++i) {
    out[2 * i] = static_cast<float>(((in[i] & 0xF) ^ 8) - 8);
    out[2 * i + 1] = static_cast<float>(((in[i] >> 4) ^ 8) - 8);
  }
}
PAJAMAS_VECTOR_CLONES void widen_int8(const std::int8_t* in, std::size_t count, float* out) {
  for (std::size_t i = 0; i < count; ++i) out[i] = static_cast<float>(in[i]);
}
PAJAMAS_VECTOR_CLONES void widen_uint8(const std::uint8_t* in, std::size_t count, float* out) {
  for (std::size_t i = 0; i < count; ++i) out[i] = static_cast<float>(in[i]);
}

/// Integers (or 8-bit floats) [begin, begin + out.size()) of `tensor` as float32.
void read_values(const Tensor& tensor, std::size_t begin, std::span<float> out) {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(tensor.bytes().data());
  switch (tensor.dtype()) {
    case DType::kInt8: widen_int8(reinterpret_cast<const std::int8_t*>(bytes) + begin, out.size(), out.data()); return;
    case DType::kUint8: widen_uint8(bytes + begin, out.size(), out.data()); return;
    case DType::kFloat8E4M3Fn: {
      const auto& values = float8_values();
      for (std::size_t i = 0; i < out.size(); ++i) out[i] = values[bytes[begin + i]];
      return;
    }
    default: break;
  }
  const bool is_signed = tensor.dtype() == DType::kInt4;
  const auto one = [&](std::size_t index) {
    const int nibble = index % 2 == 0 ? bytes[index / 2] & 0xF : bytes[index / 2] >> 4;
    return static_cast<float>(is_signed ? (nibble ^ 8) - 8 : nibble);
  };
  // Rows of odd length begin within a byte.
  std::size_t i = 0;
  if (begin % 2 != 0 && !out.empty()) out[i++] = one(begin);
  const std::size_t num_bytes = (out.size() - i) / 2;
  (is_signed ? unpack_int4 : unpack_uint4)(bytes + (begin + i) / 2, num_bytes, out.data() + i);
  i += 2 * num_bytes;
  if (i < out.size()) out[i] = one(begin + i);
}

void read_floats(const Tensor& tensor, std::size_t begin, std::span<float> out) {
  if (tensor.dtype() == DType::kFloat32) {
    const auto all = tensor.as<float>();
    std::copy_n(all.begin() + static_cast<std::ptrdiff_t>(begin), out.size(), out.begin());
  } else {
    convert_float16_to_float(tensor.view().as<std::uint16_t>().subspan(begin, out.size()), out);
  }
}

PAJAMAS_VECTOR_CLONES void scale_row(float* row, std::size_t num_groups, std::size_t group_size, const float* scales,
                                     const float* zero_points, const float* minimums) {
  for (std::size_t g = 0; g < num_groups; ++g, row += group_size) {
    const float scale = scales[g];
    if (zero_points != nullptr) {
      const float zero_point = zero_points[g];
      for (std::size_t i = 0; i < group_size; ++i) row[i] = (row[i] - zero_point) * scale;
    } else if (minimums != nullptr) {
      const float minimum = minimums[g];
      for (std::size_t i = 0; i < group_size; ++i) row[i] = row[i] * scale + minimum;
    } else {
      for (std::size_t i = 0; i < group_size; ++i) row[i] *= scale;
    }
  }
}

}  // namespace

std::uint64_t BlockWeight::size_bytes() const {
  return std::uint64_t{values.size_bytes()} + scales.size_bytes() + zero_points.size_bytes() + minimums.size_bytes();
}

void check_block_weight(const BlockWeight& weight) {
  const DType type = weight.values.dtype();
  if (type != DType::kInt4 && type != DType::kUint4 && type != DType::kInt8 && type != DType::kUint8 &&
      type != DType::kFloat8E4M3Fn) {
    fail(std::string("values of type ") + to_string(type));
  }
  if (weight.values.shape().rank() != 2) fail("values of shape " + weight.values.shape().to_string());
  if (weight.group_size < 0 || (weight.group_size > 0 && weight.in_dim() % weight.group_size != 0)) {
    fail("groups of " + std::to_string(weight.group_size) + " in rows of " + std::to_string(weight.in_dim()));
  }
  const Shape wanted =
      weight.group_size == 0 ? Shape{weight.out_dim()} : Shape{weight.out_dim(), weight.in_dim() / weight.group_size};
  const DType scale_type = weight.scales.dtype();
  if ((scale_type != DType::kFloat16 && scale_type != DType::kFloat32) || weight.scales.shape() != wanted) {
    fail(std::string("scales ") + to_string(scale_type) + weight.scales.shape().to_string() + " for values " +
         weight.values.shape().to_string());
  }
  if (weight.has_zero_points() && weight.has_minimums()) fail("both zero points and minimums");
  if (weight.has_zero_points() && (weight.zero_points.dtype() != type || weight.zero_points.shape() != wanted)) {
    fail("zero points of shape " + weight.zero_points.shape().to_string());
  }
  if (weight.has_minimums() && (weight.minimums.dtype() != scale_type || weight.minimums.shape() != wanted)) {
    fail("minimums of shape " + weight.minimums.shape().to_string());
  }
}

void dequantize_rows(const BlockWeight& weight, std::int64_t row_begin, std::int64_t row_count, std::span<float> out) {
  check_block_weight(weight);
  if (row_begin < 0 || row_count < 0 || row_begin > weight.out_dim() - row_count ||
      out.size() != static_cast<std::size_t>(row_count * weight.in_dim())) {
    fail("rows " + std::to_string(row_begin) + " to " + std::to_string(row_begin + row_count) + " of " +
         std::to_string(weight.out_dim()));
  }
  const auto in_dim = static_cast<std::size_t>(weight.in_dim());
  const auto num_groups = static_cast<std::size_t>(weight.groups_per_row());
  if (in_dim == 0) return;
  std::vector<float> scales(num_groups), offsets(num_groups);
  for (std::int64_t r = 0; r < row_count; ++r) {
    const auto row_index = static_cast<std::size_t>(row_begin + r);
    const auto row = out.subspan(static_cast<std::size_t>(r) * in_dim, in_dim);
    read_values(weight.values, row_index * in_dim, row);
    read_floats(weight.scales, row_index * num_groups, scales);
    if (weight.has_zero_points()) read_values(weight.zero_points, row_index * num_groups, offsets);
    if (weight.has_minimums()) read_floats(weight.minimums, row_index * num_groups, offsets);
    scale_row(row.data(), num_groups, in_dim / num_groups, scales.data(),
              weight.has_zero_points() ? offsets.data() : nullptr, weight.has_minimums() ? offsets.data() : nullptr);
  }
}

}  // namespace pajamas
