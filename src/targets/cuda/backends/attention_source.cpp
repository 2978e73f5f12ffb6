// See attention_source.h.
#include "targets/cuda/backends/attention_source.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "pajamas/error.h"
#include "targets/cuda/backends/activation_source.h"
#include "targets/cuda/backends/attention_kernel.h"
#include "targets/cuda/backends/device_numbers.h"
#include "targets/cuda/backends/tensor_core_steps.h"
#include "targets/cuda/backends/warpgroup_kernel.h"
#include "targets/cuda/backends/wgmma_text.h"

namespace pajamas::cuda {
namespace {

constexpr std::int64_t kGroupRowsBytes = 8192;  ///< 64 rows of 64 columns: queries, and what results go through.
constexpr std::int64_t kVector = 8;             ///< Elements in 16 bytes: what addresses and strides divide by.
constexpr std::int64_t kMaxStride = std::int64_t{1} << 38;  ///< In elements; the copy engine takes 2^40 bytes.

/// An operand of four axes, by strides: [batch, heads, rows, columns], columns side by side.
struct Heads {
  ValueId value = -1;
  std::int64_t batch = 1, num_heads = 1, num_rows = 1;
  std::int64_t batch_stride = 0, head_stride = 0, row_stride = 0;
};

std::optional<Heads> heads_of(const Program& program, ValueId id, DType dtype, std::int64_t head_dim) {
  const Value& value = program.value(id);
  const TensorDesc& desc = value.desc;
  if (desc.dtype != dtype || desc.extents.rank() != 4 || desc.extents[3] != head_dim || desc.strides[3] != 1)
    return std::nullopt;
  if (value.offset_elements % kVector != 0) return std::nullopt;
  Heads heads{id, desc.extents[0], desc.extents[1], desc.extents[2], desc.strides[0], desc.strides[1], desc.strides[2]};
  std::int64_t span = (head_dim + kVector - 1) / kVector * kVector;
  for (const std::size_t axis : {0, 1, 2}) {
    const std::int64_t extent = desc.extents[axis], stride = desc.strides[axis];
    if (extent < 1 || extent > INT32_MAX / 2) return std::nullopt;
    if (extent == 1) continue;
    if (stride <= 0 || stride % kVector != 0 || stride > kMaxStride / extent) return std::nullopt;
    span = std::max(span, extent * stride);
  }
  // An axis of one has any stride; the copy engine wants one that leaves room.
  if (heads.batch == 1) heads.batch_stride = span;
  if (heads.num_heads == 1) heads.head_stride = span;
  if (heads.num_rows == 1) heads.row_stride = span;
  return heads;
}

struct Attention {
  Heads q, k, v, y;
  std::int64_t head_dim = 0;
  float scale = 1;
  DType dtype = DType::kFloat16;
  bool is_bfloat() const { return dtype == DType::kBfloat16; }
};

/// The step as these kernels compute it; nothing for others.
std::optional<Attention> attention_of(const Program& program, const Step& step) {
  const auto* work = std::get_if<AttentionStep>(&step.work);
  if (work == nullptr || work->mask || work->is_causal) return std::nullopt;
  // The largest score is looked for before it is scaled.
  if (!std::isfinite(work->scale) || work->scale <= 0) return std::nullopt;
  const TensorDesc& desc = program.value(work->q).desc;
  if (!is_half(desc.dtype)) return std::nullopt;
  if (desc.extents.rank() != 4) return std::nullopt;
  const std::int64_t head_dim = desc.extents[3];
  if (head_dim < kVector || head_dim % kVector != 0 || head_dim > 128) return std::nullopt;
  const auto q = heads_of(program, work->q, desc.dtype, head_dim);
  const auto k = heads_of(program, work->k, desc.dtype, head_dim);
  const auto v = heads_of(program, work->v, desc.dtype, head_dim);
  const auto y = heads_of(program, work->y, desc.dtype, head_dim);
  if (!q || !k || !v || !y) return std::nullopt;
  if (k->batch != q->batch || v->batch != q->batch || v->num_heads != k->num_heads || v->num_rows != k->num_rows)
    return std::nullopt;
  if (q->num_heads % k->num_heads != 0) return std::nullopt;
  if (q->batch > INT32_MAX / 2 / q->num_heads / ceil_div(q->num_rows, 64)) return std::nullopt;
  return Attention{*q, *k, *v, *y, head_dim, work->scale, desc.dtype};
}

std::int64_t num_panels(const Attention& attention) { return ceil_div(attention.head_dim, 64); }
/// Columns of the product with the values: what the instruction takes.
std::int64_t value_columns(const Attention& attention) { return attention.head_dim > 64 ? 128 : attention.head_dim; }
std::int64_t num_blocks(const Attention& attention, const AttentionShape& shape) {
  return ceil_div(attention.k.num_rows, shape.keys);
}

std::int64_t shared_bytes(const Attention& attention, const AttentionShape& shape) {
  const std::int64_t panels = num_panels(attention);
  const std::int64_t places = shape.stages * (panels * shape.keys * 128 + 16);
  // Twice the queries and the staging; it all begins at a multiple of 1,024, wherever shared memory does.
  return 1024 + shape.groups * ((2 * panels + 1) * kGroupRowsBytes + 32) + places;
}

/// Registers a thread has: those that fetch keep few. 0: all have what the launch gives.
struct Budget {
  std::int32_t fetcher = 0, group = 0;
};
Budget budget_of(const AttentionShape& shape) {
  if (shape.groups == 2) return {40, 232};  // 3 x 168 = 40 + 2 x 232
  if (shape.groups == 3) return {32, 160};  // 4 x 128 = 32 + 3 x 160
  return {};
}

/// Registers of a thread: scores, weights, sums, queries, and some 30 for addresses and the rest. One too few, and the
/// compiler waits after every product.
std::int64_t num_registers(const Attention& attention, const AttentionShape& shape) {
  const std::int64_t scores = shape.keys / 2, weights = shape.keys / 4, sums = value_columns(attention) / 2;
  // With one block, weights take the place of scores.
  const std::int64_t numbers = num_blocks(attention, shape) > 1 ? scores + weights + sums : scores + sums;
  return numbers + (shape.has_q_in_registers ? ceil_div(attention.head_dim, 16) * 4 : 0) + 30;
}

bool fits(const Attention& attention, const AttentionShape& shape) {
  if (shape.groups < 1 || shape.groups > 3 || shape.keys < 32 || shape.keys > 256 || shape.keys % 16 != 0) return false;
  if (shape.stages < 2 || shape.stages > 8 || shared_bytes(attention, shape) > kMaxSharedBytes) return false;
  const Budget budget = budget_of(shape);
  return num_registers(attention, shape) <= (budget.group == 0 ? 255 : budget.group);
}

std::int64_t num_items(const Attention& attention, const AttentionShape& shape) {
  return attention.q.batch * attention.q.num_heads * ceil_div(attention.q.num_rows, shape.groups * 64);
}

/// A rough time in cycles: for the order in which shapes are tried, no more.
double guess(const Attention& attention, const AttentionShape& shape, int num_multiprocessors) {
  const auto rounds = static_cast<double>(ceil_div(num_items(attention, shape), std::max(1, num_multiprocessors)));
  // A warpgroup alone has its powers and its products behind each other; several share the units. Measured on an H200:
  // heads of 64 at half of the dense rate.
  const double scores = 64.0 * shape.keys, head_dim = static_cast<double>(attention.head_dim);
  const double alone = scores * (head_dim / 1024 + 1.0 / 12) + 300;
  const double shared = scores * (head_dim / 1024 + 1.0 / 16) * 0.8 + 60;
  const double block = std::max(alone, shape.groups * shared);
  return rounds * (static_cast<double>(num_blocks(attention, shape)) * block + 1500) *
         (shape.has_q_in_registers ? 0.98 : 1);
}

/// The boxes of an operand, and where their coordinates stand: "row, head, batch" by ascending stride.
MatrixBoxes boxes_of(const Heads& heads, const Attention& attention, std::int32_t num_rows, std::string& order) {
  struct Named {
    MatrixBoxes::Axis axis;
    const char* name;
  };
  std::array<Named, 3> axes{{{{heads.num_heads, heads.head_stride, 1}, "head"},
                             {{heads.num_rows, heads.row_stride, num_rows}, "row"},
                             {{heads.batch, heads.batch_stride, 1}, "batch"}}};
  std::stable_sort(axes.begin(), axes.end(),
                   [](const Named& a, const Named& b) { return a.axis.stride < b.axis.stride; });
  MatrixBoxes boxes;
  boxes.value = heads.value;
  boxes.is_bfloat = attention.is_bfloat();
  boxes.columns = attention.head_dim;
  boxes.box_columns = 64;
  order.clear();
  for (const Named& named : axes) {
    boxes.axes.push_back(named.axis);
    order += (order.empty() ? "" : ", ") + std::string(named.name);
  }
  return boxes;
}

}  // namespace

std::string AttentionShape::to_string() const {
  return std::to_string(groups) + "x" + std::to_string(keys) + "s" + std::to_string(stages) + "q" +
         (has_q_in_registers ? "1" : "0");
}

std::optional<AttentionShape> parse_attention_shape(const std::string& text) {
  AttentionShape shape;
  std::int32_t has_q_in_registers = 0;
  int end = 0;
  if (text.size() > 40 || std::sscanf(text.c_str(), "%4dx%4ds%2dq%1d%n", &shape.groups, &shape.keys, &shape.stages,
                                      &has_q_in_registers, &end) != 4) {
    return std::nullopt;
  }
  shape.has_q_in_registers = has_q_in_registers == 1;
  if (static_cast<std::size_t>(end) != text.size() || shape.to_string() != text) return std::nullopt;
  return shape;
}

std::vector<AttentionShape> attention_shapes(const Program& program, const Step& step, int sm,
                                             int num_multiprocessors) {
  const auto attention = sm == 90 ? attention_of(program, step) : std::nullopt;
  if (!attention) return {};
  std::vector<std::pair<double, AttentionShape>> found;
  const auto add = [&](AttentionShape shape) {
    // Places for two blocks and their values, and for those of one more item where an item has but one.
    shape.stages = 4;
    while (shape.stages > 2 && !fits(*attention, shape)) --shape.stages;
    if (fits(*attention, shape)) found.emplace_back(guess(*attention, shape, num_multiprocessors), shape);
  };
  const std::int64_t kv_len = attention->k.num_rows;
  if (kv_len <= 256) {
    const auto keys = static_cast<std::int32_t>(std::max<std::int64_t>(32, ceil_div(kv_len, 16) * 16));
    for (const std::int32_t groups : {1, 2, 3}) {
      for (const bool has_q : {false, true}) add({.groups = groups, .keys = keys, .has_q_in_registers = has_q});
    }
  } else {
    for (const std::int32_t keys : {64, 96, 128, 160, 192}) {
      // Queries stay in registers where there is room.
      for (const std::int32_t groups : {1, 2, 3}) {
        AttentionShape shape{.groups = groups, .keys = keys, .stages = 2, .has_q_in_registers = true};
        shape.has_q_in_registers = fits(*attention, shape);
        add(shape);
      }
    }
  }
  std::stable_sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<AttentionShape> shapes;
  for (const auto& [time, shape] : found) shapes.push_back(shape);
  return shapes;
}

KernelSource make_attention_source(const Program& program, const Step& step, const AttentionShape& shape,
                                   int num_multiprocessors, const char* device_text) {
  const auto attention = attention_of(program, step);
  if (!attention || !fits(*attention, shape)) {
    throw Error(ErrorKind::kUnsupported, "no attention kernel " + shape.to_string() + " for this step");
  }
  const std::int64_t grid = std::min<std::int64_t>(num_items(*attention, shape), std::max(1, num_multiprocessors));
  const Budget budget = budget_of(shape);
  KernelSource result;
  std::string q_order, k_order, v_order;
  result.boxes = {boxes_of(attention->q, *attention, 64, q_order),
                  boxes_of(attention->k, *attention, shape.keys, k_order),
                  boxes_of(attention->v, *attention, shape.keys, v_order)};
  result.arguments = {attention->y.value};
  result.grid[0] = static_cast<std::uint32_t>(grid);
  result.block_size = static_cast<std::uint32_t>((shape.groups + 1) * 128);
  result.shared_bytes = static_cast<std::uint32_t>(shared_bytes(*attention, shape));
  result.entry = "attention";

  std::string& text = result.source;
  const auto define = [&](const char* name, const std::string& value) {
    text += std::string("#define ") + name + " " + value + "\n";
  };
  const auto number = [&](const char* name, std::int64_t value) { define(name, std::to_string(value)); };
  number("kBatch", attention->q.batch);
  number("kNumHeads", attention->q.num_heads);
  number("kHeadsOfKv", attention->q.num_heads / attention->k.num_heads);
  number("kSeqLen", attention->q.num_rows);
  number("kKvLen", attention->k.num_rows);
  number("kHeadDim", attention->head_dim);
  number("kValueColumns", value_columns(*attention));
  number("kYBatchStride", attention->y.batch_stride);
  number("kYHeadStride", attention->y.head_stride);
  number("kYRowStride", attention->y.row_stride);
  number("kGroups", shape.groups);
  number("kKeys", shape.keys);
  number("kBlocksOfKeys", num_blocks(*attention, shape));
  number("kStages", shape.stages);
  number("kHasQInRegisters", shape.has_q_in_registers ? 1 : 0);
  number("kThreads", result.block_size);
  number("kGrid", grid);
  number("kHasBudget", budget.group == 0 ? 0 : 1);
  number("kFetcherRegisters", budget.fetcher);
  number("kGroupRegisters", budget.group);
  number("kIsBfloat", attention->is_bfloat() ? 1 : 0);
  number("kCluster", 1);
  define("kFactor", float_literal(static_cast<float>(static_cast<double>(attention->scale) * 1.4426950408889634)));
  define("PLACE_IN_Q(row, head, batch)", q_order);
  define("PLACE_IN_K(row, head, batch)", k_order);
  define("PLACE_IN_V(row, head, batch)", v_order);
  if (device_text != nullptr) {
    text += device_text;
  } else {
    text += device_numbers_text();
    text += warpgroup_device_text();
    text += attention_device_text();
    text += wgmma_text({"multiply_scores", shape.keys, attention->dtype, shape.has_q_in_registers, true});
    text += wgmma_text({"multiply_weights", value_columns(*attention), attention->dtype, true, false});
  }
  text += wgmma_operand_text();
  text += attention_kernel_text();
  return result;
}

}  // namespace pajamas::cuda
