// The body of every attention kernel: CUDA C++ that the constants of attention_source.cpp come before. A block is
// kGroups warpgroups of 64 query rows each and one more that fetches. The last asks the copy engine (TMA) for the
// queries of an item (rows of one head) and for its keys and values, kKeys of them at a time, into a ring in shared
// memory; barriers there say when a place is full and when it is free again. The grid is as large as the device, and
// each block takes item after item, so what an item begins with is fetched while the one before it is computed.
//
// A warpgroup multiplies its queries with a block of keys by wgmma (scores, float32, in registers), takes their powers
// of two, and multiplies those, rounded to 16 bits and still in registers, with the values. The product with the values
// of a block runs under the powers of the next. Rows know their largest score so far; when it grows, what was summed is
// scaled down. The sum of powers is joined across threads at the end only.
//
// Blocks of keys are taken from the last to the first: only the last is partial, so only the first taken is masked.
//
// Several warpgroups take turns with the tensor cores, so that one takes powers while another multiplies.
//
// kHasQInRegisters: queries are the first factor from registers, which spares shared memory a fifth of its reads.
//
// NaN: the largest score of a row with a NaN is NaN, and so is all of the row.
#include "targets/cuda/backends/attention_kernel.h"

namespace pajamas::cuda {

const char* attention_device_text() {
  return R"cuda(
__device__ __forceinline__ void load_box_of_four(u32 to, const TensorMap* map, u32 barrier, int x, int y, int z, int w) {
  asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], [%2];"
               ::"r"(to), "l"(map), "r"(barrier), "r"(x), "r"(y), "r"(z), "r"(w) : "memory");
}
#if kHasQInRegisters
__device__ __forceinline__ void load_matrices(u32 (&r)[4], u32 from) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(from) : "memory");
}
#endif
#if kHasBudget
__device__ __forceinline__ void keep_few_registers() { asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kFetcherRegisters)); }
__device__ __forceinline__ void take_more_registers() { asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kGroupRegisters)); }
#else
__device__ __forceinline__ void keep_few_registers() {}
__device__ __forceinline__ void take_more_registers() {}
#endif
// The products that write or read these registers have ended: nothing that reads or writes them moves in front of here.
template <int count> __device__ __forceinline__ void settle(float (&r)[count]) {
#pragma unroll
  for (int i = 0; i < count; ++i) asm volatile("" : "+f"(r[i]) :: "memory");
}
template <int count> __device__ __forceinline__ void settle(u32 (&r)[count]) {
#pragma unroll
  for (int i = 0; i < count; ++i) asm volatile("" : "+r"(r[i]) :: "memory");
}
__device__ __forceinline__ float of_neighbour(float value, int lanes) { return __shfl_xor_sync(0xffffffffu, value, lanes); }
// NaN where one of them is.
__device__ __forceinline__ float larger(float a, float b) {
  float r;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
  return r;
}
__device__ __forceinline__ float fused(float a, float b, float c) { return fmaf(a, b, c); }
__device__ __forceinline__ float float_of(u32 bits) { return __uint_as_float(bits); }
)cuda";
}

