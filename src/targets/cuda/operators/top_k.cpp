// TopK by counting: an element's place in the order is the number of elements before it. No two compare equal (of equal
// values the lower index comes first, as ONNX says), so places are unique, nothing needs a barrier between blocks and
// the result is the same every time. A warp counts for eight elements at once.
//
// Long axes go through a tournament: the first k of each chunk, then of the chunks' winners, until one chunk is left.
#include <algorithm>

#include "targets/cuda/operators/operator_text.h"

namespace pajamas::cuda::operators {
namespace {

/// Up to here all are compared with all: 12 µs of arithmetic on 132 multiprocessors.
constexpr std::int64_t kMaxDirect = 16384;
constexpr std::int64_t kMinChunk = 1024;
constexpr std::int64_t kWarpSize = 32;
constexpr std::int64_t kElementsAWarp = 8;
constexpr std::int64_t kElementsABlock = kBlockSize / kWarpSize * kElementsAWarp;
/// Of comparisons, about a tenth of a second.
constexpr double kMaxComparisons = 3e12;

/// Ascending keys for what comes first; NaN counts as the largest value.
std::string key_functions(const SourceWriter& writer, DType dtype, bool is_largest) {
  std::string key_type = "unsigned";
  std::string make;
  switch (dtype) {
    case DType::kFloat16:
    case DType::kBfloat16:
    case DType::kFloat32:
      make = "  union { float value; unsigned bits; } u;\n  u.value = " + loops::load_text(dtype, "x") +
             ";\n  if (u.value != u.value) u.bits = 0xffffffffu;\n"
             "  else if (u.value == 0.0f) u.bits = 0x80000000u;\n"
             "  else u.bits = u.bits >> 31 ? ~u.bits : u.bits | 0x80000000u;\n  key = u.bits;\n";
      break;
    case DType::kFloat64:
      key_type = "unsigned long long";
      make =
          "  union { double value; unsigned long long bits; } u;\n  u.value = x;\n"
          "  if (u.value != u.value) u.bits = ~0ull;\n  else if (u.value == 0.0) u.bits = 1ull << 63;\n"
          "  else u.bits = u.bits >> 63 ? ~u.bits : u.bits | 1ull << 63;\n  key = u.bits;\n";
      break;
    case DType::kInt8:
    case DType::kInt16:
    case DType::kInt32: make = "  key = (unsigned)(int)x ^ 0x80000000u;\n"; break;
    case DType::kUint8:
    case DType::kUint16:
    case DType::kUint32: make = "  key = (unsigned)x;\n"; break;
    case DType::kInt64:
      key_type = "unsigned long long";
      make = "  key = (unsigned long long)x ^ 1ull << 63;\n";
      break;
    case DType::kUint64:
      key_type = "unsigned long long";
      make = "  key = (unsigned long long)x;\n";
      break;
    default: writer.unsupported(std::string("values of type ") + to_string(dtype));
  }
  return "typedef " + key_type + " op_key;\n__device__ inline op_key op_key_of(" + loops::memory_type_name(dtype) +
         " x) {\n  op_key key;\n" + make + "  return " + (is_largest ? "~key" : "key") + ";\n}\n";
}

/// Counts, for the elements from `first` on of one chunk, the entries of the chunk that come before each. An entry is a
/// position along the axis: `list[i]`, or i where there is no list.
constexpr const char* kCount = R"cuda(
template <bool has_list, typename T>
__device__ inline void op_count(const T* x, const unsigned* list, long long start, long long count, long long first,
                                unsigned* positions, int* places) {
  op_key keys[OP_EACH];
  for (int e = 0; e < OP_EACH; ++e) {
    const long long own = first + e < count ? first + e : count - 1;
    positions[e] = has_list ? list[start + own] : (unsigned)(start + own);
    keys[e] = op_key_of(x[positions[e] * OP_INNER]);
    places[e] = 0;
  }
  for (long long i = threadIdx.x % 32; i < count; i += 32) {
    const unsigned position = has_list ? list[start + i] : (unsigned)(start + i);
    const op_key key = op_key_of(x[position * OP_INNER]);
    for (int e = 0; e < OP_EACH; ++e) {
      places[e] += key < keys[e] || (key == keys[e] && position < positions[e]) ? 1 : 0;
    }
  }
  for (int e = 0; e < OP_EACH; ++e) {
    for (int step = 16; step > 0; step /= 2) places[e] += __shfl_xor_sync(0xffffffffu, places[e], step);
  }
}
)cuda";

/// Which warp this is among all, and what it counts for: row, chunk and first element.
std::string warp_text(std::int64_t chunk, std::int64_t num_chunks, std::int64_t count) {
  const std::int64_t warps_a_chunk = (chunk + kElementsAWarp - 1) / kElementsAWarp;
  const auto number = SourceWriter::number;
  return "  const long long warp = ((long long)blockIdx.x * " + number(kBlockSize) +
         " + threadIdx.x) / 32;\n  const long long row = warp / " + number(warps_a_chunk * num_chunks) +
         ";\n  if (row >= OP_ROWS) return;\n  const long long chunk = warp / " + number(warps_a_chunk) + " % " +
         number(num_chunks) + ";\n  const long long first = warp % " + number(warps_a_chunk) +
         " * OP_EACH;\n  const long long start = chunk * " + number(chunk) +
         ";\n  const long long count = " + number(count) + " - start < " + number(chunk) + " ? " + number(count) +
         " - start : " + number(chunk) + ";\n  if (first >= count) return;\n" +
         "  unsigned positions[OP_EACH];\n  int places[OP_EACH];\n"
         "  const auto* x = a0 + row / OP_INNER * OP_EXTENT * OP_INNER + row % OP_INNER;\n";
}

std::int64_t blocks_for(std::int64_t rows, std::int64_t num_chunks, std::int64_t chunk) {
  const std::int64_t warps = rows * num_chunks * ((chunk + kElementsAWarp - 1) / kElementsAWarp);
  return (warps * kWarpSize + kBlockSize - 1) / kBlockSize;
}

}  // namespace

