// Unpacking of GGUF's block formats. See ggml_blocks.h. Layouts: a block begins or ends with its float16 scale `d` (and
// minimum `m`); the 4-bit formats of 32 keep elements 0..15 in the low halves of their bytes and 16..31 in the high
// ones; the K formats of 256 do the same by halves of 64 (Q4_K, Q5_K) or quarters of 128 (Q6_K).
#include "tensor/ggml_blocks.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "base/vector_clones.h"
#include "pajamas/error.h"
#include "tensor/half.h"

namespace pajamas {
namespace {

constexpr std::array<GgmlTypeTraits, 35> kTypes{{
    {GgmlType::kF32, "F32", 1, 4, true},
    {GgmlType::kF16, "F16", 1, 2, true},
    {GgmlType::kBF16, "BF16", 1, 2, true},
    {GgmlType::kQ8_0, "Q8_0", 32, 34, true},
    {GgmlType::kQ4_0, "Q4_0", 32, 18, true},
    {GgmlType::kQ4_1, "Q4_1", 32, 20, true},
    {GgmlType::kQ5_0, "Q5_0", 32, 22, true},
    {GgmlType::kQ5_1, "Q5_1", 32, 24, true},
    {GgmlType::kQ4_K, "Q4_K", 256, 144, true},
    {GgmlType::kQ5_K, "Q5_K", 256, 176, true},
    {GgmlType::kQ6_K, "Q6_K", 256, 210, true},
    {GgmlType::kQ8_1, "Q8_1", 32, 36, false},
    {GgmlType::kQ2_K, "Q2_K", 256, 84, false},
    {GgmlType::kQ3_K, "Q3_K", 256, 110, false},
    {GgmlType::kQ8_K, "Q8_K", 256, 292, false},
    {GgmlType::kIQ2_XXS, "IQ2_XXS", 256, 66, false},
    {GgmlType::kIQ2_XS, "IQ2_XS", 256, 74, false},
    {GgmlType::kIQ3_XXS, "IQ3_XXS", 256, 98, false},
    {GgmlType::kIQ1_S, "IQ1_S", 256, 50, false},
    {GgmlType::kIQ4_NL, "IQ4_NL", 32, 18, false},
    {GgmlType::kIQ3_S, "IQ3_S", 256, 110, false},
    {GgmlType::kIQ2_S, "IQ2_S", 256, 82, false},
    {GgmlType::kIQ4_XS, "IQ4_XS", 256, 136, false},
    {GgmlType::kI8, "I8", 1, 1, false},
    {GgmlType::kI16, "I16", 1, 2, false},
    {GgmlType::kI32, "I32", 1, 4, false},
    {GgmlType::kI64, "I64", 1, 8, false},
    {GgmlType::kF64, "F64", 1, 8, false},
    {GgmlType::kIQ1_M, "IQ1_M", 256, 56, false},
    {GgmlType::kTQ1_0, "TQ1_0", 256, 54, false},
    {GgmlType::kTQ2_0, "TQ2_0", 256, 66, false},
    {GgmlType::kMXFP4, "MXFP4", 32, 17, false},
    {GgmlType::kNVFP4, "NVFP4", 64, 36, false},
    {GgmlType::kQ1_0, "Q1_0", 128, 18, false},
    {GgmlType::kQ2_0, "Q2_0", 64, 18, false},
}};

#define PAJAMAS_INLINE inline __attribute__((always_inline))

PAJAMAS_INLINE float half_at(const std::uint8_t* bytes) {
  // GGUF is little-endian; so is every machine that reads it here (checked when the file is opened).
  return float_from_float16(static_cast<std::uint16_t>(bytes[0] | bytes[1] << 8));
}

/// Low halves of 16 bytes, then the high ones.
PAJAMAS_INLINE void split_nibbles_16(const std::uint8_t* bytes, std::uint8_t* out) {
  for (int i = 0; i < 16; ++i) out[i] = bytes[i] & 0xF;
  for (int i = 0; i < 16; ++i) out[16 + i] = bytes[i] >> 4;
}

/// The fifth bits of 32 elements lie in 4 bytes, element i in bit i.
PAJAMAS_INLINE void add_fifth_bits_32(const std::uint8_t* bytes, std::uint8_t* out) {
  for (int k = 0; k < 4; ++k) {
    for (int i = 0; i < 8; ++i) out[8 * k + i] |= static_cast<std::uint8_t>((bytes[k] >> i & 1) << 4);
  }
}

/// The eight pairs of 6-bit scales and minimums of Q4_K and Q5_K, in 12 bytes: the first four of each in the low six
/// bits of bytes 0..3 and 4..7; the last four as low halves in bytes 8..11 with their upper two bits in the upper two
/// of bytes 0..7.
PAJAMAS_INLINE void unpack_six_bit_scales(const std::uint8_t* bytes, float d, float d_min, float* scales,
                                          float* minimums) {
  for (int i = 0; i < 4; ++i) {
    scales[i] = d * static_cast<float>(bytes[i] & 63);
    minimums[i] = -(d_min * static_cast<float>(bytes[4 + i] & 63));
    scales[4 + i] = d * static_cast<float>((bytes[8 + i] & 0xF) | (bytes[i] >> 6) << 4);
    minimums[4 + i] = -(d_min * static_cast<float>((bytes[8 + i] >> 4) | (bytes[4 + i] >> 6) << 4));
  }
}

// One struct a format: unpack() gives a block's integers, scales and minimums (kGroup elements share one).
struct Q4_0 {
  static constexpr int kElements = 32, kBytes = 18, kGroup = 32;
  static constexpr bool kHasMinimum = false;
  using Quant = std::int8_t;
  static PAJAMAS_INLINE void unpack(const std::uint8_t* block, Quant* quants, float* scales, float*) {
    scales[0] = half_at(block);
    for (int i = 0; i < 16; ++i) quants[i] = static_cast<Quant>((block[2 + i] & 0xF) - 8);
    for (int i = 0; i < 16; ++i) quants[16 + i] = static_cast<Quant>((block[2 + i] >> 4) - 8);
  }
};

struct Q4_1 {
  static constexpr int kElements = 32, kBytes = 20, kGroup = 32;
  static constexpr bool kHasMinimum = true;
  using Quant = std::uint8_t;
  static PAJAMAS_INLINE void unpack(const std::uint8_t* block, Quant* quants, float* scales, float* minimums) {
    scales[0] = half_at(block);
    minimums[0] = half_at(block + 2);
    split_nibbles_16(block + 4, quants);
  }
};

struct Q5_0 {
  static constexpr int kElements = 32, kBytes = 22, kGroup = 32;
  static constexpr bool kHasMinimum = false;
  using Quant = std::int8_t;
  static PAJAMAS_INLINE void unpack(const std::uint8_t* block, Quant* quants, float* scales, float*) {
    scales[0] = half_at(block);
    std::uint8_t raw[32];
    split_nibbles_16(block + 6, raw);
    add_fifth_bits_32(block + 2, raw);
    for (int i = 0; i < 32; ++i) quants[i] = static_cast<Quant>(raw[i] - 16);
  }
};

struct Q5_1 {
  static constexpr int kElements = 32, kBytes = 24, kGroup = 32;
  static constexpr bool kHasMinimum = true;
  using Quant = std::uint8_t;
  static PAJAMAS_INLINE void unpack(const std::uint8_t* block, Quant* quants, float* scales, float* minimums) {
    scales[0] = half_at(block);
    minimums[0] = half_at(block + 2);
    split_nibbles_16(block + 8, quants);
    add_fifth_bits_32(block + 4, quants);
  }
};

struct Q8_0 {
  static constexpr int kElements = 32, kBytes = 34, kGroup = 32;
  static constexpr bool kHasMinimum = false;
  using Quant = std::int8_t;
  static PAJAMAS_INLINE void unpack(const std::uint8_t* block, Quant* quants, float* scales, float*) {
    scales[0] = half_at(block);
    std::memcpy(quants, block + 2, 32);
  }
};

struct Q4_K {
  static constexpr int kElements = 256, kBytes = 144, kGroup = 32;
  static constexpr bool kHasMinimum = true;
  using Quant = std::uint8_t;
  static PAJAMAS_INLINE void unpack(const std::uint8_t* block, Quant* quants, float* scales, float* minimums) {
    unpack_six_bit_scales(block + 4, half_at(block), half_at(block + 2), scales, minimums);
    const std::uint8_t* bytes = block + 16;
    for (int half = 0; half < 4; ++half, bytes += 32, quants += 64) {
      for (int i = 0; i < 32; ++i) quants[i] = bytes[i] & 0xF;
      for (int i = 0; i < 32; ++i) quants[32 + i] = bytes[i] >> 4;
    }
  }
};

struct Q5_K {
  static constexpr int kElements = 256, kBytes = 176, kGroup = 32;
  static constexpr bool kHasMinimum = true;
  using Quant = std::uint8_t;
  static PAJAMAS_INLINE void unpack(const std::uint8_t* block, Quant* quants, float* scales, float* minimums) {
    unpack_six_bit_scales(block + 4, half_at(block), half_at(block + 2), scales, minimums);
    // Bit g of fifth[i] belongs to element i of the g-th group of 32.
    const std::uint8_t* fifth = block + 16;
    const std::uint8_t* bytes = block + 48;
    for (int half = 0; half < 4; ++half, bytes += 32, quants += 64) {
      for (int i = 0; i < 32; ++i) {
        quants[i] = static_cast<Quant>((bytes[i] & 0xF) | (fifth[i] >> (2 * half) & 1) << 4);
      }
      for (int i = 0; i < 32; ++i) {
        quants[32 + i] = static_cast<Quant>((bytes[i] >> 4) | (fifth[i] >> (2 * half + 1) & 1) << 4);
      }
    }
  }
};

struct Q6_K {
  static constexpr int kElements = 256, kBytes = 210, kGroup = 16;
  static constexpr bool kHasMinimum = false;
  using Quant = std::int8_t;
  static PAJAMAS_INLINE void unpack(const std::uint8_t* block, Quant* quants, float* scales, float*) {
    const float d = half_at(block + 208);
    for (int i = 0; i < 16; ++i) scales[i] = d * static_cast<float>(static_cast<std::int8_t>(block[192 + i]));
    const std::uint8_t* low = block;
    const std::uint8_t* high = block + 128;
    for (int half = 0; half < 2; ++half, low += 64, high += 32, quants += 128) {
      for (int i = 0; i < 32; ++i) quants[i] = static_cast<Quant>(((low[i] & 0xF) | (high[i] & 3) << 4) - 32);
      for (int i = 0; i < 32; ++i) {
        quants[32 + i] = static_cast<Quant>(((low[32 + i] & 0xF) | (high[i] >> 2 & 3) << 4) - 32);
      }
      for (int i = 0; i < 32; ++i) quants[64 + i] = static_cast<Quant>(((low[i] >> 4) | (high[i] >> 4 & 3) << 4) - 32);
      for (int i = 0; i < 32; ++i) quants[96 + i] = static_cast<Quant>(((low[32 + i] >> 4) | (high[i] >> 6) << 4) - 32);
    }
  }
};

template <typename Format>
PAJAMAS_INLINE void dequantize(const std::uint8_t* blocks, std::size_t num_blocks, float* out) {
  typename Format::Quant quants[Format::kElements];
  constexpr int kNumGroups = Format::kElements / Format::kGroup;
  float scales[kNumGroups];
  float minimums[kNumGroups] = {};
  for (std::size_t b = 0; b < num_blocks; ++b, blocks += Format::kBytes) {
    Format::unpack(blocks, quants, scales, minimums);
    for (int g = 0; g < kNumGroups; ++g, out += Format::kGroup) {
      const float scale = scales[g];
      const auto* group = quants + g * Format::kGroup;
      if constexpr (Format::kHasMinimum) {
        const float minimum = minimums[g];
        for (int i = 0; i < Format::kGroup; ++i) out[i] = static_cast<float>(group[i]) * scale + minimum;
      } else {
        for (int i = 0; i < Format::kGroup; ++i) out[i] = static_cast<float>(group[i]) * scale;
      }
    }
  }
}

// One function a format, so that each gets its vector clones.
#define PAJAMAS_DEQUANTIZE(Format)                                                                                 \
  PAJAMAS_VECTOR_CLONES void dequantize_##Format(const std::uint8_t* blocks, std::size_t num_blocks, float* out) { \
    dequantize<Format>(blocks, num_blocks, out);                                                                   \
  }
PAJAMAS_DEQUANTIZE(Q4_0)
PAJAMAS_DEQUANTIZE(Q4_1)
PAJAMAS_DEQUANTIZE(Q5_0)
PAJAMAS_DEQUANTIZE(Q5_1)
PAJAMAS_DEQUANTIZE(Q8_0)
PAJAMAS_DEQUANTIZE(Q4_K)
PAJAMAS_DEQUANTIZE(Q5_K)
PAJAMAS_DEQUANTIZE(Q6_K)
#undef PAJAMAS_DEQUANTIZE

PAJAMAS_VECTOR_CLONES void widen_bfloat16(const std::uint8_t* bytes, std::size_t count, float* out) {
  for (std::size_t i = 0; i < count; ++i) {
    std::uint16_t bits = 0;
    std::memcpy(&bits, bytes + 2 * i, sizeof(bits));
    out[i] = float_from_bfloat16(bits);
  }
}

void widen_float16(const std::uint8_t* bytes, std::size_t count, float* out) {
  // The bulk conversion wants aligned input; blocks may lie anywhere.
  std::array<std::uint16_t, 1024> piece;
  for (std::size_t begin = 0; begin < count; begin += piece.size()) {
    const std::size_t size = std::min(piece.size(), count - begin);
    std::memcpy(piece.data(), bytes + 2 * begin, 2 * size);
    convert_float16_to_float(std::span(piece).first(size), {out + begin, size});
  }
}

template <typename Format>
void repack(const std::uint8_t* blocks, std::size_t num_blocks, std::size_t first_block, BlockWeight& weight) {
  constexpr int kNumGroups = Format::kElements / Format::kGroup;
  const bool is_four_bit = bits_of(weight.values.dtype()) == 4;
  const bool is_half = weight.scales.dtype() == DType::kFloat16;
  const std::size_t block_value_bytes = is_four_bit ? Format::kElements / 2 : Format::kElements;
  const std::size_t scale_bytes = is_half ? 2 : 4;
  // The tensors are not shared, so this gives their own storage.
  auto* values =
      reinterpret_cast<std::uint8_t*>(weight.values.mutable_bytes().data()) + first_block * block_value_bytes;
  const std::size_t scale_offset = first_block * kNumGroups * scale_bytes;
  std::byte* scales_out = weight.scales.mutable_bytes().data() + scale_offset;
  std::byte* minimums_out = weight.has_minimums() ? weight.minimums.mutable_bytes().data() + scale_offset : nullptr;
  const auto store = [&](std::byte*& out, const float* numbers) {
    for (int g = 0; g < kNumGroups; ++g, out += scale_bytes) {
      if (is_half) {
        const std::uint16_t half = float16_from_float(numbers[g]);  // exact: it was read from a float16
        std::memcpy(out, &half, sizeof(half));
      } else {
        std::memcpy(out, numbers + g, sizeof(float));
      }
    }
  };
  typename Format::Quant quants[Format::kElements];
  float scales[kNumGroups];
  float minimums[kNumGroups] = {};
  for (std::size_t b = 0; b < num_blocks; ++b, blocks += Format::kBytes, values += block_value_bytes) {
    Format::unpack(blocks, quants, scales, minimums);
    if (is_four_bit) {
      for (int i = 0; i < Format::kElements / 2; ++i) {
        values[i] = static_cast<std::uint8_t>((quants[2 * i] & 0xF) | (quants[2 * i + 1] & 0xF) << 4);
      }
    } else {
      std::memcpy(values, quants, sizeof(quants));
    }
    store(scales_out, scales);
    if (minimums_out != nullptr) store(minimums_out, minimums);
  }
}

[[noreturn]] void fail_unreadable(GgmlType type) {
  throw Error(
      ErrorKind::kUnsupported,
      std::string("tensors of type ") + to_string(type) + " are not read; those that are: " + readable_ggml_types(), "",
      "quantise the model to one of these types");
}

/// values, scale and minimum types of the table in the header; undefined values for types without a BlockWeight.
struct BlockWeightTypes {
  DType values, scales;
  bool has_minimums;
  std::int64_t group_size;
};
BlockWeightTypes block_weight_types(GgmlType type) {
  switch (type) {
    case GgmlType::kQ4_0: return {DType::kInt4, DType::kFloat16, false, 32};
    case GgmlType::kQ4_1: return {DType::kUint4, DType::kFloat16, true, 32};
    case GgmlType::kQ5_0: return {DType::kInt8, DType::kFloat16, false, 32};
    case GgmlType::kQ5_1: return {DType::kUint8, DType::kFloat16, true, 32};
    case GgmlType::kQ8_0: return {DType::kInt8, DType::kFloat16, false, 32};
    case GgmlType::kQ4_K: return {DType::kUint4, DType::kFloat32, true, 32};
    case GgmlType::kQ5_K: return {DType::kUint8, DType::kFloat32, true, 32};
    case GgmlType::kQ6_K: return {DType::kInt8, DType::kFloat32, false, 16};
    default: return {DType::kUndefined, DType::kUndefined, false, 0};
  }
}

}  // namespace

