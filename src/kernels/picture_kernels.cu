// See picture_kernels.h. One thread a pixel of the canvas: the source stays in the cache, the writes are coalesced.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <string>

#include "kernels/picture_kernels.h"
#include "pajamas/error.h"

namespace pajamas::kernels {

namespace {

constexpr int kBlockWidth = 32;
constexpr int kBlockHeight = 8;

template <typename T>
__device__ T converted(float value) {
  return static_cast<T>(value);
}

template <typename T>
__global__ void place_picture(PictureTensor tensor, const PicturePlacement* __restrict__ placement_in_memory) {
  const int x = static_cast<int>(blockIdx.x) * kBlockWidth + static_cast<int>(threadIdx.x);
  const int y = static_cast<int>(blockIdx.y) * kBlockHeight + static_cast<int>(threadIdx.y);
  if (x >= tensor.width_px || y >= tensor.height_px) return;
  const PicturePlacement placement = *placement_in_memory;
  std::uint32_t levels[3];
  placed_levels(placement, x, y, tensor.pad_level, levels);
  T* out = static_cast<T*>(tensor.out);
  const std::size_t pixel = static_cast<std::size_t>(y) * tensor.width_px + x;
  const std::size_t plane = static_cast<std::size_t>(tensor.width_px) * tensor.height_px;
#pragma unroll
  for (int c = 0; c < 3; ++c) {
    const float value = tensor.values[c * 256 + (tensor.is_bgr ? levels[2 - c] : levels[c])];
    out[tensor.is_nhwc ? 3 * pixel + c : c * plane + pixel] = converted<T>(value);
  }
}

template <typename T>
void launch(const PictureTensor& tensor, const PicturePlacement* placement, cudaStream_t stream) {
  const dim3 grid((tensor.width_px + kBlockWidth - 1) / kBlockWidth,
                  (tensor.height_px + kBlockHeight - 1) / kBlockHeight);
  place_picture<T><<<grid, dim3(kBlockWidth, kBlockHeight), 0, stream>>>(tensor, placement);
}

}  // namespace

void launch_place_picture(const PictureTensor& tensor, const PicturePlacement* placement, cudaStream_t stream) {
  switch (tensor.dtype) {
    case DType::kFloat32: launch<float>(tensor, placement, stream); break;
    case DType::kFloat16: launch<__half>(tensor, placement, stream); break;
    case DType::kBfloat16: launch<__nv_bfloat16>(tensor, placement, stream); break;
    default:
      throw Error(ErrorKind::kUnsupported,
                  std::string("pictures are not made on the GPU as ") + to_string(tensor.dtype));
  }
  if (const cudaError_t status = cudaGetLastError(); status != cudaSuccess) {
    throw Error(ErrorKind::kInternal, std::string("placing a picture: ") + cudaGetErrorString(status));
  }
}

}  // namespace pajamas::kernels
