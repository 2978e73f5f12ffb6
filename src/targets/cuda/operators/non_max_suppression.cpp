// NonMaxSuppression, in an order that ONNX fixes: candidates of each list (a batch item and class) are put together and
// ordered by counting; which hides which is found for all pairs at once, 64 to a word, and the list is then walked word
// by word. Work goes with the number of candidates, not of boxes. Rows past the real number of results are -1.
#include "targets/cuda/operators/operator_text.h"

namespace pajamas::cuda::operators {
namespace {

constexpr std::int64_t kCompactThreads = 512;
constexpr std::int64_t kWordBoxes = 64;
/// Beyond, pairs are looked at as the list is walked: one block a list, which is slower and needs no memory.
constexpr double kMaxMaskBytes = 64 << 20;

constexpr const char* kBoxes = R"cuda(
struct alignas(16) op_box { float y1, x1, y2, x2; };
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
__device__ inline int op_count_bits(unsigned long long bits) {
  bits -= bits >> 1 & 0x5555555555555555ULL;
  bits = (bits & 0x3333333333333333ULL) + (bits >> 2 & 0x3333333333333333ULL);
  return (int)(((bits + (bits >> 4)) & 0x0f0f0f0f0f0f0f0fULL) * 0x0101010101010101ULL >> 56);
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

/// Candidates in the order of their boxes, with their scores.
constexpr const char* kCandidates = R"cuda(
  const float* scores = a1 + (long long)blockIdx.x * OP_BOXES;
  const long long list = (long long)blockIdx.x * OP_BOXES;
  int count = 0;
  for (long long start = 0; start < OP_BOXES; start += OP_COMPACT_THREADS * 4) {
    const long long first = start + threadIdx.x * 4;
    bool is_candidate[4];
    int own = 0, total;
    for (int e = 0; e < 4; ++e) {
      is_candidate[e] = first + e < OP_BOXES && scores[first + e] > OP_SCORE_THRESHOLD;
      own += is_candidate[e] ? 1 : 0;
    }
    int at = count + op_scan<OP_COMPACT_THREADS>(own, total);
    for (int e = 0; e < 4; ++e) {
      if (!is_candidate[e]) continue;
      op_found[list + at] = (int)(first + e);
      op_scores[list + at] = scores[first + e];
      ++at;
    }
    count += total;
  }
  if (threadIdx.x == 0) op_candidates[blockIdx.x] = count;
)cuda";

/// By scores, of equal ones the earlier box first.
constexpr const char* kOrder = R"cuda(
  __shared__ float tile[OP_THREADS];
  const long long list = blockIdx.x / OP_ORDER_BLOCKS;
  const int count = op_candidates[list];
  const int first = (int)(blockIdx.x % OP_ORDER_BLOCKS) * OP_THREADS;
  if (first >= count) return;
  const int own = first + (int)threadIdx.x;
  const float* scores = op_scores + list * OP_BOXES;
  const float score = own < count ? scores[own] : 0;
  int place = 0;
  for (int start = 0; start < count; start += OP_THREADS) {
    __syncthreads();
    tile[threadIdx.x] = start + (int)threadIdx.x < count ? scores[start + (int)threadIdx.x] : 0;
    __syncthreads();
    const int size = count - start < OP_THREADS ? count - start : OP_THREADS;
    for (int k = 0; k < size; ++k) place += tile[k] > score || (tile[k] == score && start + k < own) ? 1 : 0;
  }
  if (own >= count) return;
  const int box = op_found[list * OP_BOXES + own];
  op_sorted[list * OP_BOXES + place] = box;
  op_sorted_boxes[list * OP_BOXES + place] = op_box_at(a0 + list / OP_CLASSES * OP_BOXES * 4, box);
)cuda";

constexpr const char* kShow = "  op_hidden[list * OP_BOXES + place] = 0;\n";

/// Bit k of word w of candidate i: i hides candidate 64 w + k, which comes later.
constexpr const char* kMasks = R"cuda(
  __shared__ op_box tile[64];
  const long long list = blockIdx.x / (OP_ORDER_BLOCKS * OP_WORDS);
  const int count = op_candidates[list];
  const int first = (int)(blockIdx.x / OP_WORDS % OP_ORDER_BLOCKS) * OP_THREADS;
  const int word = (int)(blockIdx.x % OP_WORDS);
  if (first >= count || word * 64 >= count || word * 64 + 63 < first) return;
  const op_box* boxes = op_sorted_boxes + list * OP_BOXES;
  if (threadIdx.x < 64 && word * 64 + (int)threadIdx.x < count) tile[threadIdx.x] = boxes[word * 64 + (int)threadIdx.x];
  __syncthreads();
  const int own = first + (int)threadIdx.x;
  if (own >= count || word < own / 64) return;
  const op_box box = boxes[own];
  unsigned long long mask = 0;
  for (int k = 0; k < 64; ++k) {
    const int other = word * 64 + k;
    if (other > own && other < count && op_is_hidden(box, tile[k], OP_IOU_THRESHOLD)) mask |= 1ULL << k;
  }
  op_masks[(list * OP_BOXES + own) * OP_WORDS + word] = mask;
)cuda";

