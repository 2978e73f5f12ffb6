// Program: what a graph becomes on the GPU for one set of input shapes. A list of steps, each one kernel or one library
// call, over values that are strided windows of a few buffers. Plain data without CUDA types: lowering makes it and
// tests check it on any machine; the runtime alone knows how a step is computed.
//
//   Graph ──lower()──▶ Program ──plan_memory()──▶ Program with offsets ──backends──▶ one CUDA graph
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "graph/graph.h"
#include "pajamas/tensor.h"

namespace pajamas::cuda {

using ValueId = std::int32_t;
using BufferId = std::int32_t;

/// Element type and geometry of a value. The order of the extents is ONNX's (NCHW); the layout is in the strides:
/// channels-last is extents [N, C, H, W] with strides [H·W·C, 1, W·C, C].
struct TensorDesc {
  DType dtype = DType::kUndefined;
  Shape extents;
  std::vector<std::int64_t> strides;  ///< In elements, one an axis; 0 repeats. Axes of extent 1 may have any.

  /// Row-major and dense.
  bool is_contiguous() const;
  /// Rank ≥ 3, channels (axis 1) innermost, otherwise in order; the pitch between pixels may exceed the channels.
  bool is_channels_last() const;
  static TensorDesc contiguous(DType dtype, Shape extents);
  static TensorDesc channels_last(DType dtype, Shape extents);
  bool operator==(const TensorDesc&) const = default;
};

/// Where the bytes of a buffer live.
enum class Place {
  kInput,     ///< The caller's (or the session's copy of) input `interface_index`: dense, row-major.
  kOutput,    ///< Output `interface_index`: dense, row-major.
  kArena,     ///< A part of the session's one block of activations, at `arena_offset`.
  kConstant,  ///< A weight as packed by ConstantPool under `constant_key`, shared by all sessions.
};

struct Buffer {
  std::string name;  ///< Of the value it was made for; for people.
  Place place = Place::kArena;
  std::size_t size_bytes = 0;
  std::size_t arena_offset = 0;  ///< kArena, after plan_memory(); a multiple of kBufferAlignment.
  std::int32_t interface_index = -1;
  std::string constant_key;
};

/// Every buffer starts at a multiple of this: whole sectors of the L2 cache, and enough for every vector access.
inline constexpr std::size_t kBufferAlignment = 256;

/// A window of a buffer. Several values may share one (views, slices of a Concat).
struct Value {
  std::string name;  ///< ONNX value name; empty for one that lowering made up.
  TensorDesc desc;
  BufferId buffer = -1;
  std::int64_t offset_elements = 0;  ///< From the buffer's start, in elements of desc.dtype.
};

enum class ActivationKind {
  kNone,
  kRelu,
  kSilu,
  kSigmoid,
  kTanh,
  kGeluErf,
  kGeluTanh,
  kClip,         ///< min = alpha, max = beta
  kLeakyRelu,    ///< slope alpha
  kHardSigmoid,  ///< max(0, min(1, alpha·x + beta))
  kHardSwish,
  kElu,  ///< alpha
  kSoftplus,
  kMish,
};

struct Activation {
  ActivationKind kind = ActivationKind::kNone;
  float alpha = 0;
  float beta = 0;
  bool operator==(const Activation&) const = default;
};

/// What a product does with its result before it is stored, computed in float32:
///   t = accumulator · scale;  t += bias;
///   residual before:  y = activation(t + residual);   after:  y = activation(t) + residual
struct Epilogue {
  std::optional<ValueId> bias;      ///< [channels] of the output's type or float32.
  std::optional<ValueId> residual;  ///< Of y's extents, any strides.
  bool is_residual_before_activation = false;
  Activation activation;
  /// Of a y of float8e4m3fn or int8: it holds y / y_scale, rounded to the nearest (of int8 with y_zero_point added),
  /// saturating.
  float y_scale = 1;
  std::int32_t y_zero_point = 0;
  /// Of products of int8: the sum less `a_zero_point` times its column's of `column_sums` (int32 [N], the sums of b's
  /// columns) is multiplied by its column's of `column_scale` (float32 [N]) beside the step's scale.
  std::optional<ValueId> column_scale, column_sums;
  std::int32_t a_zero_point = 0;
};

/// Convolution of 1 to 3 spatial axes, weights [K, C/groups, kernel...] with strides that say how they are packed
/// (channels-last: K, kernel..., C). Or its transpose, weights [C, K/groups, kernel...].
struct ConvStep {
  ValueId x = -1, weights = -1, y = -1;
  std::vector<std::int64_t> pads_begin, pads_end, strides, dilations;  ///< One a spatial axis.
  std::int64_t groups = 1;
  bool is_transposed = false;
  Epilogue epilogue;
};

/// y[batch..., M, N] = scale · a[batch..., M, K] · b[batch..., K, N], batch axes already broadcast (stride 0). The last
/// two axes of each may be transposed by strides; one of them has stride 1. a and b may be float8e4m3fn, both, with
/// their scales in `scale`; then b is one constant matrix that lies along K, and y has 16 or 32 bits or is float8e4m3fn
/// too. So with int8, whose sums are exact in int32.
struct MatMulStep {
  ValueId a = -1, b = -1, y = -1;
  float scale = 1;
  Epilogue epilogue;  ///< The bias runs along N.
};

/// softmax(scale · q · kᵀ + mask) · v by heads. q, y: [batch, num_heads, seq_len, head_dim]; k, v: [batch,
/// num_kv_heads, kv_len, head_dim]; any strides with head_dim innermost. num_heads is a multiple of num_kv_heads.
struct AttentionStep {
  ValueId q = -1, k = -1, v = -1, y = -1;
  std::optional<ValueId> mask;  ///< Added to the scores; broadcastable to [batch, num_heads, seq_len, kv_len].
  float scale = 1;
  bool is_causal = false;
};

/// A fused region of pointwise, reduction and movement operators, one generated kernel (loops/). `nodes` index
/// Program::nodes, in topological order; `inputs` and `outputs` are the values at the region's border, and every other
/// value that the nodes name stays in registers.
struct LoopStep {
  std::vector<std::int32_t> nodes;
  std::vector<ValueId> inputs;
  std::vector<ValueId> outputs;
};

/// One operator that has a kernel of its own (TopK, NonMaxSuppression, RoiAlign, ...). Inputs and outputs as in the
/// node; -1 for an omitted one.
struct OperatorStep {
  std::int32_t node = -1;
  std::vector<ValueId> inputs;
  std::vector<ValueId> outputs;
};

using StepWork = std::variant<ConvStep, MatMulStep, AttentionStep, LoopStep, OperatorStep>;

struct Step {
  StepWork work;
  std::vector<std::string> fused_from;   ///< Names (or op types) of the ONNX nodes it computes; for people.
  std::vector<std::int32_t> depends_on;  ///< Earlier steps whose results or memory it needs; ascending.
  std::int32_t lane = 0;                 ///< Which of Program::num_lanes parallel branches it runs in.
};

/// An axis of an output whose extent the data decide: the output has the length of the bound there, and the real extent
/// is element `count_index` of the last of Program::outputs (int64).
struct OutputCount {
  std::size_t output = 0;
  std::size_t axis = 0;
  std::size_t count_index = 0;
};

/// A loop or operator step keeps its ONNX nodes; constants they need as numbers are in `small_constants`.
struct Program {
  std::vector<Value> values;
  std::vector<Buffer> buffers;
  std::vector<Step> steps;  ///< A valid order on one stream.
  std::vector<Node> nodes;
  std::vector<Initializer> small_constants;  ///< Read by nodes as attributes are (axes, scales, sizes), or folded in.
  std::int64_t opset = 0;
  std::vector<ValueId> inputs;   ///< In the order of the graph's required inputs.
  std::vector<ValueId> outputs;  ///< In the order of the graph's outputs; behind them the counts, where there are any.
  std::vector<OutputCount> output_counts;
  std::size_t arena_bytes = 0;  ///< After plan_memory().
  std::int32_t num_lanes = 1;
  bool allows_tf32 = false;  ///< Products of float32 may round their factors to TF32.

