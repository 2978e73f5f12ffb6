// The body of every tile kernel: CUDA C++ that the constants of tile_source.cpp come before. One block computes
// kRows x kColumns outputs. Pieces of 64 along K pass through kStages places in shared memory (cp.async); warps
// multiply them by mma.sync with float32 sums. The blocks of a cluster along z hold parts of the sum over K, and add
// them up through distributed shared memory in a fixed order, so that a run gives the same bits every time.
//
// Programmatic dependent launch: weights are constant, so their first pieces are fetched before the kernel before this
// one has ended; griddepcontrol.wait stands before the first read of anything that kernels write.
#include "targets/cuda/backends/tile_kernel.h"

namespace pajamas::cuda {

const char* tile_device_text() {
  return R"cuda(
__device__ __forceinline__ u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }

template <int bytes> __device__ __forceinline__ void copy_async(u32 to, const u16* from, bool is_valid) {
  const int size = is_valid ? bytes : 0;
  if (bytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(to), "l"(from), "r"(size) : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;\n" ::"r"(to), "l"(from), "r"(size) : "memory");
  }
}
__device__ __forceinline__ void commit() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }
template <int pending> __device__ __forceinline__ void wait_copies() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(pending) : "memory");
}
__device__ __forceinline__ void load_matrices(u32 (&r)[4], u32 from) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(from) : "memory");
}
__device__ __forceinline__ void load_matrices_transposed(u32 (&r)[4], u32 from) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(from) : "memory");
}
__device__ __forceinline__ void multiply(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
#if kIsBfloat
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
#else
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
#endif
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ __forceinline__ float exponential(float v) { return __expf(v); }
__device__ __forceinline__ void wait_for_block() { __syncthreads(); }
// Between the blocks of a cluster: what they wrote to their shared memory before is seen after.
__device__ __forceinline__ void wait_for_cluster() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive.release.aligned;\n" ::: "memory");
  asm volatile("barrier.cluster.wait.acquire.aligned;\n" ::: "memory");
#endif
}
// Four floats at the same place of the shared memory of block `part` of the cluster.
__device__ __forceinline__ float4 load_from_cluster(u32 local, int part) {
  float4 value = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#if __CUDA_ARCH__ >= 900
  u32 remote;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;\n" : "=r"(remote) : "r"(local), "r"(part));
  asm volatile("ld.shared::cluster.v4.f32 {%0,%1,%2,%3}, [%4];\n"
               : "=f"(value.x), "=f"(value.y), "=f"(value.z), "=f"(value.w) : "r"(remote) : "memory");
#endif
  return value;
}
// The kernel before this one has ended and its writes are seen; the one after this may begin to prepare itself.
__device__ __forceinline__ void wait_for_predecessor() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;\n" ::: "memory");
  asm volatile("griddepcontrol.launch_dependents;\n" ::: "memory");
#endif
}
#define SHARED_MEMORY(name) extern __shared__ __align__(128) unsigned char name[]
)cuda";
}