/// `op_found` becomes the list of the boxes kept.
constexpr const char* kKeepByMasks = R"cuda(
  __shared__ unsigned long long hidden[OP_WORDS];
  __shared__ unsigned long long within[64];
  __shared__ unsigned long long kept_bits;
  __shared__ int num_kept;
  const long long list = (long long)blockIdx.x * OP_BOXES;
  const int count = op_candidates[blockIdx.x];
  const long long most = OP_MAX_PER_CLASS;
  for (int w = threadIdx.x; w < OP_WORDS; w += OP_THREADS) hidden[w] = 0;
  if (threadIdx.x == 0) num_kept = 0;
  for (int w = 0; w * 64 < count; ++w) {
    if (threadIdx.x < 64 && w * 64 + (int)threadIdx.x < count) {
      within[threadIdx.x] = op_masks[(list + w * 64 + (int)threadIdx.x) * OP_WORDS + w];
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      unsigned long long gone = hidden[w], kept = 0;
      int total = num_kept;
      for (int k = 0; k < 64 && w * 64 + k < count && total < most; ++k) {
        if (gone >> k & 1) continue;
        kept |= 1ULL << k;
        gone |= within[k];
        ++total;
      }
      kept_bits = kept;
      num_kept = total;
    }
    __syncthreads();
    const unsigned long long kept = kept_bits;
    if (threadIdx.x < 64 && (kept >> threadIdx.x & 1) != 0) {
      const int after = op_count_bits(kept >> threadIdx.x);
      op_found[list + num_kept - after] = op_sorted[list + w * 64 + (int)threadIdx.x];
    }
    if (num_kept >= most) break;
    for (int v = w + 1 + (int)threadIdx.x; v * 64 < count; v += OP_THREADS) {
      unsigned long long gone = hidden[v];
#pragma unroll 16
      for (int k = 0; k < 64; ++k) gone |= kept >> k & 1 ? op_masks[(list + w * 64 + k) * OP_WORDS + v] : 0;
      hidden[v] = gone;
    }
    __syncthreads();
  }
  __syncthreads();
  if (threadIdx.x == 0) op_counts[blockIdx.x] = num_kept;
)cuda";