const GgmlTypeTraits* find_ggml_type(std::uint32_t number) noexcept {
  for (const GgmlTypeTraits& traits : kTypes) {
    if (static_cast<std::uint32_t>(traits.type) == number) return &traits;
  }
  return nullptr;
}

const GgmlTypeTraits& traits_of(GgmlType type) noexcept {
  const GgmlTypeTraits* traits = find_ggml_type(static_cast<std::uint32_t>(type));
  return traits == nullptr ? kTypes[0] : *traits;
}

std::string readable_ggml_types() {
  std::string text;
  for (const GgmlTypeTraits& traits : kTypes) {
    if (traits.is_readable) text += (text.empty() ? "" : ", ") + std::string(traits.name);
  }
  return text;
}

std::optional<DType> plain_dtype_of(GgmlType type) noexcept {
  switch (type) {
    case GgmlType::kF32: return DType::kFloat32;
    case GgmlType::kF16: return DType::kFloat16;
    case GgmlType::kBF16: return DType::kBfloat16;
    default: return std::nullopt;
  }
}

std::size_t row_bytes_of(GgmlType type, std::int64_t num_elements) {
  const GgmlTypeTraits& traits = traits_of(type);
  if (num_elements < 0 || num_elements % traits.block_elements != 0) {
    throw Error(ErrorKind::kBadInput, "rows of " + std::to_string(num_elements) + " elements are no whole number of " +
                                          traits.name + " blocks of " + std::to_string(traits.block_elements));
  }
  const std::int64_t num_blocks = num_elements / traits.block_elements;
  if (num_blocks > INT64_MAX / traits.block_bytes) {
    throw Error(ErrorKind::kBadInput, "rows of " + std::to_string(num_elements) + " elements are longer than any file");
  }
  return static_cast<std::size_t>(num_blocks * traits.block_bytes);
}

