// The block formats in which GGUF files store tensors: their names and sizes, rows of them as float32, and the lossless
// way into BlockWeight. Not the file format (io/gguf.h) and not a quantiser: nothing here makes such blocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "pajamas/tensor.h"
#include "tensor/block_weight.h"

namespace pajamas {

/// Element types of GGUF tensors. The values are the numbers in the file.
enum class GgmlType : std::uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ8_1 = 9,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kQ8_K = 15,
  kIQ2_XXS = 16,
  kIQ2_XS = 17,
  kIQ3_XXS = 18,
  kIQ1_S = 19,
  kIQ4_NL = 20,
  kIQ3_S = 21,
  kIQ2_S = 22,
  kIQ4_XS = 23,
  kI8 = 24,
  kI16 = 25,
  kI32 = 26,
  kI64 = 27,
  kF64 = 28,
  kIQ1_M = 29,
  kBF16 = 30,
  kTQ1_0 = 34,
  kTQ2_0 = 35,
  kMXFP4 = 39,
  kNVFP4 = 40,
  kQ1_0 = 41,
  kQ2_0 = 42,
};

/// What is known of a type: how many elements make a block and how many bytes a block takes.
struct GgmlTypeTraits {
  GgmlType type;
  const char* name;  ///< "Q4_K", as llama.cpp prints it.
  std::int64_t block_elements;
  std::int64_t block_bytes;
  bool is_readable;  ///< dequantize_rows knows it. The others are known by name and size only.
};

/// nullptr for a number that stands for no type.
const GgmlTypeTraits* find_ggml_type(std::uint32_t number) noexcept;
const GgmlTypeTraits& traits_of(GgmlType type) noexcept;
inline const char* to_string(GgmlType type) noexcept { return traits_of(type).name; }
/// "F32, F16, BF16, Q8_0, ...": for messages that name what can be read.
std::string readable_ggml_types();
/// float32, float16, bfloat16 for the types that are plain arrays of these; nothing for blocks.
std::optional<DType> plain_dtype_of(GgmlType type) noexcept;

/// Bytes of a row of `num_elements`. Throws Error{kBadInput} when they are no whole number of blocks.
std::size_t row_bytes_of(GgmlType type, std::int64_t num_elements);

/// Dequantises consecutive rows: `blocks` holds whole blocks, `out` exactly their elements. The result is bit for bit
/// what ggml's reference gives in float32. Throws Error{kUnsupported} naming the type and those that can be read,
/// Error{kInternal} when the sizes do not agree. Thread-safe; no alignment is needed.
void dequantize_blocks(GgmlType type, std::span<const std::byte> blocks, std::span<float> out);

/// Whether BlockWeight holds blocks of the type without loss: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K.
bool is_block_weight_type(GgmlType type) noexcept;
/// The empty BlockWeight (tensors allocated, not filled) for a matrix [out_dim, in_dim] of the type:
///
///   | type          | values | group | scales  | minimums | bits a weight (in the file) |
///   | Q4_0          | int4   | 32    | float16 |          | 4.5 (4.5)   |
///   | Q4_1          | uint4  | 32    | float16 | float16  | 5 (5)       |
///   | Q5_0          | int8   | 32    | float16 |          | 8.5 (5.5)   |
///   | Q5_1          | uint8  | 32    | float16 | float16  | 9 (6)       |
///   | Q8_0          | int8   | 32    | float16 |          | 8.5 (8.5)   |
///   | Q4_K          | uint4  | 32    | float32 | float32  | 6 (4.5)     |
///   | Q5_K          | uint8  | 32    | float32 | float32  | 10 (5.5)    |
///   | Q6_K          | int8   | 16    | float32 |          | 10 (6.56)   |
///
/// Throws Error{kUnsupported} for other types, Error{kBadInput} when in_dim is no whole number of blocks.
BlockWeight allocate_block_weight(GgmlType type, std::int64_t out_dim, std::int64_t in_dim);
/// Repacks rows of blocks into rows [row_begin, ...) of `weight`, which must come from allocate_block_weight. Rows are
/// independent: threads may fill distinct rows when in_dim is even (rows of 4-bit values begin on a byte).
void repack_rows(GgmlType type, std::span<const std::byte> blocks, std::int64_t row_begin, BlockWeight& weight);

}  // namespace pajamas
