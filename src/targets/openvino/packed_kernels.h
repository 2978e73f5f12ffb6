// What the kernels of PackedLinear for few tokens (packed_linear.cpp) and for many (packed_linear_tiles.cpp) share: the
// instructions they are compiled for, how packed weights are read, the gate of a SwiGLU, threads. For x86-64, and for
// these two files only.
#pragma once

#include <immintrin.h>
#include <tbb/blocked_range.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include <cstddef>
#include <cstdint>

#if defined(__GNUC__) && !defined(__clang__)
// gcc 12 sees the undefined operands inside its own intrinsics.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

#define PAJAMAS_VNNI __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c,fma")))
#define PAJAMAS_AMX \
  __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16,f16c,fma,amx-tile,amx-bf16")))

namespace pajamas::openvino {

inline constexpr std::int64_t kBlockRows = 16;  ///< Of the matrix, in one block.
inline constexpr std::size_t kScaleBytes = 64;  ///< 16 scales and 16 offsets in float16.

inline std::int64_t round_up(std::int64_t value, std::int64_t unit) { return (value + unit - 1) / unit * unit; }

/// Whether tiles of bfloat16 are there and the system lets this process use them.
bool has_amx_tiles();

/// Isolated: while this thread waits it must not begin another layer, which would overwrite its buffers.
template <typename Function>
void in_parallel(std::int64_t count, const Function& function) {
  tbb::this_task_arena::isolate(
      [&] { tbb::parallel_for(std::int64_t{0}, count, function, tbb::static_partitioner()); });
}

PAJAMAS_VNNI inline void load_scales(const std::byte* place, __m512& scale, __m512& offset) {
  scale = _mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(place)));
  offset = _mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(place + 32)));
}

/// x / (1 + exp(-x)), relative error below 4e-7 + 1e-7 · |x| where the result is a normal number. exp(-x) = 2^n · 2^f
/// with the nearest whole n; 2^f by Taylor's series (|f| <= 1/2), the quotient by an estimate of 14 bits and one step
/// of Newton's.
PAJAMAS_VNNI inline __m512 silu(__m512 x) {
  const __m512 t = _mm512_min_ps(_mm512_mul_ps(x, _mm512_set1_ps(-1.44269504F)), _mm512_set1_ps(126.0F));
  const __m512 f = _mm512_reduce_ps(t, 0);
  const __m512 n = _mm512_sub_ps(t, f);
  __m512 p = _mm512_set1_ps(1.54035304e-4F);  // ln(2)^6 / 6!, and so on
  for (const float factor : {1.33335581e-3F, 9.61812911e-3F, 5.55041087e-2F, 2.40226507e-1F, 6.93147181e-1F, 1.0F}) {
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(factor));
  }
  const __m512 divisor = _mm512_add_ps(_mm512_scalef_ps(p, n), _mm512_set1_ps(1.0F));
  const __m512 estimate = _mm512_rcp14_ps(divisor);
  const __m512 inverse = _mm512_mul_ps(estimate, _mm512_fnmadd_ps(divisor, estimate, _mm512_set1_ps(2.0F)));
  return _mm512_mul_ps(x, inverse);
}

}  // namespace pajamas::openvino