void dequantize_blocks(GgmlType type, std::span<const std::byte> blocks, std::span<float> out) {
  const GgmlTypeTraits& traits = traits_of(type);
  if (!traits.is_readable) fail_unreadable(type);
  const std::size_t num_blocks = out.size() / static_cast<std::size_t>(traits.block_elements);
  if (num_blocks * static_cast<std::size_t>(traits.block_elements) != out.size() ||
      num_blocks * static_cast<std::size_t>(traits.block_bytes) != blocks.size()) {
    throw Error(ErrorKind::kInternal, std::string("dequantising ") + traits.name + ": " +
                                          std::to_string(blocks.size()) + " bytes do not make " +
                                          std::to_string(out.size()) + " elements");
  }
  if (out.empty()) return;
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(blocks.data());
  switch (type) {
    case GgmlType::kF32: std::memcpy(out.data(), bytes, out.size_bytes()); break;
    case GgmlType::kF16: widen_float16(bytes, out.size(), out.data()); break;
    case GgmlType::kBF16: widen_bfloat16(bytes, out.size(), out.data()); break;
    case GgmlType::kQ4_0: dequantize_Q4_0(bytes, num_blocks, out.data()); break;
    case GgmlType::kQ4_1: dequantize_Q4_1(bytes, num_blocks, out.data()); break;
    case GgmlType::kQ5_0: dequantize_Q5_0(bytes, num_blocks, out.data()); break;
    case GgmlType::kQ5_1: dequantize_Q5_1(bytes, num_blocks, out.data()); break;
    case GgmlType::kQ8_0: dequantize_Q8_0(bytes, num_blocks, out.data()); break;
    case GgmlType::kQ4_K: dequantize_Q4_K(bytes, num_blocks, out.data()); break;
    case GgmlType::kQ5_K: dequantize_Q5_K(bytes, num_blocks, out.data()); break;
    case GgmlType::kQ6_K: dequantize_Q6_K(bytes, num_blocks, out.data()); break;
    default: fail_unreadable(type);
  }
}

