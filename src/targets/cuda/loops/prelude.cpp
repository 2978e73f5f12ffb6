// What every generated source starts with. No include: conversions are single instructions, and NVRTC knows the
// functions of <math.h> by itself, which keeps a compilation at a few milliseconds.
#include "targets/cuda/loops/emit.h"

namespace pajamas::cuda::loops {

const char* prelude() {
  return R"cuda(
#ifndef LP_HOST
// Programmatic dependent launch: the kernel before this one has ended and its writes are seen; the one after this may
// begin to prepare itself.
__device__ inline void lp_wait_for_predecessor() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;\ngriddepcontrol.launch_dependents;" ::: "memory");
#endif
}
template <typename T> __device__ inline void lp_from_here_on(T* __restrict__& p) { asm volatile("" : "+l"(p)::"memory"); }
__device__ inline float lp_from_half(unsigned short h) {
  float f;
  asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h));
  return f;
}
__device__ inline unsigned short lp_to_half(float f) {
  unsigned short h;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(f));
  return h;
}
__device__ inline float lp_from_bfloat(unsigned short h) { return __uint_as_float((unsigned)h << 16); }
__device__ inline unsigned short lp_to_bfloat(float f) {
  unsigned short h;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(h) : "f"(f));
  return h;
}
// E4M3FN: nearest, ties to even, the largest finite value past the range.
__device__ inline float lp_from_e4m3(unsigned char code) {
#if __CUDA_ARCH__ >= 890
  unsigned both;
  asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(both) : "h"((unsigned short)code));
  return lp_from_half((unsigned short)both);
#else
  const unsigned size = code & 0x7fu, sign = (code & 0x80u) << 24;
  if (size == 0x7fu) return __uint_as_float(sign | 0x7fc00000u);
  return __uint_as_float(__float_as_uint(__uint_as_float(size << 20) * 0x1p120f) | sign);
#endif
}
__device__ inline unsigned char lp_to_e4m3(float f) {
#if __CUDA_ARCH__ >= 890
  unsigned short both;
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(both) : "f"(0.0f), "f"(f));
  return (unsigned char)both;
#else
  const unsigned bits = __float_as_uint(f), size = bits & 0x7fffffffu;
  if (size > 0x7f800000u) return 0x7f;
  const unsigned code = size < 0x3c800000u ? __float_as_uint(__uint_as_float(size) + 16384.0f) & 15u
                                           : ((size + 0x7ffffu + (size >> 20 & 1u)) >> 20) - 960u;
  return (unsigned char)((bits >> 24 & 0x80u) | (code > 0x7eu ? 0x7eu : code));
#endif
}
__device__ inline unsigned short lp_to_e4m3_pair(float low, float high) {
#if __CUDA_ARCH__ >= 890
  unsigned short both;
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(both) : "f"(high), "f"(low));
  return both;
#else
  return (unsigned short)(lp_to_e4m3(low) | lp_to_e4m3(high) << 8);