const char* attention_kernel_text() {
  return R"cuda(
constexpr int kTileRows = kGroups * 64;
constexpr int kPanels = (kHeadDim + 63) / 64;                    // Of 64 columns: one row of the swizzle each.
constexpr int kPanelBytes = kKeys * 128;
constexpr int kPieceBytes = kPanels * kPanelBytes;               // The keys of a block, or its values.
constexpr int kQBytes = kPanels * 8192;                          // Of a warpgroup.
constexpr int kStagingBytes = 4 * 2048;                          // Of a warpgroup: 16 rows x 64 columns a warp.
constexpr int kScoreSteps = (kHeadDim + 15) / 16;                // wgmma takes 16 along the sum.
constexpr int kBlocks = (kKvLen + kKeys - 1) / kKeys;
constexpr int kLastKeys = kKvLen - (kBlocks - 1) * kKeys;        // In the last block.
constexpr int kTilesM = (kSeqLen + kTileRows - 1) / kTileRows;
constexpr int kParts = kBlocks > 1 ? 1 : kKeys / 16 < 4 ? kKeys / 16 : 4;   // One block of keys: its values in so many products.
constexpr int kItems = kTilesM * kNumHeads * kBatch;

__device__ __forceinline__ float infinity() { return float_of(0x7f800000u); }

#if kHasQInRegisters
typedef u32 Queries[kScoreSteps][4];
__device__ __forceinline__ void take_queries(Queries& queries, u32 q) {
  const int row = threadIdx.x / 32 % 4 * 16 + threadIdx.x % 16, half = threadIdx.x % 32 / 16;
#pragma unroll
  for (int step = 0; step < kScoreSteps; ++step) {
    load_matrices(queries[step], q + step / 4 * 8192 + row * 128 + ((step % 4 * 2 + half ^ row & 7) << 4));
  }
}
#else
typedef u32 Queries;
#endif

__device__ __forceinline__ void begin_scores(float (&scores)[kKeys / 2], const Queries& q, u32 k) {
  begin_products();
#pragma unroll
  for (int step = 0; step < kScoreSteps; ++step) {
    const u64 keys = descriptor(k + step / 4 * kPanelBytes + step % 4 * 32, 16, 1024);
#if kHasQInRegisters
    multiply_scores(scores, q[step][0], q[step][1], q[step][2], q[step][3], keys, step > 0 ? 1 : 0);
#else
    multiply_scores(scores, descriptor(q + step / 4 * 8192 + step % 4 * 32, 16, 1024), keys, step > 0 ? 1 : 0);
#endif
  }
  commit_products();
}

// Sixteen keys a step.
template <int begin, int end>
__device__ __forceinline__ void begin_values(float (&sums)[kValueColumns / 2], const u32 (&weights)[kKeys / 4], u32 v) {
  begin_products();
#pragma unroll
  for (int step = begin; step < end; ++step) {
    multiply_weights(sums, weights[step * 4], weights[step * 4 + 1], weights[step * 4 + 2], weights[step * 4 + 3],
                     descriptor(v + step * 2048, kPanelBytes, 1024), kBlocks > 1 || step > 0 ? 1 : 0);
  }
  commit_products();
}

// A thread has columns c, c + 1 of eight of rows r (elements 0 and 1 of four) and r + 8 (2 and 3).
__device__ __forceinline__ void mask_scores(float (&scores)[kKeys / 2]) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < kKeys / 2; ++i) {
    if (i / 4 * 8 + 8 > kLastKeys && i / 4 * 8 + lane % 4 * 2 + i % 2 >= kLastKeys) scores[i] = -infinity();
  }
}

__device__ __forceinline__ void join_largest(float (&largest)[2], const float (&scores)[kKeys / 2]) {
  // Two chains a row: one alone would wait for each of its links.
  float chains[4] = {scores[0], scores[1], scores[2], scores[3]};
#pragma unroll
  for (int i = 4; i < kKeys / 2; ++i) chains[i % 4] = larger(chains[i % 4], scores[i]);
#pragma unroll
  for (int row = 0; row < 2; ++row) {
    float most = larger(chains[row * 2], chains[row * 2 + 1]);
    most = larger(most, of_neighbour(most, 1));
    most = larger(most, of_neighbour(most, 2));
    largest[row] = larger(largest[row], most * kFactor);
  }
}

// Scores become powers of two, relative to 2^base, and these weights of 16 bits; `totals` gets what they sum to.
template <int begin, int end>
__device__ __forceinline__ void take_powers(float (&scores)[kKeys / 2], const float (&base)[2], float (&totals)[2]) {
  float chains[4] = {0, 0, 0, 0};
#pragma unroll
  for (int i = begin * 8; i < end * 8; ++i) {
    scores[i] = power_of_two(fused(scores[i], kFactor, -base[i % 4 / 2]));
    chains[i % 4] += scores[i];
  }
  totals[0] += chains[0] + chains[1];
  totals[1] += chains[2] + chains[3];
}

template <int begin, int end>
__device__ __forceinline__ void round_weights(u32 (&weights)[kKeys / 4], const float (&scores)[kKeys / 2]) {
#pragma unroll
  for (int i = begin * 4; i < end * 4; ++i) weights[i] = narrow(scores[i * 2], scores[i * 2 + 1]);
}

// A row whose scores are all minus infinity so far has no power that is not zero.
__device__ __forceinline__ float base_of(float largest) { return largest == -infinity() ? 0.0f : largest; }

// Powers and values in parts, when there is one block of keys: the product of a part runs under the powers of the next.
template <int part>
__device__ __forceinline__ void weigh_part(float (&sums)[kValueColumns / 2], u32 (&weights)[kKeys / 4],
                                           float (&scores)[kKeys / 2], const float (&base)[2], float (&totals)[2], u32 v) {
  constexpr int begin = kKeys / 16 * part / kParts, end = kKeys / 16 * (part + 1) / kParts;
  take_powers<begin, end>(scores, base, totals);
  round_weights<begin, end>(weights, scores);
  begin_values<begin, end>(sums, weights, v);
  if constexpr (part + 1 < kParts) weigh_part<part + 1>(sums, weights, scores, base, totals, v);
}

// Sums become rows of the output, 16 rows x 64 columns of a warp at a time: through shared memory, so that rows are
// stored whole.
__device__ __forceinline__ void finish(float (&sums)[kValueColumns / 2], float (&totals)[2], unsigned char* staging,
                                       int row_begin, u16* __restrict__ y) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
  unsigned char* own = staging + warp * 2048;
  const int place = lane / 4 * 128 + lane % 4 * 4;
  float scale[2];
