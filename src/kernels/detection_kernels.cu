// See detection_kernels.h. Suppression is greedy and so a chain, but most of its work is comparing: candidates come in
// batches of 128, each is compared with all kept boxes by 8 threads, then with the others of its batch by bit masks,
// and only the walk over the bits of survivors is sequential.
#include <cuda_fp16.h>

#include <string>

#include "kernels/detection_kernels.h"
#include "pajamas/error.h"

namespace pajamas::kernels {

namespace {

constexpr int kGatherBoxes = 32;  // boxes a block
constexpr int kGatherGroups = 8;  // threads that share the classes of a box
constexpr int kSuppressThreads = 1024;
constexpr int kBatch = 128;
constexpr int kBatchWords = kBatch / 32;
constexpr int kSharedKeys = 4096;   // sorted in shared memory up to here, in global memory beyond
constexpr float kMaxScore = 1.01F;  // a little past 1: rounding of 16-bit scores
constexpr float kMaxCorner = 1e6F;

/// Scratch: the keys, with room for sorting (a power of two).
__host__ __device__ std::size_t sort_capacity(std::int32_t num_boxes) {
  std::size_t capacity = 1;
  while (capacity < static_cast<std::size_t>(num_boxes)) capacity *= 2;
  return capacity;
}

__device__ float load(const float* values, std::size_t index) { return values[index]; }
__device__ float load(const __half* values, std::size_t index) { return __half2float(values[index]); }

__device__ float clipped(float value) { return fminf(fmaxf(value, -kMaxCorner), kMaxCorner); }

struct Corners {
  float x1, y1, x2, y2;
};

template <typename T>
__device__ Corners corners_of(const T* raw, BoxLayout layout, std::int32_t num_boxes, std::int32_t num_classes,
                              std::int32_t box) {
  float v[4];
  for (int i = 0; i < 4; ++i) {
    const std::size_t index = layout == BoxLayout::kYoloV8   ? static_cast<std::size_t>(i) * num_boxes + box
                              : layout == BoxLayout::kYoloV5 ? static_cast<std::size_t>(box) * (5 + num_classes) + i
                                                             : static_cast<std::size_t>(box) * 6 + i;
    v[i] = load(raw, index);
  }
  if (layout == BoxLayout::kYoloEndToEnd) return {v[0], v[1], v[2], v[3]};
  const float half_width = v[2] / 2;
  const float half_height = v[3] / 2;
  return {v[0] - half_width, v[1] - half_height, v[0] + half_width, v[1] + half_height};
}

/// Adds the candidates of a warp with one atomic.
__device__ void append(bool is_candidate, std::uint64_t key, KeptBoxes* result, std::uint64_t* keys) {
  const unsigned mask = __ballot_sync(0xFFFFFFFFU, is_candidate);
  if (mask == 0) return;
  const int lane = static_cast<int>(threadIdx.x) & 31;
  const int leader = __ffs(static_cast<int>(mask)) - 1;
  std::int32_t base = 0;
  if (lane == leader) base = atomicAdd(&result->num_candidates, __popc(mask));
  base = __shfl_sync(0xFFFFFFFFU, base, leader);
  if (is_candidate) keys[base + __popc(mask & ((1U << lane) - 1U))] = key;
}

template <typename T>
__global__ void __launch_bounds__(kGatherBoxes* kGatherGroups)
    gather_candidates(DetectionWork work, const DetectionThresholds* __restrict__ thresholds) {
  const T* raw = static_cast<const T*>(work.raw);
  auto* keys = static_cast<std::uint64_t*>(work.scratch);
  const int box = static_cast<int>(blockIdx.x) * kGatherBoxes + static_cast<int>(threadIdx.x);
  const int group = static_cast<int>(threadIdx.y);
  const bool is_inside = box < work.num_boxes;
  const float threshold = thresholds->score;
  __shared__ float shared_score[kGatherGroups][kGatherBoxes];
  __shared__ std::int32_t shared_class[kGatherGroups][kGatherBoxes];
  float best = -1.0F;
  std::int32_t best_class = kMaxDetectionClasses;
  bool is_invalid = false;
  float objectness = 1.0F;
  if (is_inside && work.layout != BoxLayout::kYoloEndToEnd) {
    if (work.layout == BoxLayout::kYoloV5) {
      objectness = load(raw, static_cast<std::size_t>(box) * (5 + work.num_classes) + 4);
      is_invalid = !(objectness >= 0.0F && objectness <= kMaxScore);
    }
    // Boxes without an object too: a score that is no number is an error wherever it is.
    for (std::int32_t c = group; c < work.num_classes; c += kGatherGroups) {
      const std::size_t index = work.layout == BoxLayout::kYoloV8
                                    ? static_cast<std::size_t>(4 + c) * work.num_boxes + box
                                    : static_cast<std::size_t>(box) * (5 + work.num_classes) + 5 + c;
      const float score = load(raw, index);
      is_invalid |= score != score;
      if (score > best || best_class == kMaxDetectionClasses) {
        best = score;
        best_class = c;
      }
    }
  }
  shared_score[group][threadIdx.x] = best;
  shared_class[group][threadIdx.x] = best_class;
  __syncthreads();
  if (group == 0) {
    if (work.layout == BoxLayout::kYoloEndToEnd && is_inside) {
      best = load(raw, static_cast<std::size_t>(box) * 6 + 4);
      is_invalid |= best != best;
      const float class_value = load(raw, static_cast<std::size_t>(box) * 6 + 5);
      const float nearest = rintf(class_value);
      best_class = 0;
      if (best > threshold) {
        const auto limit = static_cast<float>(work.num_classes > 0 ? work.num_classes : kMaxDetectionClasses);
        if (nearest >= 0.0F && nearest < limit && fabsf(nearest - class_value) < 0.01F) {
          best_class = static_cast<std::int32_t>(nearest);
        } else {
          is_invalid = true;
        }
      }
    } else {
      for (int g = 1; g < kGatherGroups; ++g) {
        const float score = shared_score[g][threadIdx.x];
        const std::int32_t class_index = shared_class[g][threadIdx.x];
        if (class_index == kMaxDetectionClasses) continue;
        if (score > best || (score == best && class_index < best_class)) {
          best = score;
          best_class = class_index;
        }
      }
    }
    const float final_score = objectness * best;
    // As on the host, class scores being at most 1, a box whose objectness is not above the threshold is none.
    const bool is_candidate = is_inside && best_class != kMaxDetectionClasses && final_score > threshold &&
                              (work.layout != BoxLayout::kYoloV5 || objectness > threshold);
    if (is_candidate) {
      const Corners corners = corners_of(raw, work.layout, work.num_boxes, work.num_classes, box);
      const bool has_nan =
          corners.x1 != corners.x1 || corners.y1 != corners.y1 || corners.x2 != corners.x2 || corners.y2 != corners.y2;
      is_invalid |= has_nan || !(best <= kMaxScore);
    }
    append(is_candidate, is_candidate ? detection_key(__float_as_uint(fminf(final_score, 1.0F)), best_class, box) : 0,
           work.result, keys);
  }
  if (is_invalid) atomicExch(&work.result->is_invalid, 1);
}

/// Bitonic sort of `size` (a power of two) keys by the whole block.
__device__ void sort_keys(std::uint64_t* keys, std::size_t size) {
  for (std::size_t span = 2; span <= size; span *= 2) {
    for (std::size_t step = span / 2; step > 0; step /= 2) {
      for (std::size_t i = threadIdx.x; i < size / 2; i += blockDim.x) {
        const std::size_t low = 2 * i - (i & (step - 1));
        const std::size_t high = low + step;
        const bool is_rising = (low & span) == 0;
        const std::uint64_t a = keys[low];
        const std::uint64_t b = keys[high];
        if ((a > b) == is_rising) {
          keys[low] = b;
          keys[high] = a;
        }
      }
      __syncthreads();
    }
  }
}

struct SuppressShared {
  float x1[kMaxKept], y1[kMaxKept], x2[kMaxKept], y2[kMaxKept], area[kMaxKept];
  std::int32_t class_index[kMaxKept];
  float batch_x1[kBatch], batch_y1[kBatch], batch_x2[kBatch], batch_y2[kBatch], batch_area[kBatch];
  std::int32_t batch_class[kBatch];
  std::uint32_t mask[kBatch][kBatchWords];
  std::uint32_t alive[kBatchWords];
  std::int32_t num_kept;
};

__device__ bool overlaps(float ax1, float ay1, float ax2, float ay2, float a_area, float bx1, float by1, float bx2,
                         float by2, float b_area, float threshold) {
  const float width = fmaxf(fminf(ax2, bx2) - fmaxf(ax1, bx1), 0.0F);
  const float height = fmaxf(fminf(ay2, by2) - fmaxf(ay1, by1), 0.0F);
  const float intersection = __fmul_rn(width, height);
  return intersection > __fmul_rn(threshold, __fadd_rn(__fadd_rn(a_area, b_area), -intersection));
}

template <typename T>
__global__ void __launch_bounds__(kSuppressThreads)
    suppress_candidates(DetectionWork work, const DetectionThresholds* __restrict__ thresholds_in_memory) {
  extern __shared__ std::uint64_t shared_keys[];
  __shared__ SuppressShared shared;
  const T* raw = static_cast<const T*>(work.raw);
  const DetectionThresholds thresholds = *thresholds_in_memory;
  const int thread = static_cast<int>(threadIdx.x);
  const std::int32_t count = work.result->num_candidates;
  std::size_t size = 1;
  while (size < static_cast<std::size_t>(count)) size *= 2;
  auto* keys = static_cast<std::uint64_t*>(work.scratch);
  if (size <= kSharedKeys) {
    for (std::size_t i = thread; i < size; i += kSuppressThreads) {
      shared_keys[i] = i < static_cast<std::size_t>(count) ? keys[i] : ~0ULL;
    }
    keys = shared_keys;
  } else {
    for (std::size_t i = count + thread; i < size; i += kSuppressThreads) keys[i] = ~0ULL;
  }
  if (thread == 0) shared.num_kept = 0;
  __syncthreads();
  sort_keys(keys, size);

  for (std::int32_t begin = 0; begin < count; begin += kBatch) {
    const std::int32_t num_kept = shared.num_kept;
    if (num_kept >= thresholds.max_boxes) break;
    const int batch_size = min(kBatch, count - begin);
    if (thread < kBatch) {
      Corners corners{0, 0, 0, 0};
      std::int32_t class_index = -1;
      if (thread < batch_size) {
        const std::uint64_t key = keys[begin + thread];
        const auto box = static_cast<std::int32_t>(key & (kMaxDetectionBoxes - 1));
        class_index = static_cast<std::int32_t>((key >> 20) & (kMaxDetectionClasses - 1));
        corners = corners_of(raw, work.layout, work.num_boxes, work.num_classes, box);
        corners = {clipped(corners.x1), clipped(corners.y1), clipped(corners.x2), clipped(corners.y2)};
      }
      shared.batch_x1[thread] = corners.x1;
      shared.batch_y1[thread] = corners.y1;
      shared.batch_x2[thread] = corners.x2;
      shared.batch_y2[thread] = corners.y2;
      shared.batch_area[thread] = __fmul_rn(fmaxf(corners.x2 - corners.x1, 0.0F), fmaxf(corners.y2 - corners.y1, 0.0F));
      shared.batch_class[thread] = class_index;
    }
    if (thread < kBatchWords) {
      const int bits = min(32, max(0, batch_size - 32 * thread));
      shared.alive[thread] = bits == 32 ? 0xFFFFFFFFU : (1U << bits) - 1U;
    }
    __syncthreads();
    if (thresholds.is_suppressed != 0) {
      {  // Against what stays already: 8 threads a candidate.
        const int candidate = thread / (kSuppressThreads / kBatch);
        bool is_over = false;
        for (int k = thread % (kSuppressThreads / kBatch); k < num_kept; k += kSuppressThreads / kBatch) {
          if (thresholds.is_class_agnostic == 0 && shared.class_index[k] != shared.batch_class[candidate]) continue;
          is_over |= overlaps(shared.x1[k], shared.y1[k], shared.x2[k], shared.y2[k], shared.area[k],
                              shared.batch_x1[candidate], shared.batch_y1[candidate], shared.batch_x2[candidate],
                              shared.batch_y2[candidate], shared.batch_area[candidate], thresholds.iou);
        }
        if (is_over) atomicAnd(&shared.alive[candidate / 32], ~(1U << (candidate % 32)));
      }
      // Within the batch: bit j of row i says that i, if it stays, removes the later j.
      for (int word = thread; word < kBatch * kBatchWords; word += kSuppressThreads) {
        const int i = word / kBatchWords;
        const int first = 32 * (word % kBatchWords);
        std::uint32_t bits = 0;
        for (int b = 0; b < 32; ++b) {
          const int j = first + b;
          if (j <= i || j >= batch_size || i >= batch_size) continue;
          if (thresholds.is_class_agnostic == 0 && shared.batch_class[i] != shared.batch_class[j]) continue;
          if (overlaps(shared.batch_x1[i], shared.batch_y1[i], shared.batch_x2[i], shared.batch_y2[i],
                       shared.batch_area[i], shared.batch_x1[j], shared.batch_y1[j], shared.batch_x2[j],
                       shared.batch_y2[j], shared.batch_area[j], thresholds.iou)) {
            bits |= 1U << b;
          }
        }
        shared.mask[i][word % kBatchWords] = bits;
      }
      __syncthreads();
    }
    if (thread == 0) {
      std::int32_t kept = num_kept;
      std::uint32_t alive[kBatchWords];
      for (int w = 0; w < kBatchWords; ++w) alive[w] = shared.alive[w];
      for (int w = 0; w < kBatchWords && kept < thresholds.max_boxes; ++w) {
        while (alive[w] != 0 && kept < thresholds.max_boxes) {
          const int bit = __ffs(static_cast<int>(alive[w])) - 1;
          const int i = 32 * w + bit;
          alive[w] &= ~(1U << bit);
          if (thresholds.is_suppressed != 0) {
            for (int v = w; v < kBatchWords; ++v) alive[v] &= ~shared.mask[i][v];
          }
          shared.x1[kept] = shared.batch_x1[i];
          shared.y1[kept] = shared.batch_y1[i];
          shared.x2[kept] = shared.batch_x2[i];
          shared.y2[kept] = shared.batch_y2[i];
          shared.area[kept] = shared.batch_area[i];
          shared.class_index[kept] = shared.batch_class[i];
          KeptBox& out = work.result->boxes[kept];
          out = {shared.batch_x1[i],
                 shared.batch_y1[i],
                 shared.batch_x2[i],
                 shared.batch_y2[i],
                 __uint_as_float(~static_cast<std::uint32_t>(keys[begin + i] >> 32)),
                 shared.batch_class[i]};
          ++kept;
        }
      }
      shared.num_kept = kept;
    }
    __syncthreads();
  }
  if (thread == 0) work.result->count = shared.num_kept;
}

template <typename T>
void launch(const DetectionWork& work, cudaStream_t stream) {
  const int num_blocks = (work.num_boxes + kGatherBoxes - 1) / kGatherBoxes;
  gather_candidates<T><<<num_blocks, dim3(kGatherBoxes, kGatherGroups), 0, stream>>>(work, work.thresholds);
  suppress_candidates<T><<<1, kSuppressThreads, kSharedKeys * sizeof(std::uint64_t), stream>>>(work, work.thresholds);
}

void check_launch(cudaError_t status) {
  if (status != cudaSuccess) {
    throw Error(ErrorKind::kInternal, std::string("finding the boxes on the GPU: ") + cudaGetErrorString(status));
  }
}

template <typename T>
void allow_shared_memory() {
  // Static and dynamic shared memory together pass the 48 KiB that need no asking.
  check_launch(cudaFuncSetAttribute(suppress_candidates<T>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    kSharedKeys * sizeof(std::uint64_t)));
}

}  // namespace

std::size_t detection_scratch_bytes(std::int32_t num_boxes) { return sort_capacity(num_boxes) * sizeof(std::uint64_t); }

void launch_detect(const DetectionWork& work, cudaStream_t stream) {
  if (work.num_boxes < 0 || work.num_boxes >= kMaxDetectionBoxes || work.num_classes >= kMaxDetectionClasses) {
    throw Error(ErrorKind::kUnsupported, std::to_string(work.num_boxes) + " boxes of " +
                                             std::to_string(work.num_classes) +
                                             " classes are more than the GPU's suppression takes");
  }
  check_launch(cudaMemsetAsync(work.result, 0, offsetof(KeptBoxes, boxes), stream));
  if (work.num_boxes == 0) return;
  switch (work.dtype) {
    case DType::kFloat32:
      allow_shared_memory<float>();
      launch<float>(work, stream);
      break;
    case DType::kFloat16:
      allow_shared_memory<__half>();
      launch<__half>(work, stream);
      break;
    default:
      throw Error(ErrorKind::kUnsupported,
                  std::string("boxes are not found on the GPU in outputs of ") + to_string(work.dtype));
  }
  check_launch(cudaGetLastError());
}

}  // namespace pajamas::kernels
