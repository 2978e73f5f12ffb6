// gpu_bench: measures engines of the cuda target on this machine's GPU.
#include <exception>
#include <iostream>

#include "pajamas/error.h"
#include "targets/cuda/runtime/device_context.h"

int main() {
  try {
    const auto device = pajamas::cuda::DeviceContext::open();
    std::cout << device->info().name << '\n';
    return 0;
  } catch (const pajamas::Error& error) {
    std::cerr << "gpu_bench: " << error.what() << '\n';
    return pajamas::exit_code(error.kind());
  }
}
