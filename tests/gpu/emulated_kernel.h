// Kernels of tensor cores on the host: their CUDA C++ compiled by g++ with an emulation (warp_emulation.h,
// warpgroup_emulation.h) in place of what only a GPU can do, run on random numbers and compared with plain sums.
#pragma once

#include <string>
#include <vector>

#include "targets/cuda/program.h"

namespace pajamas::test {

/// `is_late`: copies and products happen as late as the program allows, else at once.
using RunFunction = void (*)(void* const* arguments, bool is_late);

/// `text` defines `extern "C" void run(void* const*, bool)`. nullptr and a failure of the test when it does not
/// compile; the library stays loaded.
RunFunction compile_on_host(const std::string& text);

/// Runs the one step of the program by `run`, which gets the addresses of the values `arguments`, once with everything
/// at once and once with everything late, and expects what the sum gives: every element of the output written, and none
/// beside it.
void expect_sums(const cuda::Program& program, const std::vector<cuda::ValueId>& arguments, RunFunction run);

}  // namespace pajamas::test
