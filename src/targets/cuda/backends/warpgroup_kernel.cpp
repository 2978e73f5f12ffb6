// The body of every warpgroup kernel: CUDA C++ that the constants of warpgroup_source.cpp come before. A block is one
// warpgroup that fetches and two that multiply. The first asks the copy engine (TMA) for boxes of A and B, 128 bytes
// along K deep, into kStages places of shared memory; barriers there say when a place is full and when it is free
// again. The others multiply by wgmma straight from shared memory with float32 sums in registers, finish them (bias,
// residual, activation) and store whole rows. The grid is as large as the device; each block takes tile after tile.
//
// kIsAlternating: the warpgroups have a tile each and take turns with the tensor cores, so that one finishes its sums
// while another multiplies. Otherwise there are two, and they share a tile, one half of its rows each. Finishing takes
// more than twice its time while another multiplies, which leaves little of the registers' ports and of shared memory:
// where K is short and much is read and written beside the products, kGroups is 3.
// kCluster 2: two blocks with neighbouring rows of A fetch half of the same columns of B each, for both.
// kKeepsB: all tiles of a block have the same columns, whose part of B it fetches once and keeps; the places hold A
// alone. Shared memory gives 128 bytes a cycle to the tensor cores and the copy engine together: for short K it, not
// the tensor cores, is what a tile waits for. kDelay: of two halves of a tile the second begins so many pieces of K
// behind the first, and ends behind it, so that the tensor cores have work while one of them finishes its sums.
// kIsTransposed: what is called A, its rows and kM here are B's columns, and B and kN the rows of A. The instruction
// has 64 rows whatever one does, its columns are any multiple of 8: so the tiles of few rounds can be cut to fill them.
// kSplits above 1: the blocks of a cluster share one tile, each a part of K. Each then finishes a share of the tile,
// for which the others write their sums into its shared memory; they are added in a fixed order. kIsWindow: A is a
// convolution's, its rows the pixels of the result; a piece of K is 64 channels of one tap, and the copy engine gathers
// the pixels that the tap meets, zeros outside of the image (its im2col mode).
//
// kIsInteger: factors of int8, sums of int32, which become numbers before they are finished: less what a zero point of A
// adds to their column, times the column's scale.
//
// Programmatic dependent launch: weights are constant, so their first boxes are fetched before the kernel before this
// one has ended; wait_for_predecessor stands before everything else that touches memory.
#include "targets/cuda/backends/warpgroup_kernel.h"

namespace pajamas::cuda {

const char* warpgroup_device_text() {
  return R"cuda(
struct __align__(64) TensorMap { u64 words[16]; };  // CUtensorMap

__device__ __forceinline__ u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }
__device__ __forceinline__ void prefetch(const TensorMap* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}
__device__ __forceinline__ void init_barrier(u32 barrier, u32 count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(count) : "memory");
}
__device__ __forceinline__ void publish_barriers() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
// Counts as the one arrival that a full place needs; the bytes complete it.
__device__ __forceinline__ void expect_bytes(u32 barrier, u32 bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
__device__ __forceinline__ void wait_barrier(u32 barrier, u32 parity) {
  asm volatile(
      "{\n.reg .pred p;\nAGAIN:\nmbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n@p bra DONE;\nbra AGAIN;\nDONE:\n}"
      ::"r"(barrier), "r"(parity) : "memory");
}
__device__ __forceinline__ void arrive_at(u32 barrier, u32 rank) {
#if kCluster > 1
  asm volatile("{\n.reg .b32 remote;\nmapa.shared::cluster.u32 remote, %0, %1;\nmbarrier.arrive.shared::cluster.b64 _, [remote];\n}"
               ::"r"(barrier), "r"(rank) : "memory");
#else
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
#endif
}
// Among the blocks that share a tile, behind what the thread has written to the other's shared memory.
__device__ __forceinline__ void arrive_with_data(u32 barrier, u32 rank) {
  asm volatile(
      "{\n.reg .b32 remote;\nmapa.shared::cluster.u32 remote, %0, %1;\nmbarrier.arrive.release.cluster.shared::cluster.b64 _, [remote];\n}"
      ::"r"(barrier), "r"(rank) : "memory");
}
__device__ __forceinline__ void wait_for_data(u32 barrier, u32 parity) {
  asm volatile(
      "{\n.reg .pred p;\nAGAIN:\nmbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%0], %1;\n@p bra DONE;\nbra AGAIN;\nDONE:\n}"
      ::"r"(barrier), "r"(parity) : "memory");
}
__device__ __forceinline__ void store_to(u32 address, u32 rank, float4 value) {
  asm volatile(
      "{\n.reg .b32 remote;\nmapa.shared::cluster.u32 remote, %0, %1;\nst.shared::cluster.v4.f32 [remote], {%2, %3, %4, %5};\n}"
      ::"r"(address), "r"(rank), "f"(value.x), "f"(value.y), "f"(value.z), "f"(value.w) : "memory");
}
__device__ __forceinline__ void load_box(u32 to, const TensorMap* map, u32 barrier, int x, int y) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];"
               ::"r"(to), "l"(map), "r"(barrier), "r"(x), "r"(y) : "memory");
}
// To the same place of every block of the cluster, and counted by the barrier there.
__device__ __forceinline__ void load_box_for_all(u32 to, const TensorMap* map, u32 barrier, int x, int y) {
#if kCluster > 1
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, {%3, %4}], [%2], %5;"
      ::"r"(to), "l"(map), "r"(barrier), "r"(x), "r"(y), "h"((u16)((1 << kCluster) - 1)) : "memory");
