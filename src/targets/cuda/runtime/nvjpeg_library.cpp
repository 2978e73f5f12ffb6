// See nvjpeg_library.h.
#include "targets/cuda/runtime/nvjpeg_library.h"

#include <memory>
#include <mutex>

#include "pajamas/error.h"
#include "targets/cuda/backends/vendor_library.h"

namespace pajamas::cuda {
namespace {

std::unique_ptr<const NvjpegLibrary> open_library() {
  const VendorLibrary library{"nvJPEG", "libnvjpeg.so.13", "PAJAMAS_NVJPEG", "cu13/lib", "nvidia-nvjpeg"};
  void* opened = open_vendor_library(library);
  auto functions = std::make_unique<NvjpegLibrary>();
  find_function(library, opened, "nvjpegCreateEx", functions->create);
  find_function(library, opened, "nvjpegDestroy", functions->destroy);
  find_function(library, opened, "nvjpegGetProperty", functions->get_property);
  find_function(library, opened, "nvjpegJpegStateCreate", functions->state_create);
  find_function(library, opened, "nvjpegJpegStateDestroy", functions->state_destroy);
  find_function(library, opened, "nvjpegDecode", functions->decode);
  find_function(library, opened, "nvjpegDecodeBatchedInitialize", functions->batch_initialize);
  find_function(library, opened, "nvjpegDecodeBatched", functions->batch_decode);
  for (int part = 0; part < 3; ++part) {
    int value = 0;
    functions->get_property(part, &value);
    functions->version += (part == 0 ? "" : ".") + std::to_string(value);
  }
  return functions;
}

}  // namespace

const NvjpegLibrary& NvjpegLibrary::open() {
  static std::mutex mutex;
  // Never closed: at the end of the process the driver may be gone before.
  static const NvjpegLibrary* library = nullptr;
  const std::lock_guard lock(mutex);
  if (library == nullptr) library = open_library().release();
  return *library;
}

std::string NvjpegLibrary::reason(Status status) {
  switch (status) {
    case 0: return "success";
    case 1: return "it is not initialised";
    case 2: return "a parameter is wrong";
    case 3: return "the picture is damaged";
    case 4: return "it does not support the picture";
    case 5: return "it gets no memory";
    case 6: return "its kernels failed";
    case 7: return "this GPU has no such decoder";
    case 8: return "an internal error";
    case 9: return "this decoder does not do that";
    case 10: return "the picture is not whole";
    default: return "status " + std::to_string(status);
  }
}

}  // namespace pajamas::cuda
