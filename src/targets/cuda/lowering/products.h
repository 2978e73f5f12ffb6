// Which nodes become a convolution, a matrix product or an attention, and what of their surroundings they take along:
// scale, bias, residual, activation. Finds; stores nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "targets/cuda/lowering/graph_context.h"
#include "targets/cuda/program.h"

namespace pajamas::cuda {

struct Product {
  enum class Kind { kConv, kMatMul, kAttention };
  Kind kind = Kind::kConv;
  int anchor = -1;         ///< The node whose attributes count (Conv, MatMul, Gemm, Softmax, Attention).
  std::vector<int> nodes;  ///< All that it computes, ascending.
  std::string a;           ///< Convolution: x; product: a (float8e4m3fn, int8: as quantised); attention: q.
  std::string b;           ///< Weights; b; k.
  std::string v;           ///< Attention only.
  std::string mask;        ///< Attention only; may be empty.
  std::string bias;
  std::string residual;
  std::string output;
  bool is_residual_before = false;
  bool is_k_transposed = false;  ///< Attention: `b` is [..., head_dim, kv_len].
  Activation activation;
  float scale = 1;
  float y_scale = 1;                                ///< Of an output of float8e4m3fn or int8 (Epilogue::y_scale).
  std::int32_t y_zero_point = 0, a_zero_point = 0;  ///< Of int8 (Epilogue).
  std::string column_scale;                         ///< Of b's columns: a constant vector; empty: all in `scale`.
  /// One of several products that are computed as one (siblings.h), in the order of their columns.
  struct Part {
    std::string b;
    std::string bias;  ///< May be empty: zeros where another has one.
    std::string output;
    std::int64_t columns = 0;  ///< Or output channels.
    std::string column_scale = {};
  };
  std::vector<Part> parts;       ///< Empty, or at least two; `b`, `bias` and `output` are then those of the first.
  std::string merged;            ///< With parts: what the whole result is called.
  std::size_t weights_axis = 0;  ///< With parts: the axis of `b` that the columns lie along.
  std::vector<std::string> outputs() const {
    if (parts.empty()) return {output};
    std::vector<std::string> names;
    for (const Part& part : parts) names.push_back(part.output);
    return names;
  }
  /// A bias-only result is written dense: cuDNN takes 8 µs instead of 3 to write a slice without an activation (H200).
  bool may_write_slice() const {
    return kind != Kind::kConv || activation.kind != ActivationKind::kNone || !residual.empty();
  }
};

/// All products of the graph, in the order of their nodes. `fuses` false: each takes its own node only.
std::vector<Product> find_products(const GraphContext& graph, bool fuses);

struct ActivationMatch {
  Activation activation;
  std::vector<int> nodes;
  std::string output;
};

/// The largest set of nodes behind `value` that computes one activation of it and that nothing else looks into. Tells
/// spellings apart by their values: GELU, SiLU, HardSwish and Mish may be written in any way.
std::optional<ActivationMatch> match_activation(const GraphContext& graph, const std::string& value);

}  // namespace pajamas::cuda