#else
  load_box(to, map, barrier, x, y);
#endif
}
// The pixels from (x, y) of an image on that a window begins at, moved by a tap.
__device__ __forceinline__ void load_pixels(u32 to, const TensorMap* map, u32 barrier, int channel, int x, int y, int image,
                                            int tap_x, int tap_y) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], [%2], {%7, %8};"
      ::"r"(to), "l"(map), "r"(barrier), "r"(channel), "r"(x), "r"(y), "r"(image), "h"((u16)tap_x), "h"((u16)tap_y) : "memory");
}
// Four matrices of 8 x 8 numbers, as a lane has the sums of wgmma; shared memory has their rows or, transposed, columns.
__device__ __forceinline__ void load_rows(u32 (&r)[4], u32 from) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(from) : "memory");
}
__device__ __forceinline__ void store_rows(u32 to, const u32 (&r)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1,%2,%3,%4};"
               ::"r"(to), "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3]) : "memory");
}
__device__ __forceinline__ void load_transposed(u32 (&r)[4], u32 from) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(from) : "memory");
}
__device__ __forceinline__ void store_transposed(u32 to, const u32 (&r)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1,%2,%3,%4};"
               ::"r"(to), "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3]) : "memory");
}
__device__ __forceinline__ void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void commit_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int pending> __device__ __forceinline__ void wait_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(pending) : "memory");
}
// The threads of one warpgroup wait for each other.
__device__ __forceinline__ void meet(int group) { asm volatile("bar.sync %0, 128;" ::"r"(3 + group) : "memory"); }
__device__ __forceinline__ void wait_for_turn(int group) { asm volatile("bar.sync %0, 256;" ::"r"(1 + group) : "memory"); }
__device__ __forceinline__ void give_turn(int group) { asm volatile("bar.arrive %0, 256;" ::"r"(1 + group) : "memory"); }
__device__ __forceinline__ void wait_for_warp() { __syncwarp(); }
__device__ __forceinline__ void wait_for_cluster() {
#if kCluster > 1 || kSplits > 1
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;\n" ::: "memory");
#else
  __syncthreads();
#endif
}
// All threads have as many registers at the launch: those who fetch need few.
__device__ __forceinline__ void give_registers() { asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kFetcherRegisters)); }
__device__ __forceinline__ void take_registers() { asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kGroupRegisters)); }
__device__ __forceinline__ void wait_for_predecessor() { asm volatile("griddepcontrol.wait;" ::: "memory"); }
__device__ __forceinline__ void start_successor() { asm volatile("griddepcontrol.launch_dependents;" ::: "memory"); }
#if kIsInteger
// Two int8, the low half first, to nearest even and saturating.
__device__ __forceinline__ u16 narrow_levels(float low, float high) {
  u32 both;
  asm("cvt.pack.sat.s8.s32.b32 %0, %1, %2, 0;" : "=r"(both) : "r"(__float2int_rn(high) + kYZeroPoint), "r"(__float2int_rn(low) + kYZeroPoint));
  return (u16)both;
}
#endif
#define SHARED_MEMORY(name) extern __shared__ __align__(128) unsigned char name[]
)cuda";
}