/// The same without masks.
constexpr const char* kKeep = R"cuda(
  __shared__ op_box tile[64];
  __shared__ unsigned char is_gone[64];
  __shared__ unsigned long long within[64];
  __shared__ unsigned long long kept_bits;
  __shared__ int num_kept;
  const long long list = (long long)blockIdx.x * OP_BOXES;
  const int count = op_candidates[blockIdx.x];
  const long long most = OP_MAX_PER_CLASS;
  const int self = (int)threadIdx.x;
  if (self == 0) num_kept = 0;
  for (int start = 0; start < count; start += 64) {
    const int size = count - start < 64 ? count - start : 64;
    if (self < size) {
      tile[self] = op_sorted_boxes[list + start + self];
      is_gone[self] = op_hidden[list + start + self];
    }
    __syncthreads();
    if (self < size) {
      unsigned long long mask = 0;
      for (int k = self + 1; k < size; ++k) {
        if (op_is_hidden(tile[self], tile[k], OP_IOU_THRESHOLD)) mask |= 1ULL << k;
      }
      within[self] = mask;
    }
    __syncthreads();
    if (self == 0) {
      unsigned long long gone = 0, kept = 0;
      int total = num_kept;
      for (int k = 0; k < size && total < most; ++k) {
        if ((gone >> k & 1) != 0 || is_gone[k] != 0) continue;
        kept |= 1ULL << k;
        gone |= within[k];
        ++total;
      }
      kept_bits = kept;
      num_kept = total;
    }
    __syncthreads();
    const unsigned long long kept = kept_bits;
    if (self < 64 && (kept >> self & 1) != 0) {
      op_found[list + num_kept - op_count_bits(kept >> self)] = op_sorted[list + start + self];
    }
    if (num_kept >= most) break;
    for (int i = start + 64 + self; i < count && kept != 0; i += OP_COMPACT_THREADS) {
      if (op_hidden[list + i] != 0) continue;
      const op_box box = op_sorted_boxes[list + i];
      bool is_hidden = false;
      for (int k = 0; k < 64 && !is_hidden; ++k) {
        is_hidden = (kept >> k & 1) != 0 && op_is_hidden(tile[k], box, OP_IOU_THRESHOLD);
      }
      if (is_hidden) op_hidden[list + i] = 1;
    }
    __syncthreads();
  }
  __syncthreads();
  if (self == 0) op_counts[blockIdx.x] = num_kept;
)cuda";

constexpr const char* kSuppressionRows = R"cuda(
  long long rest = self, list = 0;
  while (list < OP_LISTS && rest >= op_counts[list]) rest -= op_counts[list++];
  const bool is_row = list < OP_LISTS;
  y0[place0(self * 3)] = is_row ? list / OP_CLASSES : -1;
  y0[place0(self * 3 + 1)] = is_row ? list % OP_CLASSES : -1;
  y0[place0(self * 3 + 2)] = is_row ? op_found[list * OP_BOXES + rest] : -1;
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
  const std::int64_t num_words = (boxes[1] + kWordBoxes - 1) / kWordBoxes;
  const bool has_mask = static_cast<double>(num_lists) * static_cast<double>(boxes[1]) *
                            static_cast<double>(num_words) * sizeof(std::uint64_t) <=
                        kMaxMaskBytes;
  const std::int64_t num_order_blocks = std::max<std::int64_t>(1, (boxes[1] + kBlockSize - 1) / kBlockSize);
  writer.define("OP_WORDS", std::max<std::int64_t>(1, num_words));
  writer.define("OP_ORDER_BLOCKS", num_order_blocks);
  writer.add("#define OP_COMPACT_THREADS " + std::to_string(kCompactThreads) + "\n#define OP_THREADS " +
             std::to_string(kBlockSize) + "\n");
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
  writer.add(block_scan());
  writer.add(kBoxes);
  const std::int64_t num_places = num_lists * boxes[1];
  writer.add_workspace("op_sorted_boxes", "op_box", num_places, 16);
  if (has_mask) writer.add_workspace("op_masks", "unsigned long long", num_places * num_words, 8);
  writer.add_workspace("op_found", "int", num_places, 4);
  writer.add_workspace("op_scores", "float", num_places, 4);
  writer.add_workspace("op_sorted", "int", num_places, 4);
  writer.add_workspace("op_candidates", "int", num_lists, 4);
  writer.add_workspace("op_counts", "int", num_lists, 4);
  if (!has_mask) writer.add_workspace("op_hidden", "unsigned char", num_places, 1);
  writer.add_block_kernel(kCandidates, num_lists, kCompactThreads, true);
  writer.add_block_kernel(has_mask ? kOrder : std::string(kOrder) + kShow, num_lists * num_order_blocks, kBlockSize,
                          true);
  if (has_mask) {
    writer.add_block_kernel(kMasks, num_lists * num_order_blocks * num_words, kBlockSize, true);
    writer.add_block_kernel(kKeepByMasks, num_lists, kBlockSize, true);
  } else {
    writer.add_block_kernel(kKeep, num_lists, kCompactThreads, true);
  }
  writer.add_kernel(kSuppressionRows, writer.output(0).extents[0]);
}

}  // namespace pajamas::cuda::operators
