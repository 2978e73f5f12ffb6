// nvJPEG, opened at run time: the functions used, declared here because its header is not where this is built. Not the
// decoding: jpeg_decoder.h. Enumerations are those of nvJPEG 11 to 13, whose binary interface did not change.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <string>

namespace pajamas::cuda {

struct NvjpegLibrary {
  using Status = int;  ///< 0: success.
  using Handle = void*;
  using State = void*;
  struct Output {
    unsigned char* channel[4];  ///< Interleaved pictures: only the first.
    std::size_t pitch[4];
  };
  enum Backend : int { kDefault = 0, kHybrid = 1, kGpuHybrid = 2, kHardware = 3 };
  enum Format : int { kRgbInterleaved = 5 };
  /// Refuse what breaks the standard; sample chroma up by interpolation, as the host's decoder does.
  enum Flags : unsigned { kNoFlags = 0, kStrict = 1U << 2, kInterpolatedChroma = 1U << 5 };

  Status (*create)(Backend, void* device_allocator, void* pinned_allocator, unsigned flags, Handle*) = nullptr;
  Status (*destroy)(Handle) = nullptr;
  Status (*get_property)(int which, int* value) = nullptr;  ///< 0: major, 1: minor, 2: patch.
  Status (*state_create)(Handle, State*) = nullptr;
  Status (*state_destroy)(State) = nullptr;
  Status (*decode)(Handle, State, const unsigned char* data, std::size_t size, Format, Output*, cudaStream_t) = nullptr;
  Status (*batch_initialize)(Handle, State, int batch, int max_cpu_threads, Format) = nullptr;
  Status (*batch_decode)(Handle, State, const unsigned char* const* data, const std::size_t* sizes, Output*,
                         cudaStream_t) = nullptr;
  std::string version;  ///< "13.0.1"

  /// Opened once a process. Throws Error{kDeviceMissing} with every place that was tried.
  static const NvjpegLibrary& open();
  /// "the picture is damaged" for a status.
  static std::string reason(Status status);
};

}  // namespace pajamas::cuda
