// NonZero and NonMaxSuppression: operators that pick some of their inputs, in an order that ONNX fixes. The extents of
// their results are those that the program gives them; rows past the real number of results are -1.
#include "targets/cuda/operators/operator_text.h"

namespace pajamas::cuda::operators {
namespace {

/// Of NonMaxSuppression: one block a batch item and class.
constexpr std::int64_t kSuppressionThreads = 512;
/// Elements that a block of NonZero counts.
constexpr std::int64_t kElementsABlock = 4 * kBlockSize;
constexpr std::int64_t kMaxNonZero = std::int64_t{1} << 24;

/// Every thread of a block calls it; the sum over the threads before this one, and over all of them.
constexpr const char* kScan = R"cuda(
template <int threads> __device__ inline int op_scan(int own, int& total) {
  __shared__ int sums[2][threads];
  int from = 0;
  __syncthreads();
  sums[0][threadIdx.x] = own;
  __syncthreads();
  for (int step = 1; step < threads; step *= 2) {
    int sum = sums[from][threadIdx.x];
    if ((int)threadIdx.x >= step) sum += sums[from][threadIdx.x - step];
    sums[1 - from][threadIdx.x] = sum;
    from = 1 - from;
    __syncthreads();
  }
  total = sums[from][threads - 1];
  return sums[from][threadIdx.x] - own;
}
)cuda";

constexpr const char* kBoxes = R"cuda(
struct op_box { float y1, x1, y2, x2; };
__device__ inline op_box op_box_at(const float* boxes, long long i) {
  const float* b = boxes + i * 4;
  op_box box;
  if (OP_IS_CENTERED) {
    box.y1 = b[1] - b[3] / 2; box.x1 = b[0] - b[2] / 2; box.y2 = b[1] + b[3] / 2; box.x2 = b[0] + b[2] / 2;
  } else {
    box.y1 = b[0] < b[2] ? b[0] : b[2]; box.x1 = b[1] < b[3] ? b[1] : b[3];
    box.y2 = b[0] < b[2] ? b[2] : b[0]; box.x2 = b[1] < b[3] ? b[3] : b[1];
  }
  return box;
}
/// Whether the shared part of the area of both is more than the threshold.
__device__ inline bool op_is_hidden(const op_box& a, const op_box& b, float threshold) {
  const float height = (a.y2 < b.y2 ? a.y2 : b.y2) - (a.y1 > b.y1 ? a.y1 : b.y1);
  const float width = (a.x2 < b.x2 ? a.x2 : b.x2) - (a.x1 > b.x1 ? a.x1 : b.x1);
  if (height <= 0 || width <= 0) return 0 > threshold;
  const float shared = height * width;
  const float area_a = (a.y2 - a.y1) * (a.x2 - a.x1), area_b = (b.y2 - b.y1) * (b.x2 - b.x1);
  return shared / (area_a + area_b - shared) > threshold;
}
)cuda";

/// Candidates in the order of their boxes, then of their scores (of equal ones the earlier box first); then the first
/// that is left hides what overlaps it, until none is left.
constexpr const char* kSuppression = R"cuda(
  const float* boxes = a0 + blockIdx.x / OP_CLASSES * OP_BOXES * 4;
  const float* scores = a1 + (long long)blockIdx.x * OP_BOXES;
  int* found = op_found + (long long)blockIdx.x * OP_BOXES;
  int* sorted = op_sorted + (long long)blockIdx.x * OP_BOXES;
  __shared__ int num_kept;
  int count = 0;
  for (long long start = 0; start < OP_BOXES; start += OP_THREADS) {
    const long long i = start + threadIdx.x;
    const bool is_candidate = i < OP_BOXES && scores[i] > OP_SCORE_THRESHOLD;
    int total;
    const int before = op_scan<OP_THREADS>(is_candidate ? 1 : 0, total);
    if (is_candidate) found[count + before] = (int)i;
    count += total;
  }
  __syncthreads();
  for (int i = threadIdx.x; i < count; i += OP_THREADS) {
    const int own = found[i];
    const float score = scores[own];
    int place = 0;
    for (int k = 0; k < count; ++k) {
      const float other = scores[found[k]];
      place += other > score || (other == score && found[k] < own) ? 1 : 0;
    }
    sorted[place] = own;
  }
  const long long most = OP_MAX_PER_CLASS;
  if (threadIdx.x == 0) num_kept = 0;
  __syncthreads();
  // `sorted` holds -1 - i for a box i that is hidden; `found` becomes the list of those kept.
  for (int i = 0; i < count; ++i) {
    const int best = sorted[i];
    const int kept = num_kept;
    if (kept >= most) break;
    __syncthreads();
    if (best < 0) continue;
    if (threadIdx.x == 0) {
      found[kept] = best;
      num_kept = kept + 1;
    }
    const op_box box = op_box_at(boxes, best);
    for (int k = i + 1 + (int)threadIdx.x; k < count; k += OP_THREADS) {
      if (sorted[k] >= 0 && op_is_hidden(box, op_box_at(boxes, sorted[k]), OP_IOU_THRESHOLD)) sorted[k] = -1 - sorted[k];
    }
    __syncthreads();
  }
  __syncthreads();
  if (threadIdx.x == 0) op_counts[blockIdx.x] = num_kept;
)cuda";

