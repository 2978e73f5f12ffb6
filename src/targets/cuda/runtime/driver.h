// The entries of the CUDA driver (libcuda.so.1) that the runtime library has no call for, found at run time, so that
// the program starts without a driver. Everything else goes through cudart.
#pragma once

#include <cuda.h>

namespace pajamas::cuda {

struct DriverFunctions {
  decltype(&cuGetErrorString) get_error_string = nullptr;
  decltype(&cuModuleLoadData) module_load_data = nullptr;
  decltype(&cuModuleUnload) module_unload = nullptr;
  decltype(&cuModuleGetFunction) module_get_function = nullptr;
  decltype(&cuFuncSetAttribute) func_set_attribute = nullptr;
  decltype(&cuLaunchKernelEx) launch_kernel_ex = nullptr;
  // Null on drivers before CUDA 12.
  decltype(&cuTensorMapEncodeTiled) tensor_map_encode_tiled = nullptr;
  decltype(&cuTensorMapEncodeIm2col) tensor_map_encode_im2col = nullptr;
};

/// Throws Error{kDeviceMissing} where there is no driver, Error{kUnsupported} where it is too old.
const DriverFunctions& driver();

}  // namespace pajamas::cuda