const char* warpgroup_kernel_text() {
  return R"cuda(
#if kIsInteger
typedef int Sum;
#define NARROW_SMALL narrow_levels
#else
typedef float Sum;
#define NARROW_SMALL narrow_small
#endif
constexpr int kGroupRows = kSums * 64;                         // Rows of one warpgroup's tile.
constexpr int kTileRows = kIsAlternating ? kGroupRows : 2 * kGroupRows;  // Rows of A in a stage.
constexpr int kPieceK = 128 / kElementBytes;                      // Of K in a stage.
constexpr int kTapPieces = (kTapChannels + kPieceK - 1) / kPieceK;  // Of K, of one tap; a product has one tap.
constexpr int kPieces = kTaps * kTapPieces;
constexpr int kABytes = kTileRows * 128, kBBytes = kColumns * 128, kStageBytes = kABytes + (kKeepsB ? 0 : kBBytes);
constexpr int kKeptBytes = kKeepsB ? kPieces * kBBytes : 0;     // Before the places.
constexpr int kStagingBytes = 4 * 2048;                         // Of a warpgroup: 16 rows x 64 columns a warp.
constexpr int kTilesM = (kM + kTileRows * kCluster - 1) / (kTileRows * kCluster);   // Rows of tiles, a cluster's together.
constexpr int kTilesN = (kN + kColumns - 1) / kColumns;
constexpr int kTiles = kTilesM * kTilesN;
constexpr int kBiases = kIsTransposed ? kGroupRows : kColumns;    // Of a warpgroup's tile.
constexpr int kBiasPitch = (kBiases + 63) / 64 * 64, kBiasesOfThread = (kBiases + 127) / 128;
constexpr int kBShare = kColumns / kCluster;                    // Columns of B that one block of the cluster fetches.
constexpr int kParts = kSplits > 1 ? kSplits / 2 : 1;            // Of the columns of a warpgroup: each another block's to finish.
constexpr int kOwnColumns = kColumns / kParts;
constexpr int kShareBytes = kSums * kOwnColumns / 2 * 512;       // Sums of one warpgroup that one block finishes.

__device__ __forceinline__ int row_of(int tile, int rank) {
  return ((kIsTransposed ? tile % kTilesM : tile / kTilesN) * kCluster + rank) * kTileRows;
}
__device__ __forceinline__ int column_of(int tile) { return (kIsTransposed ? tile / kTilesM : tile % kTilesN) * kColumns; }

__device__ __forceinline__ void fetch_b(u32 to, const TensorMap* b, u32 barrier, int k, int column_begin, u32 rank) {
#if kIsBAlongK
  load_box_for_all(to + rank * (kBShare * 128), b, barrier, k, column_begin + (int)rank * kBShare);
#else
  // Panel by panel in turn: three of them are two and one.
#pragma unroll
  for (int i = 0; i < kColumns / 64; i += kCluster) {
    const int panel = i + (int)rank;
    if (kColumns / 64 % kCluster == 0 || panel < kColumns / 64) load_box_for_all(to + panel * 8192, b, barrier, column_begin + panel * 64, k);
  }
#endif
}

// Where along K a piece of A and B begins.
__device__ __forceinline__ int k_of(int piece) { return piece / kTapPieces * kTapChannels + piece % kTapPieces * kPieceK; }

// Rows of A from `row` on.
__device__ __forceinline__ void fetch_a(u32 to, const TensorMap* a, u32 barrier, int piece, int row) {
#if kIsWindow
  const int tap = piece / kTapPieces;
  load_pixels(to, a, barrier, piece % kTapPieces * kPieceK, row % kOutWidth * kStrideX - kPadX,
              row / kOutWidth % kOutHeight * kStrideY - kPadY, row / (kOutWidth * kOutHeight), tap % kKernelX * kDilationX, tap / kKernelX * kDilationY);
#elif kIsAAlongK
  load_box(to, a, barrier, piece * kPieceK, row);
#else
#pragma unroll
  for (int panel = 0; panel < kTileRows / 64; ++panel) load_box(to + panel * 8192, a, barrier, row + panel * 64, piece * kPieceK);
#endif
}

__device__ __forceinline__ void multiply_stage(Sum (&sums)[kSums][kColumns / 2], u32 a, u32 b, bool is_first) {
  begin_products();
#pragma unroll
  for (int step = 0; step < 4; ++step) {
#if kIsBAlongK
    const u64 from_b = descriptor(b + step * 32, 16, 1024);
#else
    const u64 from_b = descriptor(b + step * 2048, 8192, 1024);
#endif
#pragma unroll
    for (int i = 0; i < kSums; ++i) {
#if kIsAAlongK
      const u64 from_a = descriptor(a + i * 8192 + step * 32, 16, 1024);
#else
      const u64 from_a = descriptor(a + i * 8192 + step * 2048, 8192, 1024);
#endif
      multiply(sums[i], from_a, from_b, is_first && step == 0 ? 0 : 1);
    }
  }
  commit_products();
}

#if kIsTransposed
// Sixteen bytes of the residual for each of the four places of a part that a thread copies; zeros outside.
__device__ __forceinline__ void fetch_residual(uint4 (&to)[4], int channel, int row, const u16* __restrict__ residual) {
  const int thread = threadIdx.x % 128;
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const int r = row + k * 16 + thread / 8, c = channel + thread % 8 * 8;
    to[k] = make_uint4(0, 0, 0, 0);
    if (r < kN && c < kM) to[k] = *(const uint4*)(residual + (long long)r * kResidualStride + c);
  }
}

