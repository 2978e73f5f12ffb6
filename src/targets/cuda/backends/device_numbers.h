// Numbers of 16 bits in the text of kernels: conversions, powers and quotients as single instructions, without a header
// that would have to be compiled each time. The caller defines kIsBfloat (0: float16) before it. Kernels on the host
// (tests) have functions of the same names instead.
#pragma once

namespace pajamas::cuda {

/// u16, u32, u64; widen (16 bits to float; of a float itself), narrow (two floats to a pair, low half first, to nearest
/// even), narrow_small (the same to float8e4m3fn, from SM 8.9 on), power_of_two and reciprocal (approximate: two units
/// in the last place of a float, tiny numbers as zero).
const char* device_numbers_text();

}  // namespace pajamas::cuda
