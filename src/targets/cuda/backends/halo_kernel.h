// The text of the halo kernels behind their constants and their function activate(); halo_source.h makes whole sources
// of it, behind the device functions of tile_kernel.h.
#pragma once

namespace pajamas::cuda {

const char* halo_kernel_text();

}  // namespace pajamas::cuda
