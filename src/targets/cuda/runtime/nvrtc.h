// CUDA C++ to machine code at run time by NVRTC, a library of the CUDA toolkit that is opened when first needed. Needs
// no GPU. Not loading the result (device_context.h).
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace pajamas::cuda {

/// Environment variable naming libnvrtc.so.13 where it is in no usual place.
inline constexpr const char* kNvrtcVariable = "PAJAMAS_NVRTC";

/// Compiles for SM `sm` (90 gives sm_90a: with that chip's own instructions); the result is a cubin. The same source is
/// compiled once a process, also when several threads ask at once. Throws Error{kInternal} with the compiler's log,
/// Error{kDeviceMissing} where NVRTC or CUDA's headers are missing, Error{kUnsupported} where it does not know the SM.
std::vector<std::byte> compile_to_cubin(const std::string& source, const std::string& name, int sm);

/// "13.0". Throws Error{kDeviceMissing} as above.
std::string nvrtc_version();

}  // namespace pajamas::cuda
