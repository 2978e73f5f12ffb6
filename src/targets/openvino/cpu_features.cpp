// Reads CPUID and XGETBV. Bit positions: Intel 64 and IA-32 manual, volume 2A, CPUID leaf 7, and volume 1, 13.1 (XCR0).
#include "targets/openvino/cpu_features.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <cstdint>

namespace pajamas::openvino {

namespace {

#if defined(__x86_64__)
std::uint64_t enabled_state_components() {
  std::uint32_t low = 0;
  std::uint32_t high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<std::uint64_t>(high) << 32) | low;
}
#endif

CpuFeatures detect() {
  CpuFeatures features;
#if defined(__x86_64__)
  std::uint32_t eax = 0;
  std::uint32_t ebx = 0;
  std::uint32_t ecx = 0;
  std::uint32_t edx = 0;
  const auto bit = [](std::uint32_t value, int index) { return ((value >> index) & 1U) != 0; };
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0 || !bit(ecx, 27)) return features;  // 27: OSXSAVE
  const std::uint64_t state = enabled_state_components();
  constexpr std::uint64_t kAvxState = 0x6;      // SSE and AVX registers
  constexpr std::uint64_t kAvx512State = 0xe6;  // and the opmask and ZMM registers
  constexpr std::uint64_t kAmxState = 0x60000;  // tile configuration and data
  const bool is_avx_enabled = (state & kAvxState) == kAvxState;
  const bool is_avx512_enabled = (state & kAvx512State) == kAvx512State;
  const bool is_amx_enabled = (state & kAmxState) == kAmxState;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) return features;
  const std::uint32_t num_subleaves = eax;
  features.has_avx2 = is_avx_enabled && bit(ebx, 5);
  features.has_avx512 = is_avx512_enabled && bit(ebx, 16) && bit(ebx, 17) && bit(ebx, 30) && bit(ebx, 31);
  features.has_avx512_vnni = features.has_avx512 && bit(ecx, 11);
  features.has_avx512_fp16 = features.has_avx512 && bit(edx, 23);
  features.has_amx_bf16 = is_amx_enabled && bit(edx, 22) && bit(edx, 24);
  features.has_amx_int8 = is_amx_enabled && bit(edx, 25) && bit(edx, 24);
  if (num_subleaves >= 1 && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0) {
    features.has_avx_vnni = is_avx_enabled && bit(eax, 4);
    features.has_avx512_bf16 = features.has_avx512 && bit(eax, 5);
  }
#endif
  return features;
}

}  // namespace

std::string CpuFeatures::to_string() const {
  std::string text;
  const auto add = [&text](bool is_present, const char* name) {
    if (is_present) text += (text.empty() ? "" : "+") + std::string(name);
  };
  add(has_avx2, "avx2");
  add(has_avx512, "avx512");
  add(has_avx_vnni, "avx_vnni");
  add(has_avx512_vnni, "avx512_vnni");
  add(has_avx512_bf16, "avx512_bf16");
  add(has_avx512_fp16, "avx512_fp16");
  add(has_amx_bf16, "amx_bf16");
  add(has_amx_int8, "amx_int8");
  return text.empty() ? "baseline" : text;
}

const CpuFeatures& cpu_features() {
  static const CpuFeatures kFeatures = detect();
  return kFeatures;
}

}  // namespace pajamas::openvino