// Sums become outputs part by part, 64 of the result's rows x 64 of its columns: a warp has 16 of those columns and
// turns them as they go through shared memory, so that rows are stored whole.
__device__ __forceinline__ void finish(float (&sums)[kSums][kColumns / 2], unsigned char* staging, const float* biases,
                                       int column_begin, int row_begin, const u16* __restrict__ residual,
                                       Result* __restrict__ y) {
  constexpr int kPanels = (kColumns + 63) / 64;
  const int thread = threadIdx.x % 128, lane = thread % 32, warp = thread / 32, group = threadIdx.x / 128 - 1;
  // A lane's place in the first 16 rows: matrices by columns, then by rows.
  const u32 place = shared_address(staging) + (lane / 16 * 8 + lane % 8) * 128 + (((warp * 2 + lane / 8 % 2) ^ (lane % 8)) << 4);
#if kHasResidual
  uint4 ahead[4];
  fetch_residual(ahead, column_begin, row_begin, residual);
#endif
#pragma unroll
  for (int q = 0; q < kSums * kPanels; ++q) {
    const int i = q / kPanels, part = q % kPanels;
    const int steps = (kColumns - part * 64) / 16 < 4 ? (kColumns - part * 64) / 16 : 4;   // Of 16 rows.
#if kHasResidual
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const int r = k * 16 + thread / 8;
      *(uint4*)(staging + r * 128 + ((thread % 8 ^ (r & 7)) << 4)) = ahead[k];
    }
    if (q + 1 < kSums * kPanels) {
      fetch_residual(ahead, column_begin + (q + 1) / kPanels * 64, row_begin + (q + 1) % kPanels * 64, residual);
    }
    meet(group + 1);
#endif
#if kHasBias
    const float of_rows[2] = {biases[i * 64 + warp * 16 + lane / 4], biases[i * 64 + warp * 16 + lane / 4 + 8]};
#endif
#pragma unroll
    for (int step = 0; step < 4; ++step) {
      if (step >= steps) break;
      float* const t = &sums[i][part * 32 + step * 8];
#if kHasResidual
      u32 bits[4];
      load_transposed(bits, place + step * 2048);
#endif
#pragma unroll
      for (int e = 0; e < 8; ++e) {
        t[e] *= kScale;
#if kHasBias
        t[e] += of_rows[e / 2 % 2];
#endif
#if kHasResidual && kIsResidualFirst
        t[e] += widen((u16)(bits[e / 2] >> (e % 2 * 16)));
#endif
        t[e] = activate(t[e]);
#if kHasResidual && !kIsResidualFirst
        t[e] += widen((u16)(bits[e / 2] >> (e % 2 * 16)));
#endif
      }
    }
#pragma unroll
    for (int step = 0; step < 4; ++step) {
      if (step >= steps) break;
      const float* const t = &sums[i][part * 32 + step * 8];
      const u32 bits[4] = {narrow(t[0], t[1]), narrow(t[2], t[3]), narrow(t[4], t[5]), narrow(t[6], t[7])};
      store_transposed(place + step * 2048, bits);
    }
    meet(group + 1);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const int r = k * 16 + thread / 8, row = row_begin + part * 64 + r, column = column_begin + i * 64 + thread % 8 * 8;
      const uint4 bits = *(const uint4*)(staging + r * 128 + ((thread % 8 ^ (r & 7)) << 4));
      if (k < steps && row < kN && column < kM) *(uint4*)(y + (long long)row * kYStride + column) = bits;
    }
    meet(group + 1);
  }
}
#else
// Sixteen bytes of the residual for each of the four places of a part that a lane copies; zeros outside.
__device__ __forceinline__ void fetch_residual(uint4 (&to)[4], int row, int column, const u16* __restrict__ residual) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int r = row + i * 4 + lane / 8, c = column + lane % 8 * 8;
    to[i] = make_uint4(0, 0, 0, 0);
    if (r < kM && c < kN) to[i] = *(const uint4*)(residual + (long long)r * kResidualStride + c);
  }
}

