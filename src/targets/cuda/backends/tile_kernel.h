// The text of the tile kernels behind their constants; tile_source.h makes whole sources of it.
#pragma once

namespace pajamas::cuda {

/// Up to the body of `float activate(float t)`, which the caller writes.
const char* tile_kernel_text();
/// From the end of that body on: the function "tile".
const char* tile_kernel_entry_text();

}  // namespace pajamas::cuda
