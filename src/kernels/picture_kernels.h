// Pictures to model inputs on the GPU: scaling, placing, normalising and converting in one kernel, with the levels that
// media/preprocess.h gives on the host, to the last bit, for bilinear sampling (every YOLO) and pictures that are only
// moved. Decoding is nvJPEG's affair; other filters are done on the host.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "kernels/picture_math.h"
#include "pajamas/tensor.h"

namespace pajamas::kernels {

/// What stays the same for all pictures of a model input.
struct PictureTensor {
  void* out = nullptr;            ///< Device memory: [3, height, width], or [height, width, 3] with is_nhwc.
  DType dtype = DType::kFloat32;  ///< float32, float16 or bfloat16.
  std::int32_t width_px = 1, height_px = 1;
  bool is_nhwc = false;
  bool is_bgr = false;
  std::uint8_t pad_level = 114;
  /// Device memory: float [3, 256], the value of each level per channel of the tensor.
  const float* values = nullptr;
};

/// Enqueues the kernel; `placement` is device memory that is read when it runs. Throws Error{kInternal} when the launch
/// is refused, Error{kUnsupported} for another dtype.
void launch_place_picture(const PictureTensor& tensor, const PicturePlacement* placement, cudaStream_t stream);

}  // namespace pajamas::kernels
