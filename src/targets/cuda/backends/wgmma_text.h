// CUDA C++ that the kernels of Hopper's tensor cores (wgmma) have in common: the instruction, which differs in its
// number of columns, matrices in shared memory as it reads them, and the ring of places there.
#pragma once

#include <cstdint>
#include <string>

#include "pajamas/tensor.h"

namespace pajamas::cuda {

/// 64 rows x `columns` float32 sums a warpgroup, of 32 bytes of factors along the sum.
struct WgmmaInstruction {
  std::string name;               ///< Of the function that holds it.
  std::int64_t columns = 64;      ///< A multiple of 8, at most 256.
  DType dtype = DType::kFloat16;  ///< Of both factors: float16, bfloat16, float8e4m3fn, or int8 with sums of int32.
  bool is_from_registers = false;
  bool is_b_along_sum = true;  ///< The second factor's rows in shared memory run along the sum (those of 8 bits always
                               ///< do), else across it.
  bool is_a_along_sum = true;  ///< The same of the first factor, where it is in shared memory.
};

/// `void name(float (&d)[columns / 2] (int of int8), a, u64 b, int keeps)`: d += a · b, or d = a · b where `keeps` is
/// 0. a and b are descriptors; from registers a is four u32. Tests on the host have functions of the same names
/// instead.
std::string wgmma_text(const WgmmaInstruction& instruction);

/// descriptor() of a matrix in shared memory, and struct Pipe: the place of a ring of kStages (which the caller
/// defines) that is next, with the parity of the phase that its barriers are waited for.
const char* wgmma_operand_text();

}  // namespace pajamas::cuda
