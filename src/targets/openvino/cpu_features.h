// What this machine's processor can do, as far as OpenVINO's kernels care: asked from the processor itself, so that no
// plugin has to be loaded to know it. Not a list of everything a processor has.
#pragma once

#include <string>

#include "engine/build_plan.h"

namespace pajamas::openvino {

/// Instruction sets that are present in the processor and enabled by the operating system. All false elsewhere than on
/// x86-64.
struct CpuFeatures {
  bool has_avx2 = false;
  bool has_avx512 = false;  ///< F, BW, DQ and VL together: what OpenVINO calls avx512_core.
  bool has_avx_vnni = false;
  bool has_avx512_vnni = false;
  bool has_avx512_bf16 = false;
  bool has_avx512_fp16 = false;
  bool has_amx_bf16 = false;
  bool has_amx_int8 = false;

  /// "avx2+avx512+avx512_vnni+...", or "baseline": the key under which compiled blobs are kept.
  std::string to_string() const;
  /// Products of bfloat16 (float16) are computed by instructions, not by converting to float32 and back.
  bool is_bf16_native() const { return has_avx512_bf16 || has_amx_bf16; }
  bool is_fp16_native() const { return has_avx512_fp16; }
  /// What kAuto means on this processor: bf16 where it is native, else fp32. Never fp16, whose range many models leave.
  Precision fastest_accurate_precision() const { return is_bf16_native() ? Precision::kBf16 : Precision::kFp32; }
};

/// Features of this machine; computed once.
const CpuFeatures& cpu_features();

}  // namespace pajamas::openvino
