// Linear layers with weights of 4 or 8 bits on processors with AVX512-VNNI: weights are repacked once and stay as
// small as they are stored. Few tokens: activations are quantised to 8 bits by groups and products summed in integers;
// many tokens, on processors with AMX: both are bfloat16, a few rows of weights at a time. One call computes several
// layers of one input (query, key and value; gate and up). Knows nothing of OpenVINO's graphs:
// packed_linear_op.h puts it into them.
//
// Why not OpenVINO's own compressed FullyConnected: for one to eight rows it stays at a third of the memory's bandwidth
// (docs/targets-openvino.md has the figures).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace pajamas::openvino {

/// A weight matrix as it is stored: value = q * scale + offset, by groups along the columns. Views; not kept.
struct StoredMatrix {
  enum class Form { kUint4, kInt4, kUint8, kInt8 };
  Form form = Form::kUint4;
  std::int64_t num_rows = 0;             ///< Outputs.
  std::int64_t num_columns = 0;          ///< Inputs.
  std::int64_t num_groups = 0;           ///< Scales of one row; 1: one scale a row.
  const std::uint8_t* values = nullptr;  ///< Row by row, 4-bit values first in the low half.
  std::vector<float> scales;             ///< [num_rows * num_groups]
  std::vector<float> offsets;            ///< [num_rows * num_groups]: minus zero point times scale, or the minimum.
  std::vector<float> bias;               ///< [num_rows], or empty.
};

/// How several matrices of one input are combined.
enum class Combination {
  kSeparate,  ///< An output each.
  kSwiGlu,    ///< Two of equal shape, one output: silu(first) * second.
};

class PackedLinear {
 public:
  /// Whether this processor has the instructions.
  static bool is_available();
  /// Whether a matrix can be packed: groups of 32 to 256 columns or one scale a row, scales within the range of
  /// float16.
  static bool can_pack(const StoredMatrix& matrix);
  /// Matrices with equal num_columns, num_groups and width of values, each of which can be packed.
  PackedLinear(std::span<const StoredMatrix> matrices, Combination combination);
  ~PackedLinear();
  PackedLinear(const PackedLinear&) = delete;
  PackedLinear& operator=(const PackedLinear&) = delete;

  std::int64_t num_columns() const { return num_columns_; }
  /// Width of each output.
  const std::vector<std::int64_t>& output_dims() const { return output_dims_; }
  /// Bytes of the packed weights.
  std::size_t size_bytes() const { return size_bytes_; }

  /// outputs[i] [num_tokens, output_dims()[i]] of x [num_tokens, num_columns()], all float32, dense. Runs on the
  /// threads of the calling thread's TBB arena; thread-safe.
  void run(const float* x, std::int64_t num_tokens, std::span<float* const> outputs) const;
  /// The gated result of this layer (kSwiGlu) goes through `next`, one matrix, whose num_columns() are its width:
  /// output [num_tokens, next.output_dims()[0]], as above. Of many tokens what lies between is never float32 in memory.
  void run_gated(const float* x, std::int64_t num_tokens, const PackedLinear& next, float* output) const;
  bool is_gated() const { return combination_ == Combination::kSwiGlu; }

 private:
  struct Quantized;
  struct Memory;
  /// Where results of many tokens go: rows of float32, or bfloat16 in the order of tiles, for the next layer.
  struct Sink {
    std::span<float* const> outputs;
    std::byte* tiles = nullptr;
  };
  void pack(const StoredMatrix& matrix, std::int64_t first_block, std::int64_t block_step);
  void run_few(const Quantized& x, std::int64_t first_pair, std::int64_t end_pair,
               std::span<float* const> outputs) const;
  void run_many(const float* x, std::int64_t num_tokens, const PackedLinear* next,
                std::span<float* const> outputs) const;
  void run_tiles(const std::byte* x, std::int64_t num_tokens, const Sink& sink) const;
  void run_share(const std::byte* x, std::int64_t end_token, std::int64_t first_pair, std::int64_t end_pair,
                 const Sink& sink) const;
  void store_step(const float* sums, std::int64_t pair, std::int64_t token, std::int64_t num_tokens,
                  const Sink& sink) const;
  void store(const float* sums, std::int64_t pair, std::int64_t token, std::span<float* const> outputs) const;

  /// Where the 16 rows of a block go.
  struct BlockPlace {
    std::int32_t output = 0;
    std::int32_t column = 0;
    std::int32_t num_columns = 0;  ///< 0: padding.
  };

  bool is_4bit_ = false;
  bool is_per_row_ = false;
  Combination combination_ = Combination::kSeparate;
  std::int64_t num_columns_ = 0;
  std::int64_t group_ = 0;  ///< Columns of one group of activations, and of weights unless is_per_row_.
  std::int64_t num_groups_ = 0;
  std::int64_t num_blocks_ = 0;  ///< Of 16 rows; even.
  std::size_t group_bytes_ = 0;  ///< Values of 16 rows and one group, and their scales unless is_per_row_.
  std::size_t block_bytes_ = 0;
  std::size_t size_bytes_ = 0;
  std::vector<std::int64_t> output_dims_;
  std::vector<BlockPlace> places_;
  std::vector<float> row_scales_;   ///< [num_blocks * 16], of is_per_row_.
  std::vector<float> row_offsets_;  ///< The same.
  std::vector<float> bias_;         ///< [num_blocks * 16], or empty.
  std::shared_ptr<Memory> memory_;
  std::byte* data_ = nullptr;  ///< In memory_.
};

}  // namespace pajamas::openvino