const char* tile_kernel_text() {
  return R"cuda(
constexpr int kThreads = kWarpsM * kWarpsN * 32;
constexpr int kWarpRows = kRows / kWarpsM, kWarpColumns = kColumns / kWarpsN;
constexpr int kTilesM = kWarpRows / 16, kTilesN = kWarpColumns / 8;
constexpr int kPieces = (kK + 63) / 64;
constexpr int kChunks = 64 / kVector;                                // Of a row of A (and of B along K) in a piece.
constexpr int kRowsPerThread = kRows * kChunks / kThreads;
constexpr int kRowStep = kThreads / kChunks;
constexpr int kABytes = kRows * 128;
constexpr int kBPitch = kIsBAlongK ? 128 : kColumns * 2 + 16;        // Bytes of a row of B in shared memory.
constexpr int kBBytes = kIsBAlongK ? kColumns * 128 : 64 * kBPitch;
constexpr int kStageBytes = kABytes + kBBytes;
constexpr int kSumPitch = kColumns + 8;                              // Floats of a row of sums: no bank conflicts.
static_assert(kRowsPerThread * kThreads == kRows * kChunks, "every thread copies as many rows");
static_assert(kWarpRows % 16 == 0 && kWarpColumns % 16 == 0, "warps hold whole tiles");

// Rows of shared memory are 128 bytes; their 16-byte chunks are exchanged so that eight rows read at one place hit all banks.
__device__ __forceinline__ u32 swizzled(int row, int chunk) { return (u32)(row * 128 + ((chunk ^ (row & 7)) << 4)); }

__device__ __forceinline__ void load_b(u32 stage, const u16* b, int piece, int column_begin, int thread) {
#if kIsBAlongK
  const int chunk = thread % kChunks;
  const int k = piece * 64 + chunk * kVector;
#pragma unroll
  for (int i = 0; i < (kColumns + kRowStep - 1) / kRowStep; ++i) {
    const int row = thread / kChunks + i * kRowStep;
    if (kColumns % kRowStep != 0 && row >= kColumns) break;
    const bool is_valid = k < kK && column_begin + row < kN;
    const u16* from = is_valid ? b + (long long)(column_begin + row) * kBStride + k : b;
    const u32 to = stage + kABytes + swizzled(row, chunk * kVector / 8) + (kVector == 4 ? (chunk & 1) * 8 : 0);
    copy_async<kVector * 2>(to, from, is_valid);
  }
#else
  constexpr int kRowChunks = kColumns / 8;
#pragma unroll
  for (int i = 0; i < (64 * kRowChunks + kThreads - 1) / kThreads; ++i) {
    const int index = thread + i * kThreads;
    if (64 * kRowChunks % kThreads != 0 && index >= 64 * kRowChunks) break;
    const int row = index / kRowChunks, chunk = index % kRowChunks;
    const int k = piece * 64 + row, column = column_begin + chunk * 8;
    const bool is_valid = k < kK && column < kN;
    const u16* from = is_valid ? b + (long long)k * kBStride + column : b;
    copy_async<16>(stage + kABytes + row * kBPitch + chunk * 16, from, is_valid);
  }
#endif
}

// What a thread knows of the rows of A that it copies: where the window of each begins.
struct Rows {
  int offset[kRowsPerThread];
#if !kIsPlain
  int y[kRowsPerThread], x[kRowsPerThread];
#endif
};

__device__ __forceinline__ void find_rows(Rows& rows, int row_begin, int thread) {
#pragma unroll
  for (int i = 0; i < kRowsPerThread; ++i) {
    const int m = row_begin + thread / kChunks + i * kRowStep;
#if kIsPlain
    rows.offset[i] = m < kM ? m * kAStride : -1;
#else
    const int image = m / (kOutHeight * kOutWidth), pixel = m % (kOutHeight * kOutWidth);
    const int y = pixel / kOutWidth * kStrideY - kPadY, x = pixel % kOutWidth * kStrideX - kPadX;
    rows.offset[i] = image * kImageStride + y * kLineStride + x * kPixelStride;
    rows.y[i] = m < kM ? y : -(1 << 28);
    rows.x[i] = x;
#endif
  }
}

__device__ __forceinline__ void load_a(u32 stage, const u16* a, int piece, const Rows& rows, int thread) {
  const int chunk = thread % kChunks;
  const int k = piece * 64 + chunk * kVector;
#if !kIsPlain
  const int tap = k / kChannels;
  const int tap_y = tap / kKernelX * kDilationY, tap_x = tap % kKernelX * kDilationX;
  const int within = tap_y * kLineStride + tap_x * kPixelStride + k % kChannels;
#endif
#pragma unroll
  for (int i = 0; i < kRowsPerThread; ++i) {
    const int row = thread / kChunks + i * kRowStep;
#if kIsPlain
    const bool is_valid = k < kK && rows.offset[i] >= 0;
    const u16* from = is_valid ? a + rows.offset[i] + k : a;
#else
    const bool is_valid = k < kK && (u32)(rows.y[i] + tap_y) < (u32)kInHeight && (u32)(rows.x[i] + tap_x) < (u32)kInWidth;
    const u16* from = is_valid ? a + rows.offset[i] + within : a;
#endif
    const u32 to = stage + swizzled(row, chunk * kVector / 8) + (kVector == 4 ? (chunk & 1) * 8 : 0);
    copy_async<kVector * 2>(to, from, is_valid);
  }
}

__device__ __forceinline__ void multiply_piece(float (&sums)[kTilesM][kTilesN][4], u32 stage, int warp_m, int warp_n, int lane) {
#pragma unroll
  for (int step = 0; step < 4; ++step) {
    u32 b[kTilesN / 2][4];
#pragma unroll
    for (int j = 0; j < kTilesN / 2; ++j) {
      const int column = warp_n * kWarpColumns + j * 16;
#if kIsBAlongK
      load_matrices(b[j], stage + kABytes + swizzled(column + (lane & 7) + (lane >> 4 << 3), step * 2 + (lane >> 3 & 1)));
#else
      load_matrices_transposed(b[j], stage + kABytes + (step * 16 + (lane & 15)) * kBPitch + column * 2 + (lane >> 4) * 16);
#endif
    }
#pragma unroll
    for (int i = 0; i < kTilesM; ++i) {
      u32 a[4];
      load_matrices(a, stage + swizzled(warp_m * kWarpRows + i * 16 + (lane & 15), step * 2 + (lane >> 4)));
#pragma unroll
      for (int j = 0; j < kTilesN; ++j) multiply(sums[i][j], a, b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
    }
  }
}

__device__ __forceinline__ long long output_offset(int m) {
#if kIsOutputUniform
  return (long long)m * kYPixel;
#else
  const int image = m / (kOutHeight * kOutWidth), pixel = m % (kOutHeight * kOutWidth);
  return (long long)image * kYImage + (long long)(pixel / kOutWidth) * kYLine + (long long)(pixel % kOutWidth) * kYPixel;
#endif
}
__device__ __forceinline__ long long residual_offset(int m) {
#if kIsOutputUniform
  return (long long)m * kResidualPixel;
#else
  const int image = m / (kOutHeight * kOutWidth), pixel = m % (kOutHeight * kOutWidth);
  return (long long)image * kResidualImage + (long long)(pixel / kOutWidth) * kResidualLine +
         (long long)(pixel % kOutWidth) * kResidualPixel;
#endif
}

__device__ __forceinline__ float softplus(float v) { return v > 20.0f ? v : log1pf(exponential(v)); }
__device__ __forceinline__ float activate(float t) {
)cuda";
}

const char* tile_kernel_entry_text() {
  return R"cuda(
  return t;
}

// Eight outputs of one row.
__device__ __forceinline__ void finish(float (&t)[8], int m, int n, const Bias* __restrict__ bias,
                                       const u16* __restrict__ residual, Out* __restrict__ y) {
  float rest[8];
#if kHasResidual
  const u16* from = residual + residual_offset(m) + n;
  if (kStoreVector == 8) {
    const uint4 bits = *(const uint4*)from;
    const u32 words[4] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
    for (int j = 0; j < 8; ++j) rest[j] = widen((u16)(words[j / 2] >> (j % 2 * 16)));
  } else {
#pragma unroll
    for (int j = 0; j < 8; ++j) rest[j] = n + j < kN ? widen(from[j]) : 0.0f;
  }
#endif
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    t[j] *= kScale;
#if kHasBias
    t[j] += kStoreVector == 8 || n + j < kN ? widen(bias[n + j]) : 0.0f;
#endif
#if kHasResidual && kIsResidualFirst
    t[j] += rest[j];
#endif
    t[j] = activate(t[j]);
#if kHasResidual && !kIsResidualFirst
    t[j] += rest[j];
#endif
  }
  Out* to = y + output_offset(m) + n;
#if kIsOutFloat
  if (kStoreVector == 8) {
    ((float4*)to)[0] = make_float4(t[0], t[1], t[2], t[3]);
    ((float4*)to)[1] = make_float4(t[4], t[5], t[6], t[7]);
  } else {
#pragma unroll
    for (int j = 0; j < 8; ++j) if (n + j < kN) to[j] = t[j];
  }
#else
  const u32 words[4] = {narrow(t[0], t[1]), narrow(t[2], t[3]), narrow(t[4], t[5]), narrow(t[6], t[7])};
  if (kStoreVector == 8) {
    *(uint4*)to = make_uint4(words[0], words[1], words[2], words[3]);
  } else {
#pragma unroll
    for (int j = 0; j < 8; ++j) if (n + j < kN) to[j] = (u16)(words[j / 2] >> (j % 2 * 16));
  }
#endif
}