// The biases of a lane's columns in a part.
__device__ __forceinline__ void load_pairs(float2 (&pairs)[8], const float* from, int lane) {
#pragma unroll
  for (int j = 0; j < 8; ++j) pairs[j] = *(const float2*)(from + j * 8 + lane % 4 * 2);
}

// Sums become outputs part by part, 16 rows x 64 columns of a warp: through shared memory, so that rows are stored whole.
__device__ __forceinline__ void finish(float (&sums)[kSums][kOwnColumns / 2], unsigned char* staging, const float* biases,
                                       int row_begin, int column_begin, const u16* __restrict__ residual,
                                       Result* __restrict__ y) {
  constexpr int kPanels = (kOwnColumns + 63) / 64;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
  unsigned char* own = staging + warp * 2048;
  const int row = row_begin + warp * 16;
  // Of the row that a lane names to ldmatrix and stmatrix: matrices by rows, then by columns.
  const u32 place = shared_address(own) + lane % 16 * 128 + ((lane / 16 ^ (lane % 8)) << 4);
#if kHasBias
  float2 pairs[8];
  load_pairs(pairs, biases, lane);
#endif
#if kHasResidual
  uint4 ahead[4];
  fetch_residual(ahead, row, column_begin, residual);
#endif
#pragma unroll
  for (int q = 0; q < kSums * kPanels; ++q) {
    const int i = q / kPanels, part = q % kPanels;
#if kHasResidual
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const int r = k * 4 + lane / 8, chunk = lane % 8;
      *(uint4*)(own + r * 128 + ((chunk ^ (r & 7)) << 4)) = ahead[k];
    }
    if (q + 1 < kSums * kPanels) {
      fetch_residual(ahead, row + (q + 1) / kPanels * 64, column_begin + (q + 1) % kPanels * 64, residual);
    }
    wait_for_warp();
#endif
#if kHasResidual
    u32 bits[4];
#endif
    // First all numbers of the part, then its stores: the compiler may not move loads past them, and one chain of
    // dependent instructions after the other would take four times as long.
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      if (part * 8 + j >= kOwnColumns / 8) break;
      float* const t = &sums[i][part * 32 + j * 4];
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        t[e] *= kScale;
#if kHasBias
        t[e] += e % 2 == 0 ? pairs[j].x : pairs[j].y;
#endif
      }
#if kHasResidual
      if (j % 2 == 0) load_rows(bits, place ^ (j << 4));
      const u32 low = bits[j % 2 * 2], high = bits[j % 2 * 2 + 1];
      const float rest[4] = {widen((u16)low), widen((u16)(low >> 16)), widen((u16)high), widen((u16)(high >> 16))};
#endif
#pragma unroll
      for (int e = 0; e < 4; ++e) {
#if kHasResidual && kIsResidualFirst
        t[e] += rest[e];
#endif
        t[e] = activate(t[e]);
#if kHasResidual && !kIsResidualFirst
        t[e] += rest[e];
#endif
#if kIsYSmall
        t[e] *= kYFactor;
#endif
      }
    }
#if kHasBias
    if (q + 1 < kSums * kPanels) load_pairs(pairs, biases + (q + 1) % kPanels * 64, lane);
#endif
#if kIsYSmall
    // Rows of 64 bytes; their four chunks are exchanged by pairs of rows.
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      if (part * 8 + j >= kOwnColumns / 8) break;
      const float* const t = &sums[i][part * 32 + j * 4];
      u16* const high = (u16*)(own + lane / 4 * 64 + ((j / 2 ^ (lane / 8 & 3)) << 4) + j % 2 * 8 + lane % 4 * 2);
      high[0] = NARROW_SMALL(t[0], t[1]);
      high[256] = NARROW_SMALL(t[2], t[3]);                       // Eight rows further on.
    }
    wait_for_warp();
#pragma unroll
    for (int k = 0; k < 2; ++k) {
      const int r = k * 8 + lane / 4, chunk = lane % 4;
      const uint4 bits = *(const uint4*)(own + r * 64 + ((chunk ^ (r / 2 & 3)) << 4));
      const int at = row + i * 64 + r, column = column_begin + part * 64 + chunk * 16;
      if (at < kM && column < kN && part * 64 + chunk * 16 < kOwnColumns) *(uint4*)(y + (long long)at * kYStride + column) = bits;
    }
