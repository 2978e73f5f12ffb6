// See cudnn_steps.h.
#include "targets/cuda/backends/cudnn_steps.h"

#include <algorithm>
#include <limits>

#include "pajamas/error.h"
#include "targets/cuda/backends/cudnn_epilogue.h"

namespace pajamas::cuda {
namespace {

using TensorId = CudnnGraph::TensorId;

[[noreturn]] void refuse(const std::string& reason) { throw Error(ErrorKind::kUnsupported, "cuDNN: " + reason); }

/// Gives the axes of extent 1 the strides that the layout implies: cuDNN recognises a layout by all its strides.
/// `order`: the axes, innermost first. False when the other strides contradict the order.
bool fill_strides(CudnnGeometry& geometry, const std::vector<std::size_t>& order) {
  std::int64_t running = 1;
  for (const std::size_t axis : order) {
    if (geometry.extents[axis] == 1) {
      geometry.strides[axis] = running;
    } else if (geometry.strides[axis] < running) {
      return false;
    }
    running = geometry.strides[axis] * geometry.extents[axis];
  }
  return true;
}

/// Axes of a convolution's tensors, with a height of 1 where there is one spatial axis: cuDNN has no such kernels.
CudnnGeometry image_geometry(const TensorDesc& desc) {
  CudnnGeometry geometry{desc.extents.extents(), desc.strides};
  if (geometry.extents.size() < 3 || geometry.extents.size() > 5) refuse("a convolution over so many axes");
  if (geometry.extents.size() == 3) {
    geometry.extents.insert(geometry.extents.begin() + 2, 1);
    geometry.strides.insert(geometry.strides.begin() + 2, 0);
  }
  for (std::size_t axis = 0; axis < geometry.extents.size(); ++axis) {
    if (geometry.strides[axis] == 0) geometry.extents[axis] = 1;  // Repeats: cuDNN's pointwise operations do that too.
  }
  const std::size_t rank = geometry.extents.size();
  std::vector<std::size_t> channels_last{1};
  std::vector<std::size_t> row_major;
  for (std::size_t axis = rank - 1; axis >= 2; --axis) {
    channels_last.push_back(axis);
    row_major.push_back(axis);
  }
  channels_last.push_back(0);
  row_major.push_back(1);
  row_major.push_back(0);
  CudnnGeometry filled = geometry;
  if ((geometry.extents[1] == 1 || geometry.strides[1] == 1) && fill_strides(filled, channels_last)) return filled;
  filled = geometry;
  if (fill_strides(filled, row_major)) return filled;
  refuse("the strides of a convolution's tensor");
}

std::vector<std::int64_t> with_height(std::vector<std::int64_t> values, std::int64_t value) {
  if (values.size() == 1) values.insert(values.begin(), value);
  return values;
}

/// Paddings at the end can be made equal to those at the beginning where that adds no output: few kernels take others.
CudnnGraph::Convolution conv_geometry(const ConvStep& conv, const CudnnGeometry& x, const CudnnGeometry& weights,
                                      const CudnnGeometry& y) {
  CudnnGraph::Convolution geometry;
  geometry.pads_begin = with_height(conv.pads_begin, 0);
  geometry.pads_end = with_height(conv.pads_end, 0);
  geometry.strides = with_height(conv.strides, 1);
  geometry.dilations = with_height(conv.dilations, 1);
  const CudnnGeometry& image = conv.is_transposed ? y : x;
  const CudnnGeometry& result = conv.is_transposed ? x : y;
  for (std::size_t i = 0; i < geometry.strides.size(); ++i) {
    const auto num_positions = [&](std::int64_t pad_end) {
      const std::int64_t room = image.extents[i + 2] + geometry.pads_begin[i] + pad_end -
                                (geometry.dilations[i] * (weights.extents[i + 2] - 1) + 1);
      return room < 0 ? 0 : room / geometry.strides[i] + 1;
    };
    if (num_positions(geometry.pads_begin[i]) == result.extents[i + 2]) geometry.pads_end[i] = geometry.pads_begin[i];
    if (geometry.pads_begin[i] < 0 || geometry.pads_end[i] < 0) refuse("negative padding");
    if (num_positions(geometry.pads_end[i]) != result.extents[i + 2]) refuse("padding that only crops a result");
  }
  return geometry;
}

CudnnBindings describe_conv(CudnnGraph& graph, const Program& program, const ConvStep& conv, bool has_identity,
                            bool is_bare) {
  CudnnBindings bindings;
  const TensorDesc& x_desc = program.value(conv.x).desc;
  const TensorDesc& weights_desc = program.value(conv.weights).desc;
  CudnnGeometry x = image_geometry(x_desc);
  CudnnGeometry weights = image_geometry(weights_desc);
  CudnnGeometry y = image_geometry(program.value(conv.y).desc);
  const CudnnGraph::Convolution geometry = conv_geometry(conv, x, weights, y);
  const BoundValue x_bound(program, conv.x);
  const BoundValue weights_bound(program, conv.weights);
  bindings.values.emplace_back(kUidX, x_bound);
  bindings.values.emplace_back(kUidWeights, weights_bound);
  const TensorId x_id = graph.tensor(kUidX, x_desc.dtype, x.extents, x.strides, x_bound.alignment());
  const TensorId weights_id =
      graph.tensor(kUidWeights, weights_desc.dtype, weights.extents, weights.strides, weights_bound.alignment());
  if (is_bare) {
    const TensorDesc sums_desc = TensorDesc::channels_last(DType::kFloat32, program.value(conv.y).desc.extents);
    const CudnnGeometry sums = image_geometry(sums_desc);
    bindings.sums = kUidY;
    graph.convolution(geometry, conv.is_transposed, x_id, weights_id,
                      graph.tensor(kUidY, DType::kFloat32, sums.extents, sums.strides));
    return bindings;
  }
  std::optional<CudnnGeometry> residual;
  if (conv.epilogue.residual) residual = image_geometry(program.value(*conv.epilogue.residual).desc);
  CudnnEpilogue epilogue(graph, bindings, program, conv.epilogue, conv.y, y, 1, residual, 1.0F, has_identity);
  graph.convolution(geometry, conv.is_transposed, x_id, weights_id, epilogue.source());
  epilogue.finish();
  return bindings;
}

/// Rank 3 at least, with repeated axes as extent 1 and the strides of such axes filled.
CudnnGeometry matrix_geometry(const TensorDesc& desc) {
  CudnnGeometry geometry{desc.extents.extents(), desc.strides};
  const std::size_t num_missing = geometry.extents.size() < 3 ? 3 - geometry.extents.size() : 0;
  geometry.extents.insert(geometry.extents.begin(), num_missing, 1);
  geometry.strides.insert(geometry.strides.begin(), num_missing, 0);
  const std::size_t rank = geometry.extents.size();
  for (std::size_t axis = 0; axis + 2 < rank; ++axis) {
    if (geometry.strides[axis] == 0) geometry.extents[axis] = 1;
  }
  const bool is_transposed = geometry.extents[rank - 1] > 1 && geometry.strides[rank - 1] != 1;
  // The matrix first, then the other axes as they are; those of extent 1 lie outermost.
  CudnnGeometry filled = geometry;
  const std::size_t inner = is_transposed ? rank - 2 : rank - 1;
  const std::size_t outer = is_transposed ? rank - 1 : rank - 2;
  if (filled.extents[inner] == 1) filled.strides[inner] = 1;
  if (filled.strides[inner] != 1) refuse("a matrix with neither rows nor columns dense");
  if (filled.extents[outer] == 1) filled.strides[outer] = filled.extents[inner];
  std::int64_t span = 1;
  for (std::size_t axis = 0; axis < rank; ++axis) span += (filled.extents[axis] - 1) * filled.strides[axis];
  for (std::size_t axis = 0; axis + 2 < rank; ++axis) {
    if (filled.extents[axis] == 1) filled.strides[axis] = span;
  }
  return filled;
}

CudnnBindings describe_matmul(CudnnGraph& graph, const Program& program, const MatMulStep& product, bool has_identity) {
  CudnnBindings bindings;
  const TensorDesc& a_desc = program.value(product.a).desc;
  const TensorDesc& b_desc = program.value(product.b).desc;
  const CudnnGeometry a = matrix_geometry(a_desc);
  const CudnnGeometry b = matrix_geometry(b_desc);
  const CudnnGeometry y = matrix_geometry(program.value(product.y).desc);
  if (a_desc.dtype == DType::kInt8) refuse("products of integers");
  if (a.extents.size() != y.extents.size() || b.extents.size() != y.extents.size()) refuse("ranks that differ");
  if (y.extents.size() > 4) refuse("more than two batch axes");
  const BoundValue a_bound(program, product.a);
  const BoundValue b_bound(program, product.b);
  bindings.values.emplace_back(kUidX, a_bound);
  bindings.values.emplace_back(kUidWeights, b_bound);
  const TensorId a_id = graph.tensor(kUidX, a_desc.dtype, a.extents, a.strides, a_bound.alignment());
  const TensorId b_id = graph.tensor(kUidWeights, b_desc.dtype, b.extents, b.strides, b_bound.alignment());
  std::optional<CudnnGeometry> residual;
  if (product.epilogue.residual) residual = matrix_geometry(program.value(*product.epilogue.residual).desc);
  CudnnEpilogue epilogue(graph, bindings, program, product.epilogue, product.y, y, y.extents.size() - 1, residual,
                         product.scale, has_identity);
  graph.matmul(a_id, b_id, epilogue.source());
  epilogue.finish();
  return bindings;
}

/// The library's vector loads and bulk copies want rows at multiples of 16 bytes, which it does not check itself.
void require_aligned(const TensorDesc& desc, const BoundValue& bound, const char* name) {
  const std::int64_t element_bytes = bits_of(desc.dtype) / 8;
  for (std::size_t axis = 0; axis + 1 < desc.strides.size(); ++axis) {
    if (desc.extents[axis] > 1 && desc.strides[axis] * element_bytes % 16 != 0) {
      refuse(std::string("attention whose ") + name + " has rows that are not aligned to 16 bytes");
    }
  }
  if (bound.alignment() < 16) refuse(std::string("attention whose ") + name + " is not aligned to 16 bytes");
}

CudnnBindings describe_attention(CudnnGraph& graph, const Program& program, const AttentionStep& attention) {
  CudnnBindings bindings;
  const TensorDesc& q = program.value(attention.q).desc;
  const TensorDesc& k = program.value(attention.k).desc;
  const TensorDesc& v = program.value(attention.v).desc;
  if (q.dtype != DType::kFloat16 && q.dtype != DType::kBfloat16) refuse("attention in other than 16-bit types");
  if (q.extents.rank() != 4) refuse("attention of this rank");
  const std::int64_t batch = q.extents[0];
  const std::int64_t num_heads = q.extents[1];
  const std::int64_t seq_len = q.extents[2];
  const std::int64_t kv_len = k.extents[2];
  if (q.extents[3] % 8 != 0 || v.extents[3] % 8 != 0) refuse("attention whose head_dim is not a multiple of 8");
  std::int64_t next_uid = kUidX;
  const auto add = [&](ValueId id, const char* name, bool swaps) {
    const TensorDesc& desc = program.value(id).desc;
    const BoundValue bound(program, id);
    require_aligned(desc, bound, name);
    std::vector<std::int64_t> extents = desc.extents.extents();
    std::vector<std::int64_t> strides = desc.strides;
    if (extents[3] > 1 && strides[3] != 1) refuse("attention whose heads are not dense");
    strides[3] = 1;
    // An axis of one has any stride; the library wants one that leaves room.
    std::int64_t span = 8;
    for (std::size_t axis = 0; axis < 4; ++axis) span += (extents[axis] - 1) * strides[axis];
    span = (span + 7) / 8 * 8;
    for (std::size_t axis = 0; axis < 3; ++axis) {
      if (extents[axis] == 1) strides[axis] = span;
    }
    if (swaps) {
      std::swap(extents[2], extents[3]);
      std::swap(strides[2], strides[3]);
    }
    bindings.values.emplace_back(next_uid, bound);
    return graph.tensor(next_uid++, desc.dtype, extents, strides, bound.alignment());
  };
  const TensorId q_id = add(attention.q, "q", false);
  const TensorId k_id = add(attention.k, "k", true);
  const TensorId v_id = add(attention.v, "v", false);
  const TensorId y_id = add(attention.y, "y", false);
  const std::vector<std::int64_t> scores_extents{batch, num_heads, seq_len, kv_len};
  const std::vector<std::int64_t> scores_strides{num_heads * seq_len * kv_len, seq_len * kv_len, kv_len, 1};
  const std::vector<std::int64_t> row_extents{batch, num_heads, seq_len, 1};
  const std::vector<std::int64_t> row_strides{num_heads * seq_len, seq_len, 1, 1};
  const auto scores = [&](cudnnDataType_t type) { return graph.virtual_tensor(type, scores_extents, scores_strides); };
  std::int64_t next_number = kUidNumber;
  const auto number = [&](float value) {
    bindings.numbers.emplace_back(next_number, value);
    return graph.number(next_number++, 4);
  };
  TensorId current = scores(CUDNN_DATA_FLOAT);
  graph.matmul(q_id, k_id, current);
  {
    const TensorId scaled = scores(CUDNN_DATA_FLOAT);
    graph.pointwise(CUDNN_POINTWISE_MUL, current, number(attention.scale), scaled);
    current = scaled;
  }
  if (attention.mask) {
    const TensorDesc& desc = program.value(*attention.mask).desc;
    std::vector<std::int64_t> extents = desc.extents.extents();
    std::vector<std::int64_t> strides = desc.strides;
    extents.insert(extents.begin(), 4 - extents.size(), 1);
    strides.insert(strides.begin(), 4 - strides.size(), 0);
    std::int64_t running = 1;
    for (std::size_t axis = 4; axis-- > 0;) {
      if (strides[axis] == 0) extents[axis] = 1;
      if (extents[axis] == 1) strides[axis] = running;
      running = std::max(running, extents[axis] * strides[axis]);
    }
    const BoundValue bound(program, *attention.mask);
    bindings.values.emplace_back(kUidMask, bound);
    const TensorId mask = graph.tensor(kUidMask, desc.dtype, extents, strides, bound.alignment());
    const TensorId masked = scores(CUDNN_DATA_FLOAT);
    graph.pointwise(CUDNN_POINTWISE_ADD, current, mask, masked);
    current = masked;
  }
  if (attention.is_causal) {
    CudnnGraph::PointwiseOptions options;
    options.compute = CUDNN_DATA_INT32;
    options.axis = 2;
    const TensorId rows = scores(CUDNN_DATA_INT32);
    graph.pointwise(CUDNN_POINTWISE_GEN_INDEX, current, std::nullopt, rows, options);
    options.axis = 3;
    const TensorId columns = scores(CUDNN_DATA_INT32);
    graph.pointwise(CUDNN_POINTWISE_GEN_INDEX, current, std::nullopt, columns, options);
    CudnnGraph::PointwiseOptions boolean;
    boolean.compute = CUDNN_DATA_BOOLEAN;
    const TensorId is_seen = scores(CUDNN_DATA_BOOLEAN);
    graph.pointwise(CUDNN_POINTWISE_CMP_GE, rows, columns, is_seen, boolean);
    const TensorId seen = scores(CUDNN_DATA_FLOAT);
    graph.select(current, number(-std::numeric_limits<float>::infinity()), is_seen, seen);
    current = seen;
  }
  const TensorId largest = graph.virtual_tensor(CUDNN_DATA_FLOAT, row_extents, row_strides);
  graph.reduction(CUDNN_REDUCE_TENSOR_MAX, current, largest);
  const TensorId shifted = scores(CUDNN_DATA_FLOAT);
  graph.pointwise(CUDNN_POINTWISE_SUB, current, largest, shifted);
  const TensorId powers = scores(CUDNN_DATA_FLOAT);
  graph.pointwise(CUDNN_POINTWISE_EXP, shifted, std::nullopt, powers);
  const TensorId total = graph.virtual_tensor(CUDNN_DATA_FLOAT, row_extents, row_strides);
  graph.reduction(CUDNN_REDUCE_TENSOR_ADD, powers, total);
  // The logarithm of the sum, which nobody reads: the library knows attention only by a graph that has it.
  const TensorId logarithm = graph.virtual_tensor(CUDNN_DATA_FLOAT, row_extents, row_strides);
  graph.pointwise(CUDNN_POINTWISE_LOG, total, std::nullopt, logarithm);
  const TensorId statistic = graph.virtual_tensor(CUDNN_DATA_FLOAT, row_extents, row_strides);
  graph.pointwise(CUDNN_POINTWISE_ADD, largest, logarithm, statistic);
  // The second product wants its first factor in the type of the values.
  const TensorId weights = scores(cudnn_type(q.dtype));
  graph.pointwise(CUDNN_POINTWISE_DIV, powers, total, weights);
  graph.matmul(weights, v_id, y_id);
  return bindings;
}

bool is_product_type(DType dtype) {
  return dtype == DType::kFloat16 || dtype == DType::kBfloat16 || dtype == DType::kFloat32;
}

}  // namespace

std::vector<std::string> cudnn_spellings(const Program& program, const Step& step) {
  const auto of_epilogue = [](const Epilogue& epilogue) -> std::vector<std::string> {
    const ActivationKind kind = epilogue.activation.kind;
    if (kind == ActivationKind::kNone || kind == ActivationKind::kRelu) return {"runtime", "fused", kBare};
    return {"fused", kBare};
  };
  if (const auto* conv = std::get_if<ConvStep>(&step.work)) {
    return is_product_type(program.value(conv->x).desc.dtype) ? of_epilogue(conv->epilogue)
                                                              : std::vector<std::string>{};
  }
  if (const auto* product = std::get_if<MatMulStep>(&step.work)) {
    return is_product_type(program.value(product->a).desc.dtype) ? std::vector<std::string>{"fused"}
                                                                 : std::vector<std::string>{};
  }
  if (std::holds_alternative<AttentionStep>(step.work)) return {"fused"};
  return {};
}

CudnnBindings describe_to_cudnn(CudnnGraph& graph, const Program& program, const Step& step,
                                const std::string& spelling) {
  const bool has_identity = spelling == "runtime";
  const bool is_bare = spelling == kBare && std::holds_alternative<ConvStep>(step.work);
  if (!has_identity && !is_bare && spelling != "fused") refuse("no spelling " + spelling);
  if (const auto* conv = std::get_if<ConvStep>(&step.work))
    return describe_conv(graph, program, *conv, has_identity, is_bare);
  if (const auto* product = std::get_if<MatMulStep>(&step.work)) {
    return describe_matmul(graph, program, *product, has_identity);
  }
  if (const auto* attention = std::get_if<AttentionStep>(&step.work)) {
    return describe_attention(graph, program, *attention);
  }
  refuse("no graph for this kind of step");
}

CudnnNumerics numerics_of(const Program& program, const Step& step) {
  CudnnNumerics numerics;
  for (const ValueId id : inputs_of(step)) {
    // A factor of 16 bits loses nothing on tensor cores; one of 32 would be rounded to TF32.
    if (id == inputs_of(step).front()) {
      numerics.allows_tensor_cores = program.value(id).desc.dtype != DType::kFloat32 || is_tf32(program, step);
    }
  }
  return numerics;
}

}  // namespace pajamas::cuda
