// The text of the tile kernels behind their constants; tile_source.h makes whole sources of it.
#pragma once

namespace pajamas::cuda {

/// What only a GPU can do, as functions: copies, matrix instructions, barriers. Tests on the host put their own in
/// place of this text.
const char* tile_device_text();
/// Up to the body of `float activate(float t)`, which the caller writes.
const char* tile_kernel_text();
/// From the end of that body on: the function "tile".
const char* tile_kernel_entry_text();

}  // namespace pajamas::cuda