#else
#pragma unroll
    for (int j = 0; j < 8; j += 2) {
      if (part * 8 + j >= kOwnColumns / 8) break;
      const float* const t = &sums[i][part * 32 + j * 4];
      const u32 pairs_of_rows[4] = {narrow(t[0], t[1]), narrow(t[2], t[3]), narrow(t[4], t[5]), narrow(t[6], t[7])};
      store_rows(place ^ (j << 4), pairs_of_rows);
    }
    wait_for_warp();
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const int r = k * 4 + lane / 8, chunk = lane % 8;
      const uint4 bits = *(const uint4*)(own + r * 128 + ((chunk ^ (r & 7)) << 4));
      const int at = row + i * 64 + r, column = column_begin + part * 64 + chunk * 8;
      if (at < kM && column < kN && part * 64 + chunk * 8 < kOwnColumns) *(uint4*)(y + (long long)at * kYStride + column) = bits;
    }
#endif
    wait_for_warp();
  }
}

#endif

#if kIsInteger
// Of a tile's columns: their scales, and the zero point times their sums of B.
__device__ __forceinline__ void fetch_columns(float* scales, int column_begin, const float* __restrict__ column_scale,
                                              const int* __restrict__ column_sums) {
  for (int i = threadIdx.x % 128; i < kColumns; i += 128) {
    const bool is_inside = column_begin + i < kN;
    scales[i] = is_inside && kHasColumnScale ? column_scale[column_begin + i] : 1.0f;
    ((int*)scales)[kGroups * kBiasPitch + i] = is_inside && kHasColumnSums ? kZeroPoint * column_sums[column_begin + i] : 0;
  }
}
__device__ __forceinline__ void take_numbers(float (&numbers)[kSums][kColumns / 2], const Sum (&sums)[kSums][kColumns / 2],
                                             const float* scales) {
#pragma unroll
  for (int j = 0; j < kColumns / 8; ++j) {
    const int column = j * 8 + threadIdx.x % 4 * 2;
    const float2 scale = *(const float2*)(scales + column);
    const int2 less = *(const int2*)(scales + kGroups * kBiasPitch + column);
#pragma unroll
    for (int i = 0; i < kSums; ++i) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        numbers[i][j * 4 + e] = (float)(sums[i][j * 4 + e] - (e % 2 == 0 ? less.x : less.y)) * (e % 2 == 0 ? scale.x : scale.y);
      }
    }
  }
}
#endif

#if kSplits > 1
// The sums of a warpgroup are dealt out: part q of its columns goes to block group * kParts + q, which finishes it.
// `arrived` counts the threads that have written theirs here, `taken` the blocks that have read what this warpgroup
// wrote to them. Returns whether this warpgroup has a share to finish, which is in `own` then.
__device__ __forceinline__ bool share_sums(float (&own)[kSums][kOwnColumns / 2], const float (&sums)[kSums][kColumns / 2],
                                           const float4* shares, u32 shares_at, u32 arrived, u32 taken, int group, int rank,
                                           int round, int thread) {
  constexpr int kVectors = kSums * kOwnColumns / 8;                // Of four sums, of a thread.
  if (round > 0 && (kParts > 1 || rank / kParts != group)) wait_for_data(taken, (round - 1) & 1);
#pragma unroll
  for (int q = 0; q < kParts; ++q) {
    const int to = group * kParts + q;
    if (to == rank) {
#pragma unroll
      for (int v = 0; v < kVectors * 4; ++v) {
        own[v / (kOwnColumns / 2)][v % (kOwnColumns / 2)] = sums[v / (kOwnColumns / 2)][q * (kOwnColumns / 2) + v % (kOwnColumns / 2)];
      }
    } else {
      const u32 slot = shares_at + (rank < to ? rank : rank - 1) * kShareBytes + thread * 16;
#pragma unroll
      for (int v = 0; v < kVectors; ++v) {
        const float* const from = &sums[v * 4 / (kOwnColumns / 2)][q * (kOwnColumns / 2) + v * 4 % (kOwnColumns / 2)];
        store_to(slot + v * 2048, to, make_float4(from[0], from[1], from[2], from[3]));
      }
      arrive_with_data(arrived, to);
    }
  }
  if (rank / kParts != group) return false;
  wait_for_data(arrived, round & 1);
#pragma unroll 1
  for (int slot = 0; slot < kSplits - 1; ++slot) {
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      const float4 share = shares[slot * (kShareBytes / 16) + v * 128 + thread];
      float* const to = &own[v * 4 / (kOwnColumns / 2)][v * 4 % (kOwnColumns / 2)];
      to[0] += share.x;
      to[1] += share.y;
      to[2] += share.z;
      to[3] += share.w;
    }
  }
  meet(group + 1);
  if (thread < kSplits && thread != rank) arrive_with_data(taken, thread);
  return true;
}
#endif