constexpr const char* kSuppressionRows = R"cuda(
  long long rest = self, list = 0;
  while (list < OP_LISTS && rest >= op_counts[list]) rest -= op_counts[list++];
  const bool is_row = list < OP_LISTS;
  y0[place0(self * 3)] = is_row ? list / OP_CLASSES : -1;
  y0[place0(self * 3 + 1)] = is_row ? list % OP_CLASSES : -1;
  y0[place0(self * 3 + 2)] = is_row ? op_found[list * OP_BOXES + rest] : -1;
)cuda";

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

void write_non_max_suppression(SourceWriter& writer) {
  const Shape& boxes = writer.input(0).extents;
  const Shape& scores = writer.input(1).extents;
  writer.require(
      boxes.rank() == 3 && scores.rank() == 3 && boxes[2] == 4 && boxes[0] == scores[0] && boxes[1] == scores[2],
      "boxes [batch, boxes, 4] and scores [batch, classes, boxes] are wanted");
  writer.require(writer.input(0).dtype == DType::kFloat32 && writer.input(1).dtype == DType::kFloat32,
                 "boxes and scores that are not float32");
  const std::int64_t num_lists = scores[0] * scores[1];
  writer.require(boxes[1] < (std::int64_t{1} << 30), "more than 2^30 boxes");
  writer.define("OP_CLASSES", scores[1]);
  writer.define("OP_LISTS", num_lists);
  writer.define("OP_BOXES", boxes[1]);
  writer.add("#define OP_THREADS " + std::to_string(kSuppressionThreads) + "\n");
  writer.define("OP_IS_CENTERED", writer.node().int_attribute("center_point_box", 0) != 0 ? 1 : 0);
  // Numbers of the model where it knows them, of a value otherwise.
  const auto number = [&](std::size_t input, DType dtype, const char* absent) {
    const Tensor* known = writer.constant(input);
    if (known != nullptr && known->dtype() == dtype && known->num_elements() == 1) {
      return dtype == DType::kInt64 ? SourceWriter::number(known->as<std::int64_t>()[0])
                                    : loops::literal(dtype, static_cast<double>(known->as<float>()[0]), 0);
    }
    if (!writer.has_input(input)) return std::string(absent);
    return (dtype == DType::kInt64 ? "(long long)a" : "a") + std::to_string(input) + "[0]";
  };
  writer.add("#define OP_MAX_PER_CLASS " + number(2, DType::kInt64, "0LL") + "\n#define OP_IOU_THRESHOLD " +
             number(3, DType::kFloat32, "0.0f") + "\n#define OP_SCORE_THRESHOLD " +
             number(4, DType::kFloat32, "(-lp_f32_infinity())") + "\n");
  writer.add(kScan);
  writer.add(kBoxes);
  writer.add_workspace("op_found", "int", num_lists * boxes[1], 4);
  writer.add_workspace("op_sorted", "int", num_lists * boxes[1], 4);
  writer.add_workspace("op_counts", "int", num_lists, 4);
  writer.add_block_kernel(kSuppression, num_lists, kSuppressionThreads, true);
  writer.add_kernel(kSuppressionRows, writer.output(0).extents[0]);
}

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
  writer.add(kScan);
  writer.add_workspace("op_counts", "int", num_blocks, 4);
  writer.add_block_kernel(kNonZeroCount, num_blocks, kBlockSize, true);
  writer.add_block_kernel(kNonZeroWrite, num_blocks, kBlockSize, true);
}

}  // namespace pajamas::cuda::operators
