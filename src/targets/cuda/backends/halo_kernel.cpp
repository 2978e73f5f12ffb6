// The body of every halo kernel: CUDA C++ that the constants of halo_source.cpp come before. A block keeps the weights
// of its output channels in shared memory. Tile after tile of the image comes there too, with the margin that the
// windows reach, one while the other is multiplied. The windows of neighbouring pixels overlap in it: rows of the
// matrix A are addresses (ldmatrix), nothing is copied apart. K runs along the lines of the window: for each line kRun
// elements that lie side by side in shared memory, from the pixel where the window begins.
//
// Output channels are dealt to the matrix columns so that a thread's sums are of channels that follow each other: it
// stores them as they are.
#include "targets/cuda/backends/halo_kernel.h"

namespace pajamas::cuda {

const char* halo_kernel_text() {
  return R"cuda(
constexpr int kThreads = kWarpsM * kWarpsN * 32;
constexpr int kRun = ((kKernelX + kLead) * kChannels + 15) / 16 * 16;     // Elements of one line of the window.
constexpr int kRunSteps = kRun / 16;
constexpr int kInHeight = (kTileHeight - 1) * kStrideY + kKernelY;
constexpr int kInWidth = (kTileWidth - 1) * kStrideX + (kRun + kChannels - 1) / kChannels;
constexpr int kPixelChunks = kChannels / 8;                                // Of 16 bytes; 0 where two pixels share one.
constexpr int kRowChunks = kChannels < 8 ? (kInWidth + 1) / 2 : kInWidth * kPixelChunks;
constexpr int kInBytes = kInHeight * kRowChunks * 16;
constexpr int kWeightChunks = kKernelY * kRun / 8 | 1;                     // Odd: eight rows hit all banks.
constexpr int kWeightBytes = kColumns * kWeightChunks * 16;
constexpr int kSpan = kTileWidth < 16 ? 8 : 16;                            // Pixels side by side among 16 rows of A.
constexpr int kTilesAcross = kTileWidth / kSpan;
constexpr int kTilesM = kTileHeight * kTileWidth / 16 / kWarpsM;
constexpr int kWarpColumns = kColumns / kWarpsN, kTilesN = kWarpColumns / 8;
constexpr int kGroup = kStoreVector / 2;                                   // Tiles of N among which channels are dealt.
constexpr int kTilesX = (kOutWidth + kTileWidth - 1) / kTileWidth, kTilesY = (kOutHeight + kTileHeight - 1) / kTileHeight;
constexpr int kTiles = kTilesX * kTilesY * kImages;

struct Place { int image, y, x; };

__device__ __forceinline__ Place place_of(int tile) {
  Place place;
  place.x = tile % kTilesX * kTileWidth;
  place.y = tile / kTilesX % kTilesY * kTileHeight;
  place.image = tile / (kTilesX * kTilesY);
  return place;
}

// Byte offset of 16 bytes of a pixel: chunks of neighbouring pixels are exchanged so that eight pixels read at one
// place hit as many banks as there are.
__device__ __forceinline__ u32 chunk_at(int row, int pixel, int chunk) {
  constexpr int kSwap = kPixelChunks % 8 == 0 ? 8 : kPixelChunks % 4 == 0 ? 4 : kPixelChunks % 2 == 0 ? 2 : 1;
  constexpr int kEvery = 8 / (kSwap * kStrideX) > 0 ? 8 / (kSwap * kStrideX) : 1;
  if (kChannels >= 8) chunk ^= pixel / kStrideX / kEvery & (kSwap - 1);
  return (u32)(row * kRowChunks + pixel * kPixelChunks + chunk) * 16;
}

// The channel that column `column` of the matrix B of a block stands for.
__device__ __forceinline__ int channel_of(int column) {
  const int tile = column / 8, at = column % 8;
  return tile / kGroup * (8 * kGroup) + at / 2 * (2 * kGroup) + tile % kGroup * 2 + at % 2;
}

__device__ __forceinline__ void load_weights(u32 to, const u16* __restrict__ weights, int column_begin, int thread) {
  constexpr int kVector = kChannels < 8 ? 4 : 8, kLine = kKernelX * kChannels / kVector, kLast = kRun / kVector;
  for (int i = thread; i < kColumns * kKernelY * kLast; i += kThreads) {
    const int column = i / (kKernelY * kLast), line = i / kLast % kKernelY, at = i % kLast;
    const int from = at - kLead * kChannels / kVector;
    const bool is_weight = from >= 0 && from < kLine;
    const u16* source = weights + (long long)(column_begin + channel_of(column)) * kWeightStride;
    if (is_weight) source += (line * kLine + from) * kVector;
    copy_async<kVector * 2>(to + column * (kWeightChunks * 16) + (line * kLast + at) * (kVector * 2), source, is_weight);
  }
}

__device__ __forceinline__ void load_input(u32 to, const u16* __restrict__ x, int tile, int thread) {
  const Place place = place_of(tile);
  const int left = place.x * kStrideX - kPadX - kLead, top = place.y * kStrideY - kPadY;
  const u16* const image = x + (long long)place.image * kImageStride;
  for (int i = thread; i < kInHeight * kRowChunks; i += kThreads) {
    const int row = i / kRowChunks, at = i % kRowChunks;
    const int pixel = kChannels < 8 ? at * 2 : at / (kPixelChunks + (kChannels < 8)), chunk = kChannels < 8 ? 0 : at - pixel * kPixelChunks;
    const int in_x = left + pixel, in_y = top + row;
    const bool is_inside = in_x >= 0 && in_x < kInputWidth && in_y >= 0 && in_y < kInputHeight;
    const u16* source = is_inside ? image + (long long)in_y * kLineStride + in_x * kPixelStride + chunk * 8 : x;
    copy_async<16>(to + (kChannels < 8 ? (u32)i * 16 : chunk_at(row, pixel, chunk)), source, is_inside);
  }
}

// Byte offset of the eight elements of one row of A from the pixel where its window begins: step of the run, and which half.
__device__ __forceinline__ u32 a_at(int row, int pixel, int step, int half) {
  if (kChannels < 8) return (u32)(row * kRowChunks + pixel / 2 + step * 2 + half) * 16;
  if (kChannels == 8) return chunk_at(row, pixel + step * 2 + half, 0);
  return chunk_at(row, pixel + step * 16 / kChannels, step * 16 % kChannels / 8 + half);
}

__device__ __forceinline__ void finish(const float (&sums)[kTilesN][4], int half, long long y_at, long long residual_at,
                                       int column, const float* biases, const u16* __restrict__ residual, u16* __restrict__ y) {
#pragma unroll
  for (int q = 0; q < kTilesN / kGroup; ++q) {
    const int channel = column + q * (8 * kGroup) + threadIdx.x % 4 * (2 * kGroup);
    u32 rest[kGroup], words[kGroup];
#if kHasResidual
    if (kGroup == 4) {
      const uint4 bits = *(const uint4*)(residual + residual_at + channel);
      rest[0] = bits.x; rest[1] = bits.y; rest[kGroup - 2] = bits.z; rest[kGroup - 1] = bits.w;
    } else {
      const u64 bits = *(const u64*)(residual + residual_at + channel);
      rest[0] = (u32)bits; rest[1] = (u32)(bits >> 32);
    }
#endif
#pragma unroll
    for (int j = 0; j < kGroup; ++j) {
      float t[2];
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        t[e] = sums[q * kGroup + j][half * 2 + e];
#if kHasBias
        t[e] += biases[channel + j * 2 + e];
#endif
#if kHasResidual && kIsResidualFirst
        t[e] += widen((u16)(rest[j] >> (e * 16)));
#endif
        t[e] = activate(t[e]);
#if kHasResidual && !kIsResidualFirst
        t[e] += widen((u16)(rest[j] >> (e * 16)));
#endif
      }
      words[j] = narrow(t[0], t[1]);
    }
    if (kGroup == 4) {
      *(uint4*)(y + y_at + channel) = make_uint4(words[0], words[1], words[kGroup - 2], words[kGroup - 1]);
    } else {
      *(u64*)(y + y_at + channel) = (u64)words[0] | (u64)words[1] << 32;
    }
  }
}

extern "C" __global__ void __launch_bounds__(kThreads)
halo(const u16* __restrict__ x, const u16* __restrict__ weights, const Bias* __restrict__ bias,
     const u16* __restrict__ residual, u16* __restrict__ y) {
  SHARED_MEMORY(memory);
  float* const biases = (float*)memory;
  const u32 weights_at = shared_address(memory) + (kColumns * 4 + 15) / 16 * 16, inputs_at = weights_at + kWeightBytes;
  const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32, warp_m = warp / kWarpsN, warp_n = warp % kWarpsN;
  const int column_begin = blockIdx.y * kColumns;
#if !kIsWeightConstant
  wait_for_predecessor();
#endif
  load_weights(weights_at, weights, column_begin, thread);
#if kIsWeightConstant
  wait_for_predecessor();
#endif
#if kHasBias
  for (int i = thread; i < kColumns; i += kThreads) biases[i] = widen(bias[column_begin + i]);
#endif
  load_input(inputs_at, x, blockIdx.x, thread);
  commit();

  // Rows of B that a lane's address stands for: of two tiles of N, first and second half of 16 along K.
  const u32 b_at = weights_at + (warp_n * kWarpColumns + lane / 16 * 8 + lane % 8) * (kWeightChunks * 16) + lane / 8 % 2 * 16;
  const int row_in_tile = kSpan == 8 ? lane / 8 % 2 : 0, pixel_in_tile = lane % 8 + (kSpan == 8 ? 0 : lane / 8 % 2 * 8);
  u32 input = inputs_at;
  for (int tile = blockIdx.x; tile < kTiles; tile += kNumBlocks) {
    const u32 next = inputs_at * 2 + kInBytes - input;
    if (tile + kNumBlocks < kTiles) load_input(next, x, tile + kNumBlocks, thread);
    commit();
    wait_copies<1>();
    wait_for_block();

    float sums[kTilesM][kTilesN][4];
#pragma unroll
    for (int i = 0; i < kTilesM; ++i)
#pragma unroll
      for (int j = 0; j < kTilesN; ++j)
#pragma unroll
        for (int e = 0; e < 4; ++e) sums[i][j][e] = 0.0f;
#pragma unroll 1
    for (int line = 0; line < kKernelY; ++line) {
#pragma unroll
      for (int step = 0; step < kRunSteps; ++step) {
        u32 b[kTilesN / 2][4];
#pragma unroll
        for (int j = 0; j < kTilesN / 2; ++j) {
          load_matrices(b[j], b_at + j * (16 * kWeightChunks * 16) + (line * kRunSteps + step) * 32);
        }
#pragma unroll
        for (int i = 0; i < kTilesM; ++i) {
          const int index = warp_m * kTilesM + i;
          const int row = (index / kTilesAcross * (16 / kSpan) + row_in_tile) * kStrideY + line;
          const int pixel = (index % kTilesAcross * kSpan + pixel_in_tile) * kStrideX;
          u32 a[4];
          load_matrices(a, input + a_at(row, pixel, step, lane / 16));
#pragma unroll
          for (int j = 0; j < kTilesN; ++j) multiply(sums[i][j], a, b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
        }
      }
    }
    wait_for_block();  // The next tile but one comes to where this one was.
    input = next;

    const Place place = place_of(tile);
#pragma unroll
    for (int i = 0; i < kTilesM; ++i) {
      const int index = warp_m * kTilesM + i;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int out_y = place.y + index / kTilesAcross * (16 / kSpan) + (kSpan == 8 ? half : 0);
        const int out_x = place.x + index % kTilesAcross * kSpan + lane / 4 + (kSpan == 8 ? 0 : half * 8);
        if (out_y >= kOutHeight || out_x >= kOutWidth) continue;
        const long long y_at = (long long)place.image * kYImage + (long long)out_y * kYLine + out_x * kYPixel + column_begin;
        const long long residual_at = (long long)place.image * kResidualImage + (long long)out_y * kResidualLine +
                                      out_x * kResidualPixel + column_begin;
        finish(sums[i], half, y_at, residual_at, warp_n * kWarpColumns, biases, residual, y);
      }
    }
  }
}
)cuda";
}

}  // namespace pajamas::cuda
