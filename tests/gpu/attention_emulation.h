// The device functions of attention kernels (targets/cuda/backends/attention_kernel.cpp, attention_device_text) on the
// host, on top of warpgroup_emulation.h: keys multiply along their columns, values across them, weights come from the
// registers of four lanes. Included by the source under test.
#pragma once

#include "gpu/warpgroup_emulation.h"

inline void keep_few_registers() {}
inline void take_more_registers() {}
template <typename Number, int count>
void settle(Number (&)[count]) {}
/// What every lane brought: `take` reads it between two meetings of the warp.
template <typename Word, typename Take>
auto lp_exchanged(Word value, const Take& take) {
  lp::Fiber& fiber = lp::current();
  std::memcpy(&fiber.warp->words[fiber.lane][6], &value, sizeof value);
  lp::meet(fiber.warp->meeting);
  const auto result = take([&](int lane) {
    Word of_lane;
    std::memcpy(&of_lane, &fiber.warp->words[lane][6], sizeof of_lane);
    return of_lane;
  });
  lp::meet(fiber.warp->meeting);
  return result;
}
inline float of_neighbour(float value, int lanes) {
  return lp_exchanged(value, [&](const auto& of_lane) { return of_lane(lp::current().lane ^ lanes); });
}
inline float larger(float a, float b) { return a != a || b != b ? std::nanf("") : std::fmax(a, b); }
inline float fused(float a, float b, float c) { return std::fma(a, b, c); }
inline float float_of(u32 bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}
template <int count>
void multiply_scores(float (&sums)[count], u64 a, u64 b, int keeps) {
  multiply_along(sums, a, b, keeps, true);
}
template <int count>
void multiply_scores(float (&sums)[count], const u32& a0, const u32& a1, const u32& a2, const u32& a3, u64 b,
                     int keeps) {
  if (&a1 != &a0 + 1 || &a2 != &a0 + 2 || &a3 != &a0 + 3) lp::fail("words of a factor that do not lie in order");
  multiply_registers(sums, &a0, b, keeps, true);
}
/// The words of one step lie behind each other where the kernel keeps them.
template <int count>
void multiply_weights(float (&sums)[count], const u32& a0, const u32& a1, const u32& a2, const u32& a3, u64 b,
                      int keeps) {
  if (&a1 != &a0 + 1 || &a2 != &a0 + 2 || &a3 != &a0 + 3) lp::fail("words of a factor that do not lie in order");
  multiply_registers(sums, &a0, b, keeps, false);
}
