// The text of the attention kernels behind their constants; attention_source.h makes whole sources of it.
#pragma once

namespace pajamas::cuda {

/// What only a GPU can do and warpgroup_device_text() has no function for. Tests on the host put their own in place.
const char* attention_device_text();
/// Everything behind `multiply_scores` and `multiply_weights` (the instructions, which differ in the number of
/// columns), which the caller writes: the function "attention".
const char* attention_kernel_text();

}  // namespace pajamas::cuda
