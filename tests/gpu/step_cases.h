// Programs of one step each, with shapes of real models and odd ones: what backends are tested and timed on. Knows no
// CUDA.
#pragma once

#include <string>
#include <vector>

#include "targets/cuda/program.h"

namespace pajamas::test {

struct StepCase {
  std::string name;
  cuda::Program program;  ///< One step; every buffer in the arena, none of them planned.
};

struct ConvSpec {
  std::string name;
  DType dtype = DType::kFloat16;
  std::vector<std::int64_t> x;       ///< [N, C, spatial...]
  std::int64_t num_channels = 1;     ///< Of y.
  std::vector<std::int64_t> kernel;  ///< One a spatial axis, as those below.
  std::vector<std::int64_t> strides = {}, pads = {}, dilations = {};
  std::vector<std::int64_t> pads_end = {};  ///< As pads when empty.
  std::int64_t groups = 1;
  bool is_transposed = false;
  cuda::Activation activation = {};
  bool has_bias = true;
  bool is_y_row_major = false;
  int residual = 0;  ///< 0 none, 1 before the activation, 2 after it.
  /// Channels of the buffers that x and y are slices of, and where they begin in them; 0: dense.
  std::int64_t x_pitch = 0, x_offset = 0, y_pitch = 0, y_offset = 0;
};
StepCase conv_case(const ConvSpec& spec);

struct MatMulSpec {
  std::string name;
  DType dtype = DType::kFloat16;
  std::vector<std::int64_t> batch = {};
  std::int64_t m = 1, n = 1, k = 1;
  bool is_b_transposed = false;            ///< b lies as [N, K].
  bool is_b_broadcast = false;             ///< One b for all of the batch.
  std::int64_t y_pitch = 0, y_offset = 0;  ///< y as a slice of wider rows; 0: dense.
  float scale = 1;
  cuda::Activation activation = {};
  bool has_bias = false;
  int residual = 0;
  bool is_small = false;    ///< a and b of float8e4m3fn; `dtype` is that of the rest.
  bool is_integer = false;  ///< a and b of int8.
  bool has_column_scale = false;
  int a_zero_point = 0;
  float y_scale = 0;     ///< Above 0: y of the factors' 8 bits, by this scale.
  int y_zero_point = 0;  ///< Of int8.
};
StepCase matmul_case(const MatMulSpec& spec);

struct AttentionSpec {
  std::string name;
  DType dtype = DType::kFloat16;
  std::int64_t batch = 1, num_heads = 1, num_kv_heads = 1, seq_len = 1, kv_len = 1, head_dim = 64;
  bool is_packed = true;   ///< [batch, seq_len, num_heads, head_dim] in memory, as projections leave it.
  bool is_merged = false;  ///< q, k and v are windows of one buffer [batch, seq_len, 3, num_heads, head_dim].
  bool has_mask = false;
  bool is_causal = false;
};
StepCase attention_case(const AttentionSpec& spec);

/// The table: layers of YOLOv8n, ResNet-50, ViT-B, Whisper, and odd ones.
std::vector<StepCase> step_cases();

}  // namespace pajamas::test