#pragma unroll
  for (int row = 0; row < 2; ++row) {
    float total = totals[row];
    total += of_neighbour(total, 1);
    total += of_neighbour(total, 2);
    scale[row] = reciprocal(total);
  }
#pragma unroll
  for (int panel = 0; panel < kPanels; ++panel) {
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      if (panel * 8 + j >= kValueColumns / 8) break;
      const float* const t = &sums[panel * 32 + j * 4];
      u32* const to = (u32*)(own + place + ((j ^ (lane / 4)) << 4));
      to[0] = narrow(t[0] * scale[0], t[1] * scale[0]);
      to[256] = narrow(t[2] * scale[1], t[3] * scale[1]);        // Eight rows further on: the same exchange of chunks.
    }
    wait_for_warp();
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const int r = k * 4 + lane / 8, chunk = lane % 8;
      const uint4 bits = *(const uint4*)(own + r * 128 + ((chunk ^ (r & 7)) << 4));
      const int row = row_begin + warp * 16 + r, column = panel * 64 + chunk * 8;
      if (row < kSeqLen && column < kHeadDim) *(uint4*)(y + (long long)row * kYRowStride + column) = bits;
    }
    wait_for_warp();
  }
}

__device__ __forceinline__ void fetch_piece(u32 to, const TensorMap* map, u32 barrier, int row, int head, int batch, bool is_value) {
  expect_bytes(barrier, kPieceBytes);
#pragma unroll
  for (int panel = 0; panel < kPanels; ++panel) {
    if (is_value) {
      load_box_of_four(to + panel * kPanelBytes, map, barrier, panel * 64, PLACE_IN_V(row, head, batch));
    } else {
      load_box_of_four(to + panel * kPanelBytes, map, barrier, panel * 64, PLACE_IN_K(row, head, batch));
    }
  }
}