#endif
}
// One instruction, and a NaN stays one.
__device__ inline float lp_min(float a, float b) {
  float f;
  asm("min.NaN.f32 %0, %1, %2;" : "=f"(f) : "f"(a), "f"(b));
  return f;
}
__device__ inline float lp_max(float a, float b) {
  float f;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(f) : "f"(a), "f"(b));
  return f;
}
__device__ inline float lp_rsqrt(float f) { return rsqrtf(f); }
__device__ inline float lp_f32_infinity() { return __uint_as_float(0x7f800000u); }
__device__ inline float lp_f32_nan() { return __uint_as_float(0x7fc00000u); }
__device__ inline double lp_f64_infinity() { return __longlong_as_double(0x7ff0000000000000LL); }
__device__ inline double lp_f64_nan() { return __longlong_as_double(0x7ff8000000000000LL); }
#endif
template <typename T, int N> struct alignas(sizeof(T) * N) lp_vector { T v[N]; };
template <typename T> struct lp_traits { enum { is_float = 0 }; };
template <> struct lp_traits<float> { enum { is_float = 1 }; };
template <> struct lp_traits<double> { enum { is_float = 1 }; };
typedef unsigned long long lp_u64;
template <typename T> __device__ inline T lp_add(T a, T b) { return (T)((lp_u64)a + (lp_u64)b); }
template <typename T> __device__ inline T lp_sub(T a, T b) { return (T)((lp_u64)a - (lp_u64)b); }
template <typename T> __device__ inline T lp_mul(T a, T b) { return (T)((lp_u64)a * (lp_u64)b); }
template <typename T> __device__ inline T lp_negate(T a) { return (T)(0 - (lp_u64)a); }
template <typename T> __device__ inline T lp_abs(T a) { return a < (T)0 ? lp_negate(a) : a; }
template <typename T> __device__ inline T lp_sign(T a) { return a > (T)0 ? (T)1 : a < (T)0 ? (T)-1 : a; }
template <typename T> __device__ inline T lp_div(T a, T b) {
  if (b == (T)0) return (T)0;
  if ((T)-1 < (T)0 && b == (T)-1) return lp_negate(a);
  return (T)(a / b);
}
template <typename T> __device__ inline T lp_rem(T a, T b) {
  if (b == (T)0 || ((T)-1 < (T)0 && b == (T)-1)) return (T)0;
  return (T)(a % b);
}
template <typename T> __device__ inline T lp_mod(T a, T b) {
  const T rest = lp_rem(a, b);
  return rest != (T)0 && (rest < (T)0) != (b < (T)0) ? (T)(rest + b) : rest;
}
__device__ inline float lp_mod(float a, float b) {
  const float rest = fmodf(a, b);
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}
__device__ inline double lp_mod(double a, double b) {
  const double rest = fmod(a, b);
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}
__device__ inline long long lp_power(long long base, long long exponent) {
  if (exponent < 0) return base == 1 ? 1 : base == -1 ? (exponent % 2 == 0 ? 1 : -1) : 0;
  lp_u64 result = 1;
  lp_u64 factor = (lp_u64)base;
  for (lp_u64 rest = (lp_u64)exponent; rest != 0; rest >>= 1) {
    if (rest & 1) result *= factor;
    factor *= factor;
  }
  return (long long)result;
}
template <typename T> __device__ inline T lp_min(T a, T b) { return a != a ? a : b != b ? b : b < a ? b : a; }
template <typename T> __device__ inline T lp_max(T a, T b) { return a != a ? a : b != b ? b : a < b ? b : a; }
template <typename T> __device__ inline T lp_clamp(T a, T low, T high) { return a < low ? low : a > high ? high : a; }
template <typename T> __device__ inline T lp_digit(T a, T divisor, T modulus) {
  T q = a / divisor;
  if (a % divisor < 0) --q;
  if (modulus == 0) return q;
  q %= modulus;
  return q < 0 ? q + modulus : q;
}
template <typename T> __device__ inline T lp_shift_left(T a, T b) {
  return (lp_u64)b >= sizeof(T) * 8 ? (T)0 : (T)((lp_u64)a << (lp_u64)b);
}
template <typename T> __device__ inline T lp_shift_right(T a, T b) {
  if ((lp_u64)b >= sizeof(T) * 8) return a < (T)0 ? (T)-1 : (T)0;
  return (T)(a >> b);
}
__device__ inline bool lp_is_infinite(float a) { return a == lp_f32_infinity() || a == -lp_f32_infinity(); }
__device__ inline bool lp_is_infinite(double a) { return a == lp_f64_infinity() || a == -lp_f64_infinity(); }
template <typename To, typename From, int is_float> struct lp_caster {
  static __device__ inline To cast(From a) { return (To)a; }
};
template <typename To, typename From> struct lp_caster<To, From, 1> {
  static __device__ inline To cast(From a) {
    if (a != a) return (To)0;
    const bool is_signed = (To)-1 < (To)0;
    const int bits = (int)sizeof(To) * 8 - (is_signed ? 1 : 0);
    const To high = is_signed ? (To)(((lp_u64)1 << bits) - 1) : (To)~(To)0;
    const To low = is_signed ? (To)(-(long long)high - 1) : (To)0;
    const double wide = (double)a;
    if (wide >= (double)high) return high;
    if (wide <= (double)low) return low;
    return (To)a;
  }
};
template <typename To, typename From> __device__ inline To lp_cast(From a) {
  return lp_caster<To, From, (lp_traits<From>::is_float && !lp_traits<To>::is_float)>::cast(a);
}
struct lp_sum { template <typename T> static __device__ inline T of(T a, T b) { return (T)(a + b); } };
struct lp_product { template <typename T> static __device__ inline T of(T a, T b) { return (T)(a * b); } };
struct lp_most { template <typename T> static __device__ inline T of(T a, T b) { return lp_max(a, b); } };
struct lp_least { template <typename T> static __device__ inline T of(T a, T b) { return lp_min(a, b); } };
template <int kind, typename T> __device__ inline bool lp_beats(T a, long long i, T b, long long k) {
  if (k < 0) return true;
  if (i < 0) return false;
  if (a == b) return kind & 1 ? i > k : i < k;
  return kind < 2 ? a > b : a < b;
}
// Over the `threads` threads of a row: a part of a warp, or the whole block.
template <typename Op, int threads, typename T> __device__ inline T lp_row_reduce(T value) {
  for (int step = (threads < 32 ? threads : 32) / 2; step > 0; step /= 2) {
    value = Op::of(value, (T)__shfl_xor_sync(0xffffffffu, value, step));
  }
  if (threads > 32) {
    __shared__ T parts[32];
    __syncthreads();
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
    __syncthreads();
    value = parts[0];
    for (int i = 1; i < threads / 32; ++i) value = Op::of(value, parts[i]);
  }
  return value;
}
template <int kind, int threads, typename T> __device__ inline void lp_row_best(T& value, long long& at) {
  for (int step = (threads < 32 ? threads : 32) / 2; step > 0; step /= 2) {
    const T other = (T)__shfl_xor_sync(0xffffffffu, value, step);
    const long long place = __shfl_xor_sync(0xffffffffu, at, step);
    if (lp_beats<kind>(other, place, value, at)) { value = other; at = place; }
  }
  if (threads > 32) {
    __shared__ T parts[32];
    __shared__ long long places[32];
    __syncthreads();
    if (threadIdx.x % 32 == 0) { parts[threadIdx.x / 32] = value; places[threadIdx.x / 32] = at; }
    __syncthreads();
    for (int i = 0; i < threads / 32; ++i) {
      if (lp_beats<kind>(parts[i], places[i], value, at)) { value = parts[i]; at = places[i]; }
    }
  }
}
// Over threadIdx.y, for each of 32 columns.
template <typename Op, int threads, typename T> __device__ inline T lp_column_reduce(T value) {
  if (threads > 1) {
    __shared__ T parts[threads][32];
    __syncthreads();
    parts[threadIdx.y][threadIdx.x] = value;
    __syncthreads();
    value = parts[0][threadIdx.x];
    for (int i = 1; i < threads; ++i) value = Op::of(value, parts[i][threadIdx.x]);
  }
  return value;
}
template <int kind, int threads, typename T> __device__ inline void lp_column_best(T& value, long long& at) {
  if (threads > 1) {
    __shared__ T parts[threads][32];
    __shared__ long long places[threads][32];
    __syncthreads();
    parts[threadIdx.y][threadIdx.x] = value;
    places[threadIdx.y][threadIdx.x] = at;
    __syncthreads();
    for (int i = 0; i < threads; ++i) {
      const T other = parts[i][threadIdx.x];
      const long long place = places[i][threadIdx.x];
      if (lp_beats<kind>(other, place, value, at)) { value = other; at = place; }
    }
  }
}
)cuda";
}

}  // namespace pajamas::cuda::loops