  const Value& value(ValueId id) const { return values[static_cast<std::size_t>(id)]; }
  const Buffer& buffer_of(ValueId id) const {
    return buffers[static_cast<std::size_t>(values[static_cast<std::size_t>(id)].buffer)];
  }
};

/// The values a step reads, and those it writes; an omitted one does not appear.
std::vector<ValueId> inputs_of(const Step& step);
std::vector<ValueId> outputs_of(const Step& step);
/// "conv", "matmul", "attention", "loop" or the operator's name.
std::string kind_of(const Program& program, const Step& step);

/// Whether the step is a product of float32 factors in a program that allows TF32.
bool is_tf32(const Program& program, const Step& step);

/// A text that is equal exactly when two steps are the same work (kind, types, extents, strides, attributes; not names
/// nor addresses): the key of the timing cache.
std::string signature_of(const Program& program, const Step& step);

/// The program as JSON for people and for the bundle's record: steps with shapes, layouts, what each was fused from,
/// lanes, bytes and floating-point operations.
nlohmann::json to_json(const Program& program);

/// Fewest bytes a step must move through memory (inputs and outputs once), and its floating-point operations.
struct StepCost {
  double bytes = 0;
  double flops = 0;
};
StepCost cost_of(const Program& program, const Step& step);

}  // namespace pajamas::cuda