extern "C" __global__ void __launch_bounds__(kThreads, 1)
attention(const __grid_constant__ TensorMap q, const __grid_constant__ TensorMap k, const __grid_constant__ TensorMap v,
          u16* __restrict__ y) {
  SHARED_MEMORY(memory);
  // Queries twice (those of the next item come early), the ring, the staging of results, barriers.
  const u32 queries = (shared_address(memory) + 1023) & ~1023u;
  const u32 ring = queries + 2 * kGroups * kQBytes;
  unsigned char* const staging = memory + (ring - shared_address(memory)) + kStages * kPieceBytes;
  const u32 full = shared_address(staging) + kGroups * kStagingBytes, empty = full + kStages * 8;
  const u32 q_full = empty + kStages * 8, q_empty = q_full + 2 * kGroups * 8;
  const int group = threadIdx.x / 128, thread = threadIdx.x % 128;
  if (threadIdx.x == 0) {
    prefetch(&q);
    prefetch(&k);
    prefetch(&v);
    for (int i = 0; i < kStages; ++i) {
      init_barrier(full + i * 8, 1);
      init_barrier(empty + i * 8, kGroups);
    }
    for (int i = 0; i < 2 * kGroups; ++i) {
      init_barrier(q_full + i * 8, 1);
      init_barrier(q_empty + i * 8, 1);
    }
    publish_barriers();
  }
  wait_for_cluster();

  if (group == kGroups) {
    keep_few_registers();
    if (thread == 0) {
      wait_for_predecessor();
      start_successor();
      Pipe pipe{0, 1};
      int count = 0;
      for (int item = blockIdx.x; item < kItems; item += kGrid, ++count) {
        const int row = item % kTilesM * kTileRows, head = item / kTilesM % kNumHeads, batch = item / (kTilesM * kNumHeads);
        const int kv_head = head / kHeadsOfKv;
        for (int g = 0; g < kGroups; ++g) {
          const u32 at = (count & 1) * kGroups + g;
          wait_barrier(q_empty + at * 8, (count >> 1 & 1) ^ 1);
          expect_bytes(q_full + at * 8, kQBytes);
          for (int panel = 0; panel < kPanels; ++panel) {
            load_box_of_four(queries + at * kQBytes + panel * 8192, &q, q_full + at * 8, panel * 64,
                             PLACE_IN_Q(row + g * 64, head, batch));
          }
        }
        // In the order in which they are used: keys of a block, then values of the one taken before it.
        for (int i = 0; i <= kBlocks; ++i) {
          const int block = kBlocks - 1 - i;
          if (i < kBlocks) {
            wait_barrier(empty + pipe.place * 8, pipe.parity);
            fetch_piece(ring + pipe.place * kPieceBytes, &k, full + pipe.place * 8, block * kKeys, kv_head, batch, false);
            pipe.next();
          }
          if (i > 0) {
            wait_barrier(empty + pipe.place * 8, pipe.parity);
            fetch_piece(ring + pipe.place * kPieceBytes, &v, full + pipe.place * 8, (block + 1) * kKeys, kv_head, batch, true);
            pipe.next();
          }
        }
      }
    }
  } else {
    take_more_registers();
    wait_for_predecessor();
    Pipe pipe{0, 0};
    int count = 0;
    if (kGroups > 1 && group == kGroups - 1) give_turn(0);
    for (int item = blockIdx.x; item < kItems; item += kGrid, ++count) {
      const int row = item % kTilesM * kTileRows + group * 64, head = item / kTilesM % kNumHeads;
      const int batch = item / (kTilesM * kNumHeads);
      const u32 q_at = (count & 1) * kGroups + group;
      float scores[kKeys / 2], sums[kValueColumns / 2];
      u32 weights[kKeys / 4];
      float largest[2] = {-infinity(), -infinity()}, totals[2] = {0, 0}, base[2];

      wait_barrier(q_full + q_at * 8, count >> 1 & 1);
#if kHasQInRegisters
      Queries own_q;
      take_queries(own_q, queries + q_at * kQBytes);
      meet(group + 1);                                            // Turns have the names before it.
      if (thread == 0) arrive_at(q_empty + q_at * 8, 0);
#else
      const Queries own_q = queries + q_at * kQBytes;
#endif
      wait_barrier(full + pipe.place * 8, pipe.parity);
      if (kGroups > 1) wait_for_turn(group);
      begin_scores(scores, own_q, ring + pipe.place * kPieceBytes);
      if (kGroups > 1 && kBlocks > 1) give_turn((group + 1) % kGroups);
      wait_products<0>();
      if (kGroups > 1 && kBlocks == 1) give_turn((group + 1) % kGroups);
      settle(scores);
      if (thread == 0) {
        arrive_at(empty + pipe.place * 8, 0);
        if (kBlocks == 1 && !kHasQInRegisters) arrive_at(q_empty + q_at * 8, 0);
      }
      pipe.next();
      if (kLastKeys < kKeys) mask_scores(scores);
      join_largest(largest, scores);
      base[0] = base_of(largest[0]);
      base[1] = base_of(largest[1]);
#if kBlocksOfKeys == 1
      wait_barrier(full + pipe.place * 8, pipe.parity);
      weigh_part<0>(sums, weights, scores, base, totals, ring + pipe.place * kPieceBytes);
#else
      take_powers<0, kKeys / 16>(scores, base, totals);
      round_weights<0, kKeys / 16>(weights, scores);
#pragma unroll
      for (int i = 0; i < kValueColumns / 2; ++i) sums[i] = 0;
      for (int i = 1; i < kBlocks; ++i) {
        wait_barrier(full + pipe.place * 8, pipe.parity);
        if (kGroups > 1) wait_for_turn(group);
        begin_scores(scores, own_q, ring + pipe.place * kPieceBytes);
        const int place_of_k = pipe.place;
        pipe.next();
        wait_barrier(full + pipe.place * 8, pipe.parity);
        begin_values<0, kKeys / 16>(sums, weights, ring + pipe.place * kPieceBytes);
        const int place_of_v = pipe.place;
        pipe.next();
        if (kGroups > 1) give_turn((group + 1) % kGroups);
        wait_products<1>();
        settle(scores);
        if (thread == 0) {
          arrive_at(empty + place_of_k * 8, 0);
          if (i == kBlocks - 1 && !kHasQInRegisters) arrive_at(q_empty + q_at * 8, 0);
        }
        const float before[2] = {largest[0], largest[1]};
        join_largest(largest, scores);
        float shrink[2];
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          base[r] = base_of(largest[r]);
          shrink[r] = power_of_two(before[r] - base[r]);
          totals[r] *= shrink[r];
        }
        take_powers<0, kKeys / 16>(scores, base, totals);
        wait_products<0>();
        settle(sums);
        settle(weights);
        if (thread == 0) arrive_at(empty + place_of_v * 8, 0);
#pragma unroll
        for (int e = 0; e < kValueColumns / 2; ++e) sums[e] *= shrink[e % 4 / 2];
        round_weights<0, kKeys / 16>(weights, scores);
      }
      wait_barrier(full + pipe.place * 8, pipe.parity);
      begin_values<0, kKeys / 16>(sums, weights, ring + pipe.place * kPieceBytes);
#endif
      wait_products<0>();
      settle(sums);
      settle(weights);
      if (thread == 0) arrive_at(empty + pipe.place * 8, 0);
      pipe.next();
      finish(sums, totals, staging + group * kStagingBytes, row,
             y + (long long)batch * kYBatchStride + (long long)head * kYHeadStride);
    }
  }
}
)cuda";
}

}  // namespace pajamas::cuda