extern "C" __global__ void __launch_bounds__(kThreads) kClusterDims
tile(const u16* __restrict__ a, const u16* __restrict__ b, const Bias* __restrict__ bias, const u16* __restrict__ residual,
     Out* __restrict__ y) {
  SHARED_MEMORY(memory);
  const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
  const int warp_m = warp / kWarpsN, warp_n = warp % kWarpsN;
  const int row_begin = blockIdx.x * kRows, column_begin = blockIdx.y * kColumns;
  const int piece_begin = (int)((long long)kPieces * blockIdx.z / kSplits);
  const int piece_end = (int)((long long)kPieces * (blockIdx.z + 1) / kSplits);
  const u32 base = shared_address(memory);

#if kIsBConstant
#pragma unroll
  for (int s = 0; s < kStages - 1; ++s) {
    if (piece_begin + s < piece_end) load_b(base + s * kStageBytes, b, piece_begin + s, column_begin, thread);
  }
#endif
  Rows rows;
  find_rows(rows, row_begin, thread);
  wait_for_predecessor();
#pragma unroll
  for (int s = 0; s < kStages - 1; ++s) {
    if (piece_begin + s < piece_end) {
#if !kIsBConstant
      load_b(base + s * kStageBytes, b, piece_begin + s, column_begin, thread);
#endif
      load_a(base + s * kStageBytes, a, piece_begin + s, rows, thread);
    }
    commit();
  }

  float sums[kTilesM][kTilesN][4];
#pragma unroll
  for (int i = 0; i < kTilesM; ++i)
#pragma unroll
    for (int j = 0; j < kTilesN; ++j)
#pragma unroll
      for (int e = 0; e < 4; ++e) sums[i][j][e] = 0.0f;

  int place = 0;
  for (int piece = piece_begin; piece < piece_end; ++piece) {
    wait_copies<kStages - 2>();
    wait_for_block();
    const int next = piece + kStages - 1;
    const int next_place = place == 0 ? kStages - 1 : place - 1;
    if (next < piece_end) {
      load_b(base + next_place * kStageBytes, b, next, column_begin, thread);
      load_a(base + next_place * kStageBytes, a, next, rows, thread);
    }
    commit();
    multiply_piece(sums, base + place * kStageBytes, warp_m, warp_n, lane);
    place = place + 1 == kStages ? 0 : place + 1;
  }
  wait_copies<0>();
  wait_for_block();

  float* partial = (float*)memory;
#pragma unroll
  for (int i = 0; i < kTilesM; ++i)
#pragma unroll
    for (int j = 0; j < kTilesN; ++j) {
      const int row = warp_m * kWarpRows + i * 16 + lane / 4, column = warp_n * kWarpColumns + j * 8 + lane % 4 * 2;
      *(float2*)(partial + row * kSumPitch + column) = make_float2(sums[i][j][0], sums[i][j][1]);
      *(float2*)(partial + (row + 8) * kSumPitch + column) = make_float2(sums[i][j][2], sums[i][j][3]);
    }
  if (kSplits > 1) {
    wait_for_cluster();
  } else {
    wait_for_block();
  }

  // Each block of the cluster finishes its share of the rows.
  constexpr int kShare = kRows / kSplits;
  const int first_row = kSplits > 1 ? (int)blockIdx.z * kShare : 0;
  for (int index = thread; index < kShare * (kColumns / 8); index += kThreads) {
    const int row = first_row + index / (kColumns / 8), column = index % (kColumns / 8) * 8;
    float t[8];
    const u32 local = base + (row * kSumPitch + column) * 4;
#pragma unroll
    for (int part = 0; part < kSplits; ++part) {
      float4 low, high;
      if (kSplits > 1) {
        low = load_from_cluster(local, part);
        high = load_from_cluster(local + 16, part);
      } else {
        low = *(const float4*)(partial + row * kSumPitch + column);
        high = *(const float4*)(partial + row * kSumPitch + column + 4);
      }
      const float values[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
      for (int j = 0; j < 8; ++j) t[j] = part == 0 ? values[j] : t[j] + values[j];
    }
    const int m = row_begin + row, n = column_begin + column;
    if (m < kM && n < kN) finish(t, m, n, bias, residual, y);
  }
  if (kSplits > 1) wait_for_cluster();  // No block may end while others read its memory.
}
)cuda";
}

}  // namespace pajamas::cuda
