// What a generated source needs to be host C++: threads of a block as fibers of one thread, so that barriers and warp
// exchanges work, and the conversions that are instructions on the GPU. For tests only; include it before the source.
//
// A shared object of such sources exports `lp_host_launch`, which runs one kernel over its grid.
#pragma once

#define LP_HOST 1

#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#define __global__
#define __device__
#define __launch_bounds__(...)
#define __shared__ static
#define __restrict__ __restrict

#define lp_wait_for_predecessor()
#define lp_from_here_on(p)

struct LpDimensions {
  unsigned x = 1, y = 1, z = 1;
};
static LpDimensions threadIdx, blockIdx, blockDim, gridDim;

namespace lp_host {
struct Fiber {
  ucontext_t context;
  std::vector<char> stack;
  LpDimensions thread;
  bool is_done = false;
};
static std::vector<Fiber> fibers;
static ucontext_t scheduler;
static std::size_t current = 0;
static std::vector<unsigned long long> exchange;
static void (*kernel)(void* const*) = nullptr;
static void* const* arguments = nullptr;

/// Every fiber runs to its next barrier before any runs on.
inline void barrier() { swapcontext(&fibers[current].context, &scheduler); }

inline void enter() {
  kernel(arguments);
  fibers[current].is_done = true;
  swapcontext(&fibers[current].context, &scheduler);
}

inline void run_block(bool has_barriers) {
  const std::size_t count = std::size_t{blockDim.x} * blockDim.y;
  if (!has_barriers) {
    for (threadIdx.y = 0; threadIdx.y < blockDim.y; ++threadIdx.y) {
      for (threadIdx.x = 0; threadIdx.x < blockDim.x; ++threadIdx.x) kernel(arguments);
    }
    return;
  }
  fibers.resize(count);
  exchange.resize(count);
  for (std::size_t i = 0; i < count; ++i) {
    Fiber& fiber = fibers[i];
    fiber.stack.resize(65536);
    fiber.is_done = false;
    fiber.thread = {static_cast<unsigned>(i % blockDim.x), static_cast<unsigned>(i / blockDim.x), 0};
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.data();
    fiber.context.uc_stack.ss_size = fiber.stack.size();
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, enter, 0);
  }
  for (bool is_busy = true; is_busy;) {
    is_busy = false;
    for (current = 0; current < count; ++current) {
      if (fibers[current].is_done) continue;
      threadIdx = fibers[current].thread;
      swapcontext(&scheduler, &fibers[current].context);
      is_busy = true;
    }
  }
}
}  // namespace lp_host

extern "C" inline __attribute__((used)) void lp_host_launch(void (*kernel)(void* const*), void* const* arguments,
                                                            const unsigned* grid, const unsigned* block,
                                                            int has_barriers) {
  lp_host::kernel = kernel;
  lp_host::arguments = arguments;
  gridDim = {grid[0], grid[1], grid[2]};
  blockDim = {block[0], block[1], block[2]};
  for (blockIdx.y = 0; blockIdx.y < grid[1]; ++blockIdx.y) {
    for (blockIdx.x = 0; blockIdx.x < grid[0]; ++blockIdx.x) lp_host::run_block(has_barriers != 0);
  }
}

inline void __syncthreads() { lp_host::barrier(); }

template <typename T>
T __shfl_xor_sync(unsigned, T value, int step) {
  const std::size_t self = lp_host::current;
  std::memcpy(&lp_host::exchange[self], &value, sizeof value);
  lp_host::barrier();
  T other;
  std::memcpy(&other, &lp_host::exchange[self ^ static_cast<std::size_t>(step)], sizeof other);
  lp_host::barrier();
  return other;
}

/// Threads of the host run one after the other.
template <typename T>
T atomicExch(T* place, T value) {
  const T before = *place;
  *place = value;
  return before;
}

inline float lp_from_bits(std::uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
inline std::uint32_t lp_bits(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}
inline float lp_from_half(unsigned short h) {
  const int exponent = h >> 10 & 31;
  const int mantissa = h & 1023;
  const float sign = (h & 0x8000) != 0 ? -1.0F : 1.0F;
  if (exponent == 31) return mantissa != 0 ? std::numeric_limits<float>::quiet_NaN() : sign * INFINITY;
  return sign * (exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -24)
                               : std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25));
}
inline unsigned short lp_to_half(float value) {
  const auto sign = static_cast<unsigned short>(std::signbit(value) ? 0x8000 : 0);
  const float size = std::fabs(value);
  if (value != value) return static_cast<unsigned short>(sign | 0x7e00);
  if (size >= 65520.0F) return static_cast<unsigned short>(sign | 0x7c00);
  int exponent = 0;
  std::frexp(size, &exponent);
  exponent = size == 0 || exponent < -13 ? -13 : exponent;
  // Units of the last place, rounded half to even; a carry moves into the exponent by itself.
  const auto units = static_cast<int>(std::nearbyint(std::ldexp(size, 11 - exponent)));
  return static_cast<unsigned short>(sign | (units < 1024 ? units : ((exponent + 13) << 10) + units));
}
inline float lp_from_bfloat(unsigned short h) { return lp_from_bits(static_cast<std::uint32_t>(h) << 16); }
inline unsigned short lp_to_bfloat(float value) {
  if (value != value) return 0x7fff;
  const std::uint32_t bits = lp_bits(value);
  return static_cast<unsigned short>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
inline float lp_from_e4m3(unsigned char code) {
  if ((code & 0x7f) == 0x7f) return std::numeric_limits<float>::quiet_NaN();
  const int exponent = code >> 3 & 15, mantissa = code & 7;
  const float size = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -9)
                                   : std::ldexp(static_cast<float>(mantissa + 8), exponent - 10);
  return (code & 0x80) != 0 ? -size : size;
}
inline unsigned char lp_to_e4m3(float value) {
  if (value != value) return 0x7f;
  const auto sign = static_cast<unsigned char>(std::signbit(value) ? 0x80 : 0);
  const float size = std::fabs(value);
  if (size >= 448.0F) return static_cast<unsigned char>(sign | 0x7e);
  int exponent = 0;
  std::frexp(size, &exponent);
  exponent = size == 0 || exponent < -5 ? -5 : exponent;
  // Units of the last place, rounded half to even; a carry moves into the exponent by itself.
  const auto units = static_cast<int>(std::nearbyint(std::ldexp(size, 4 - exponent)));
  return static_cast<unsigned char>(sign | (units < 8 ? units : ((exponent + 5) << 3) + units));
}
inline unsigned short lp_to_e4m3_pair(float low, float high) {
  return static_cast<unsigned short>(lp_to_e4m3(low) | lp_to_e4m3(high) << 8);
}
inline float lp_rsqrt(float value) { return 1.0F / std::sqrt(value); }
inline float lp_f32_infinity() { return INFINITY; }
inline float lp_f32_nan() { return std::numeric_limits<float>::quiet_NaN(); }
inline double lp_f64_infinity() { return static_cast<double>(INFINITY); }
inline double lp_f64_nan() { return std::numeric_limits<double>::quiet_NaN(); }
inline float lp_fast_exp(float value) { return std::exp(value); }
#define __expf lp_fast_exp
inline float lp_fast_log(float value) { return std::log(value); }
#define __logf lp_fast_log
inline float __fdividef(float a, float b) { return a / b; }
