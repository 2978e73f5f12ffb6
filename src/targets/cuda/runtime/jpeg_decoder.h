// JPEG files into device memory, by nvJPEG. Which files come here: media/jpeg_header.h. Decoding on the host is
// media's.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "targets/cuda/runtime/nvjpeg_library.h"

namespace pajamas::cuda {

/// What decodes: the GPU's own decoder, CUDA kernels, or the processor for the Huffman codes and kernels for the rest.
enum class JpegBackend { kHardware, kCuda, kHybrid };

const char* to_string(JpegBackend backend) noexcept;  ///< "hardware", "cuda", "hybrid"
/// Nothing for another name.
std::optional<JpegBackend> parse_jpeg_backend(std::string_view name);

/// nvJPEG started for one backend; shared by the decoders of a process. Immutable; thread-safe.
class JpegService {
 public:
  /// The service of the backend, started at the first call (half a second). Throws Error{kDeviceMissing} where there is
  /// no nvJPEG, Error{kUnsupported} where the GPU has no such decoder.
  static std::shared_ptr<const JpegService> of(JpegBackend backend);
  /// The backend that PAJAMAS_JPEG_DECODER names; without one the hardware where the GPU has it, else CUDA kernels.
  /// Throws as of(), Error{kUsage} for another name.
  static std::shared_ptr<const JpegService> best();

  ~JpegService();
  JpegService(const JpegService&) = delete;
  JpegService& operator=(const JpegService&) = delete;

  const NvjpegLibrary& library() const noexcept { return library_; }
  NvjpegLibrary::Handle handle() const noexcept { return handle_; }
  JpegBackend backend() const noexcept { return backend_; }
  unsigned flags() const noexcept { return flags_; }

 private:
  explicit JpegService(JpegBackend backend);

  const NvjpegLibrary& library_;
  JpegBackend backend_;
  NvjpegLibrary::Handle handle_ = nullptr;
  unsigned flags_ = 0;
};

/// The buffers of one picture at a time. Use from one thread at a time.
class JpegDecoder {
 public:
  explicit JpegDecoder(std::shared_ptr<const JpegService> service);
  ~JpegDecoder();
  JpegDecoder(JpegDecoder&& other) noexcept;
  JpegDecoder& operator=(JpegDecoder&&) = delete;

  /// Sides that a decoder takes: smaller pictures are faster on the host and too small for the hardware.
  static bool takes(int width_px, int height_px) noexcept;

  /// Enqueues the decoding into device memory, interleaved RGB. False, with the reason in last_refusal(), where nvJPEG
  /// does not take the picture. `jpeg` is borrowed until the stream has passed.
  bool decode(std::span<const std::byte> jpeg, std::byte* out, std::size_t pitch_bytes, cudaStream_t stream);
  const std::string& last_refusal() const noexcept { return last_refusal_; }

 private:
  std::shared_ptr<const JpegService> service_;
  NvjpegLibrary::State state_ = nullptr;
  std::string last_refusal_;
};

}  // namespace pajamas::cuda