#if kHasBias
// The biases of a tile to come, early: a load takes long enough to be felt at the beginning of a tile.
__device__ __forceinline__ void fetch_biases(float (&to)[kBiasesOfThread], const Bias* __restrict__ bias, int tile, int rank,
                                             int group) {
  const int row = row_of(tile, rank) + (kIsAlternating ? 0 : group * kGroupRows);
  const int first = kIsTransposed ? row : column_of(tile);
#pragma unroll
  for (int i = 0; i < kBiasesOfThread; ++i) {
    const int place = i * 128 + threadIdx.x % 128;
    const bool is_there = tile < kTiles && place < kBiases && first + place < (kIsTransposed ? kM : kN);
    to[i] = is_there ? widen(bias[first + place]) : 0.0f;
  }
}
#endif

extern "C" __global__ void __launch_bounds__((kGroups + 1) * 128, 1) kClusterDims
warpgroup(const __grid_constant__ TensorMap a, const __grid_constant__ TensorMap b, const Bias* __restrict__ bias,
          const u16* __restrict__ residual, Result* __restrict__ y
#if kIsInteger
          , const float* __restrict__ column_scale, const int* __restrict__ column_sums
#endif
) {
  SHARED_MEMORY(memory);
  const u32 base = (shared_address(memory) + 1023) & ~1023u;
  const u32 places = base + kKeptBytes;
  unsigned char* const staging = memory + (places - shared_address(memory)) + kStages * kStageBytes;
  float* const biases = (float*)(staging + kGroups * kStagingBytes);
  const u32 full = shared_address(biases + (kIsInteger ? 3 : 1) * kGroups * kBiasPitch), empty = full + kStages * 8;
  // Of the blocks that share a tile, and of those that fetch for each other.
  const u32 split = kSplits > 1 ? blockIdx.z : 0, rank = kSplits > 1 ? 0 : blockIdx.z;
  const int piece_begin = kPieces * (int)split / kSplits, piece_end = kPieces * ((int)split + 1) / kSplits;
  const u32 kept = empty + kStages * 8;  // The barrier of the columns that are kept.
#if kSplits > 1
  const u32 arrived = kept + 8, taken = arrived + 8;
  const float4* const shares = (const float4*)((unsigned char*)biases + 2 * kBiasPitch * 4 + (kStages * 16 + 32 + 15) / 16 * 16);
#endif
  const int warpgroup = threadIdx.x / 128, thread = threadIdx.x % 128;
  if (threadIdx.x == 0) {
    prefetch(&a);
    prefetch(&b);
    for (int i = 0; i < kStages; ++i) {
      init_barrier(full + i * 8, 1);
      init_barrier(empty + i * 8, (kIsAlternating ? 1 : 2) * kCluster);
    }
    init_barrier(kept, 1);
#if kSplits > 1
    init_barrier(arrived, (kSplits - 1) * 128);
    for (int i = 0; i < 2; ++i) init_barrier(taken + i * 8, kParts > 1 && (int)split / kParts == i ? kParts - 1 : kParts);
#endif
    publish_barriers();
  }
  wait_for_cluster();

  if (warpgroup == 0) {
    give_registers();
    if (threadIdx.x == 0) {
      Pipe pipe{0, 1};
      int ahead = 0;
#if kKeepsB
#if !kIsWeightConstant
      wait_for_predecessor();
#endif
      expect_bytes(kept, kKeptBytes);
      for (int piece = 0; piece < kPieces; ++piece) {
        fetch_b(base + piece * kBBytes, &b, kept, k_of(piece), blockIdx.x % kTilesN * kColumns, rank);
      }
#elif kIsWeightConstant
      for (int tile = blockIdx.x, piece = piece_begin; ahead < kStages && tile < kTiles; ++ahead) {
        expect_bytes(full + ahead * 8, kStageBytes);
        if (kIsTransposed) {
          fetch_a(places + ahead * kStageBytes, &a, full + ahead * 8, piece, row_of(tile, rank));
        } else {
          fetch_b(places + ahead * kStageBytes + kABytes, &b, full + ahead * 8, k_of(piece), column_of(tile), rank);
        }
        if (++piece == piece_end) { piece = piece_begin; tile += kNumClusters; }
      }
#endif
      wait_for_predecessor();
      start_successor();
      for (int tile = blockIdx.x; tile < kTiles; tile += kNumClusters) {
        const int row = row_of(tile, rank), column = column_of(tile);
        for (int piece = piece_begin; piece < piece_end; ++piece) {
          const u32 stage = places + pipe.place * kStageBytes, barrier = full + pipe.place * 8;
          if (ahead > 0) {
            --ahead;
          } else {
            wait_barrier(empty + pipe.place * 8, pipe.parity);
            expect_bytes(barrier, kStageBytes);
            if (kIsTransposed) {
              fetch_a(stage, &a, barrier, piece, row);
            } else if (!kKeepsB) {
              fetch_b(stage + kABytes, &b, barrier, k_of(piece), column, rank);
            }
          }
          if (kIsTransposed) {
            fetch_b(stage + kABytes, &b, barrier, k_of(piece), column, rank);
          } else {
            fetch_a(stage, &a, barrier, piece, row);
          }
          pipe.next();
        }
      }
    }
  } else {
    take_registers();
    wait_for_predecessor();
    const int group = warpgroup - 1;
    float* const own_biases = biases + group * kBiasPitch;
    Pipe pipe{0, 0};
    Sum sums[kSums][kColumns / 2];
    int tile = blockIdx.x;
    if (kKeepsB) wait_barrier(kept, 0);
#if kSplits > 1
    int round = 0;
#endif
    // Turns are needed for more than speed: the parity of a place says nothing about whose tile lies there.
    if (kIsAlternating) {
      tile += group * kNumClusters;
      pipe.skip(group * kPieces);
      if (group == kGroups - 1) give_turn(0);
    }
    constexpr int kStep = kIsAlternating ? kGroups * kNumClusters : kNumClusters;
#if kHasBias
    float next_biases[kBiasesOfThread];
    fetch_biases(next_biases, bias, tile, rank, group);
#endif
    for (; tile < kTiles; tile += kStep) {
      const int row = row_of(tile, rank) + (kIsAlternating ? 0 : group * kGroupRows), column = column_of(tile);
#if kHasBias
      meet(group + 1);  // All have read those of the tile before.
#pragma unroll
      for (int i = 0; i < kBiasesOfThread; ++i) {
        if (kBiases % 128 == 0 || i * 128 + thread < kBiases) own_biases[i * 128 + thread] = next_biases[i];
      }
#endif
#if kIsInteger
      meet(group + 1);
      fetch_columns(own_biases + kGroups * kBiasPitch, column, column_scale, column_sums);
#endif
      if (kIsAlternating || (kDelay > 0 && group > 0)) wait_for_turn(group);
      int before = 0;
      for (int piece = piece_begin; piece < piece_end; ++piece) {
        wait_barrier(full + pipe.place * 8, pipe.parity);
        const u32 stage = places + pipe.place * kStageBytes;
        const u32 from_b = kKeepsB ? base + piece * kBBytes : stage + kABytes;
        multiply_stage(sums, stage + (kIsAlternating ? 0 : group * kGroupRows * 128), from_b, piece == piece_begin);
        if (piece > piece_begin) {
          wait_products<1>();
          if (thread < kCluster) arrive_at(empty + before * 8, thread);
        }
        before = pipe.place;
        pipe.next();
        if (kDelay > 0 && group == 0 && piece == piece_begin + kDelay - 1) give_turn(1);
      }
      if (kIsAlternating) give_turn((group + 1) % kGroups);
      wait_products<0>();
      if (thread < kCluster) arrive_at(empty + before * 8, thread);
      if (kIsAlternating) pipe.skip((kGroups - 1) * kPieces);
#if kHasBias
      fetch_biases(next_biases, bias, tile + kStep, rank, group);
      meet(group + 1);
#endif
#if kSplits > 1
      float own[kSums][kOwnColumns / 2];
      const bool is_mine = share_sums(own, sums, shares, shared_address(shares), arrived, taken + group * 8, group, (int)split, round++, thread);
      const int part = (int)split % kParts * kOwnColumns;
      if (is_mine) finish(own, staging + group * kStagingBytes, own_biases + part, row, column + part, residual, y);
#elif kIsInteger
      meet(group + 1);
      float numbers[kSums][kColumns / 2];
      take_numbers(numbers, sums, own_biases + kGroups * kBiasPitch);
      finish(numbers, staging + group * kStagingBytes, own_biases, row, column, residual, y);
#else
      finish(sums, staging + group * kStagingBytes, own_biases, row, column, residual, y);
#endif
    }
  }
  // Nobody leaves while others of the cluster may still write to its shared memory.
  wait_for_warp();
  wait_for_cluster();
}
)cuda";
}

}  // namespace pajamas::cuda
