// See device_numbers.h.
#include "targets/cuda/backends/device_numbers.h"

namespace pajamas::cuda {

const char* device_numbers_text() {
  return R"cuda(
typedef unsigned int u32;
typedef unsigned short u16;
typedef unsigned long long u64;

__device__ __forceinline__ float widen(u16 bits) {
#if kIsBfloat
  return __uint_as_float((u32)bits << 16);
#else
  float f;
  asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(bits));
  return f;
#endif
}
__device__ __forceinline__ float widen(float value) { return value; }
__device__ __forceinline__ u32 narrow(float low, float high) {
  u32 both;
#if kIsBfloat
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
#else
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
#endif
  return both;
}
#if __CUDA_ARCH__ >= 890
// Two float8e4m3fn, the low half first; past the range the largest finite one.
__device__ __forceinline__ u16 narrow_small(float low, float high) {
  u16 both;
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(both) : "f"(high), "f"(low));
  return both;
}
#endif
__device__ __forceinline__ float power_of_two(float v) {
  float r;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(v));
  return r;
}
__device__ __forceinline__ float reciprocal(float v) {
  float r;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(v));
  return r;
}
)cuda";
}

}  // namespace pajamas::cuda
