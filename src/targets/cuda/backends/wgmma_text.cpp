// See wgmma_text.h.
#include "targets/cuda/backends/wgmma_text.h"

namespace pajamas::cuda {

std::string wgmma_text(const WgmmaInstruction& instruction) {
  const std::int64_t count = instruction.columns / 2;
  const bool is_integer = instruction.dtype == DType::kInt8;
  std::string registers, operands;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::string at = std::to_string(i);
    registers += (i == 0 ? "%" : ",%") + at;
    operands += std::string(i == 0 ? "" : ", ") + (is_integer ? "\"+r\"(d[" : "\"+f\"(d[") + at + "])";
  }
  const auto number = [&](std::int64_t i) { return "%" + std::to_string(count + i); };
  const bool is_from_registers = instruction.is_from_registers;
  const bool is_small = is_integer || instruction.dtype == DType::kFloat8E4M3Fn;
  const std::string type = is_integer                              ? "s8"
                           : is_small                              ? "e4m3"
                           : instruction.dtype == DType::kBfloat16 ? "bf16"
                                                                   : "f16";
  // Which way a factor lies in shared memory is said of 16 bits only.
  const std::string turn_of_a = is_from_registers ? "" : instruction.is_a_along_sum ? ", 0" : ", 1";
  const std::string turns = is_small ? "" : turn_of_a + (instruction.is_b_along_sum ? ", 0" : ", 1");
  const std::string first =
      is_from_registers ? "{" + number(0) + "," + number(1) + "," + number(2) + "," + number(3) + "}" : number(0);
  const std::int64_t behind = is_from_registers ? 4 : 1;
  return "__device__ __forceinline__ void " + instruction.name + "(" + (is_integer ? "int" : "float") + " (&d)[" +
         std::to_string(count) + "], " + (is_from_registers ? "u32 a0, u32 a1, u32 a2, u32 a3" : "u64 a") +
         ", u64 b, int keeps) {\n" + "  asm volatile(\"{\\n.reg .pred p;\\nsetp.ne.b32 p, " + number(behind + 1) +
         ", 0;\\n\"\n" + "    \"wgmma.mma_async.sync.aligned.m64n" + std::to_string(instruction.columns) +
         (is_integer ? "k32.s32."
          : is_small ? "k32.f32."
                     : "k16.f32.") +
         type + "." + type + " {" + registers + "}, " + first + ", " + number(behind) + ", p" +
         (is_integer ? "" : ", 1, 1") + turns + ";\\n}\\n\"\n    : " + operands +
         "\n    : " + (is_from_registers ? "\"r\"(a0), \"r\"(a1), \"r\"(a2), \"r\"(a3)" : "\"l\"(a)") +
         ", \"l\"(b), \"r\"(keeps));\n}\n";
}

const char* wgmma_operand_text() {
  return R"cuda(
// A matrix in shared memory as wgmma reads it: rows of 128 bytes whose 16-byte chunks are exchanged (128-byte swizzle).
__device__ __forceinline__ u64 descriptor(u32 address, u32 leading_bytes, u32 stride_bytes) {
  return (u64)((address & 0x3FFFF) >> 4) | (u64)(leading_bytes >> 4) << 16 | (u64)(stride_bytes >> 4) << 32 | (u64)1 << 62;
}

// The place of the ring that is next, and the parity of the phase that its barriers are waited for.
struct Pipe {
  int place;
  u32 parity;
  __device__ __forceinline__ void next() {
    if (++place == kStages) { place = 0; parity ^= 1; }
  }
  __device__ __forceinline__ void skip(int count) {
    const int at = place + count;
    parity ^= (at / kStages) & 1;
    place = at % kStages;
  }
};
)cuda";
}

}  // namespace pajamas::cuda
