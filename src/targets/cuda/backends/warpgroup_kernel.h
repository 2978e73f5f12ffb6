// The text of the warpgroup kernels behind their constants; warpgroup_source.h makes whole sources of it.
#pragma once

namespace pajamas::cuda {

/// What only a GPU can do, as functions: boxes, barriers, turns. Tests on the host put their own in place of this text.
const char* warpgroup_device_text();
/// Everything behind `multiply` (the instruction, which differs in the number of columns) and `activate`, which the
/// caller writes: the function "warpgroup".
const char* warpgroup_kernel_text();

}  // namespace pajamas::cuda