void write_top_k(SourceWriter& writer) {
  const TensorDesc& x = writer.input(0);
  writer.require(x.extents.rank() > 0, "a scalar");
  const std::size_t axis = axis_of(writer, writer.node().int_attribute("axis", -1), x.extents.rank());
  const Split split = split_at(x.extents, axis);
  const std::size_t any = writer.has_output(0) ? 0 : 1;
  const std::int64_t k = writer.output(any).extents[axis];
  const std::int64_t rows = split.outer * split.inner;
  writer.require(k <= split.extent, "k is past the axis");
  writer.require(split.extent < (std::int64_t{1} << 31), "an axis of more than 2^31 elements");
  writer.define("OP_ROWS", rows);
  writer.define("OP_EXTENT", split.extent);
  writer.define("OP_INNER", split.inner);
  writer.add("#define OP_EACH " + std::to_string(kElementsAWarp) + "\n");
  writer.add(key_functions(writer, x.dtype, writer.node().int_attribute("largest", 1) != 0));
  writer.add(kCount);

  const std::int64_t chunk = std::max(kMinChunk, (2 * k + kElementsABlock - 1) / kElementsABlock * kElementsABlock);
  const bool is_direct = split.extent <= std::max(kMaxDirect, chunk);
  const double compared = is_direct ? static_cast<double>(split.extent) : 2 * static_cast<double>(chunk);
  writer.require(static_cast<double>(rows) * static_cast<double>(split.extent) * compared < kMaxComparisons,
                 "so many elements of so long an axis");
  std::int64_t count = split.extent;
  std::string list;
  if (!is_direct) {
    const std::int64_t most = (count + chunk - 1) / chunk * k;
    writer.add_workspace("op_list0", "unsigned", rows * most, 4);
    writer.add_workspace("op_list1", "unsigned", rows * ((most + chunk - 1) / chunk) * k, 4);
  }
  for (int round = 0; !is_direct && count > chunk; ++round) {
    const std::int64_t num_chunks = (count + chunk - 1) / chunk;
    const std::int64_t last = count - (num_chunks - 1) * chunk;
    const std::int64_t kept = (num_chunks - 1) * k + std::min(last, k);
    const std::string to = "op_list" + std::to_string(round % 2);
    const auto number = SourceWriter::number;
    writer.add_block_kernel(warp_text(chunk, num_chunks, count) + "  op_count<" + (list.empty() ? "false" : "true") +
                                ">(x, " + (list.empty() ? "(const unsigned*)0" : list + " + row * " + number(count)) +
                                ", start, count, first, positions, places);\n"
                                "  for (int e = threadIdx.x % 32; e < OP_EACH; e += 32) {\n"
                                "    if (first + e < count && places[e] < " +
                                number(k) + ") " + to + "[row * " + number(kept) + " + chunk * " + number(k) +
                                " + places[e]] = positions[e];\n  }\n",
                            blocks_for(rows, num_chunks, chunk), kBlockSize, true);
    list = to;
    count = kept;
  }
  std::string store = "      const long long to = (row / OP_INNER * " + SourceWriter::number(k) +
                      " + places[e]) * OP_INNER + row % OP_INNER;\n";
  if (writer.has_output(0)) store += "      y0[place0(to)] = x[positions[e] * OP_INNER];\n";
  if (writer.has_output(1)) store += "      y1[place1(to)] = positions[e];\n";
  writer.add_block_kernel(warp_text(count, 1, count) + "  op_count<" + (list.empty() ? "false" : "true") + ">(x, " +
                              (list.empty() ? "(const unsigned*)0" : list + " + row * " + SourceWriter::number(count)) +
                              ", start, count, first, positions, places);\n"
                              "  for (int e = threadIdx.x % 32; e < OP_EACH; e += 32) {\n"
                              "    if (first + e < count && places[e] < " +
                              SourceWriter::number(k) + ") {\n" + store + "    }\n  }\n",
                          blocks_for(rows, 1, count), kBlockSize, true);
}

}  // namespace pajamas::cuda::operators