bool is_block_weight_type(GgmlType type) noexcept { return block_weight_types(type).values != DType::kUndefined; }

BlockWeight allocate_block_weight(GgmlType type, std::int64_t out_dim, std::int64_t in_dim) {
  const BlockWeightTypes types = block_weight_types(type);
  if (types.values == DType::kUndefined) {
    throw Error(ErrorKind::kUnsupported,
                std::string("blocks of type ") + to_string(type) + " cannot be kept as they are");
  }
  row_bytes_of(type, in_dim);
  BlockWeight weight;
  weight.group_size = types.group_size;
  const Shape scale_shape{out_dim, in_dim / types.group_size};
  weight.values = Tensor(types.values, {out_dim, in_dim});
  weight.scales = Tensor(types.scales, scale_shape);
  if (types.has_minimums) weight.minimums = Tensor(types.scales, scale_shape);
  return weight;
}

void repack_rows(GgmlType type, std::span<const std::byte> blocks, std::int64_t row_begin, BlockWeight& weight) {
  const std::size_t row_bytes = row_bytes_of(type, weight.in_dim());
  const std::size_t num_rows = row_bytes == 0 ? 0 : blocks.size() / row_bytes;
  if (!is_block_weight_type(type) || num_rows * row_bytes != blocks.size() || row_begin < 0 ||
      row_begin + static_cast<std::int64_t>(num_rows) > weight.out_dim()) {
    throw Error(ErrorKind::kInternal, std::string("repacking ") + to_string(type) + " blocks: rows out of range");
  }
  const std::size_t blocks_per_row = row_bytes / static_cast<std::size_t>(traits_of(type).block_bytes);
  const std::size_t first = static_cast<std::size_t>(row_begin) * blocks_per_row;
  const std::size_t count = num_rows * blocks_per_row;
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(blocks.data());
  switch (type) {
    case GgmlType::kQ4_0: repack<Q4_0>(bytes, count, first, weight); break;
    case GgmlType::kQ4_1: repack<Q4_1>(bytes, count, first, weight); break;
    case GgmlType::kQ5_0: repack<Q5_0>(bytes, count, first, weight); break;
    case GgmlType::kQ5_1: repack<Q5_1>(bytes, count, first, weight); break;
    case GgmlType::kQ8_0: repack<Q8_0>(bytes, count, first, weight); break;
    case GgmlType::kQ4_K: repack<Q4_K>(bytes, count, first, weight); break;
    case GgmlType::kQ5_K: repack<Q5_K>(bytes, count, first, weight); break;
    default: repack<Q6_K>(bytes, count, first, weight); break;
  }
}

}  // namespace pajamas
