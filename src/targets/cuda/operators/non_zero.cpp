// NonZero: picks places in an order that ONNX fixes. The extent of its result is the one that the program gives it;
// columns past the real number of places are -1.
#include "targets/cuda/operators/operator_text.h"

namespace pajamas::cuda::operators {
namespace {

/// Elements that a block of NonZero counts.
constexpr std::int64_t kElementsABlock = 4 * kBlockSize;
constexpr std::int64_t kMaxNonZero = std::int64_t{1} << 24;

constexpr const char* kNonZeroCount = R"cuda(
  const long long first = ((long long)blockIdx.x * OP_THREADS + threadIdx.x) * 4;
  int own = 0, total;
  for (int i = 0; i < 4; ++i) own += first + i < OP_ELEMENTS && op_is_set(a0[first + i]) ? 1 : 0;
  op_scan<OP_THREADS>(own, total);
  if (threadIdx.x == 0) op_counts[blockIdx.x] = total;
)cuda";

constexpr const char* kNonZeroWrite = R"cuda(
  int before = 0, own = 0, earlier, total;
  for (int i = threadIdx.x; i < (int)blockIdx.x; i += OP_THREADS) before += op_counts[i];
  op_scan<OP_THREADS>(before, earlier);
  const long long first = ((long long)blockIdx.x * OP_THREADS + threadIdx.x) * 4;
  for (int i = 0; i < 4; ++i) own += first + i < OP_ELEMENTS && op_is_set(a0[first + i]) ? 1 : 0;
  long long at = earlier + op_scan<OP_THREADS>(own, total);
  for (int i = 0; i < 4; ++i) {
    if (first + i >= OP_ELEMENTS || !op_is_set(a0[first + i])) continue;
    if (at < OP_COLUMNS) op_store(y0, first + i, at);
    ++at;
  }
  if (blockIdx.x != OP_BLOCKS - 1) return;
  for (long long column = earlier + total + threadIdx.x; column < OP_COLUMNS; column += OP_THREADS) {
    for (int axis = 0; axis < OP_RANK; ++axis) y0[place0(axis * OP_COLUMNS + column)] = -1;
  }
)cuda";

}  // namespace

void write_non_zero(SourceWriter& writer) {
  const TensorDesc& x = writer.input(0);
  const std::int64_t count = x.extents.num_elements();
  const auto rank = static_cast<std::int64_t>(x.extents.rank());
  writer.require(rank > 0 && count <= kMaxNonZero, "NonZero of a scalar or of more than 2^24 elements");
  const std::int64_t num_blocks = std::max<std::int64_t>(1, (count + kElementsABlock - 1) / kElementsABlock);
  writer.define("OP_ELEMENTS", count);
  writer.define("OP_COLUMNS", writer.output(0).extents[1]);
  writer.define("OP_BLOCKS", num_blocks);
  writer.define("OP_RANK", rank);
  writer.add("#define OP_THREADS " + std::to_string(kBlockSize) + "\n");
  const std::string type = loops::memory_type_name(x.dtype);
  writer.add("__device__ inline bool op_is_set(" + type + " x) { return " + loops::load_text(x.dtype, "x") +
             " != 0; }\n__device__ inline void op_store(long long* y0, long long i, long long column) {\n");
  for (std::int64_t axis = rank; axis-- > 0;) {
    const std::string extent = SourceWriter::number(x.extents[static_cast<std::size_t>(axis)]);
    writer.add("  y0[place0(" + std::to_string(axis) + " * OP_COLUMNS + column)] = i % " + extent + "; i /= " + extent +
               ";\n");
  }
  writer.add("}\n");
  writer.add(block_scan());
  writer.add_workspace("op_counts", "int", num_blocks, 4);
  writer.add_block_kernel(kNonZeroCount, num_blocks, kBlockSize, true);
  writer.add_block_kernel(kNonZeroWrite, num_blocks, kBlockSize, true);
}

}  // namespace pajamas::cuda::operators
