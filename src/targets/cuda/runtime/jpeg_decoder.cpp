// See jpeg_decoder.h.
#include "targets/cuda/runtime/jpeg_decoder.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <mutex>
#include <utility>

#include "pajamas/error.h"

namespace pajamas::cuda {
namespace {

constexpr int kMinSidePx = 64;
constexpr int kMaxSidePx = 16384;  // Of the hardware; the kernels take a little more.

NvjpegLibrary::Backend backend_of(JpegBackend backend) {
  switch (backend) {
    case JpegBackend::kHardware: return NvjpegLibrary::kHardware;
    case JpegBackend::kCuda: return NvjpegLibrary::kGpuHybrid;
    case JpegBackend::kHybrid: break;
  }
  return NvjpegLibrary::kHybrid;
}

}  // namespace

const char* to_string(JpegBackend backend) noexcept {
  switch (backend) {
    case JpegBackend::kHardware: return "hardware";
    case JpegBackend::kCuda: return "cuda";
    case JpegBackend::kHybrid: break;
  }
  return "hybrid";
}

std::optional<JpegBackend> parse_jpeg_backend(std::string_view name) {
  for (const JpegBackend backend : {JpegBackend::kHardware, JpegBackend::kCuda, JpegBackend::kHybrid}) {
    if (name == to_string(backend)) return backend;
  }
  return std::nullopt;
}

JpegService::JpegService(JpegBackend backend) : library_(NvjpegLibrary::open()), backend_(backend) {
  // Older libraries and some decoders refuse a flag that they do not know.
  NvjpegLibrary::Status status = 0;
  for (const unsigned flags : {NvjpegLibrary::kStrict | NvjpegLibrary::kInterpolatedChroma,
                               unsigned{NvjpegLibrary::kInterpolatedChroma}, unsigned{NvjpegLibrary::kNoFlags}}) {
    flags_ = flags;
    status = library_.create(backend_of(backend), nullptr, nullptr, flags, &handle_);
    if (status == 0) return;
  }
  throw Error(ErrorKind::kUnsupported, std::string("nvJPEG cannot be started with the decoder '") + to_string(backend) +
                                           "': " + NvjpegLibrary::reason(status));
}

JpegService::~JpegService() { library_.destroy(handle_); }

std::shared_ptr<const JpegService> JpegService::of(JpegBackend backend) {
  static std::mutex mutex;
  // Never destroyed, as the library that it is of.
  static auto* const services = new std::array<std::shared_ptr<const JpegService>, 3>;
  const std::lock_guard lock(mutex);
  std::shared_ptr<const JpegService>& service = (*services)[static_cast<std::size_t>(backend)];
  if (!service) service = std::shared_ptr<const JpegService>(new JpegService(backend));
  return service;
}

std::shared_ptr<const JpegService> JpegService::best() {
  const char* named = std::getenv("PAJAMAS_JPEG_DECODER");
  if (named != nullptr && *named != '\0') {
    const std::optional<JpegBackend> backend = parse_jpeg_backend(named);
    if (!backend) {
      throw Error(ErrorKind::kUsage, std::string("there is no JPEG decoder '") + named + "'", "PAJAMAS_JPEG_DECODER",
                  "set it to hardware, cuda or hybrid");
    }
    return of(*backend);
  }
  try {
    return of(JpegBackend::kHardware);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kUnsupported) throw;
    return of(JpegBackend::kCuda);
  }
}

JpegDecoder::JpegDecoder(std::shared_ptr<const JpegService> service) : service_(std::move(service)) {
  const NvjpegLibrary& library = service_->library();
  NvjpegLibrary::Status status = library.state_create(service_->handle(), &state_);
  // The hardware is reached through batches only.
  if (status == 0 && service_->backend() == JpegBackend::kHardware) {
    status = library.batch_initialize(service_->handle(), state_, 1, 1, NvjpegLibrary::kRgbInterleaved);
  }
  if (status != 0) {
    if (state_ != nullptr) library.state_destroy(std::exchange(state_, nullptr));
    throw Error(ErrorKind::kInternal, "nvJPEG cannot make a decoder: " + NvjpegLibrary::reason(status));
  }
}

JpegDecoder::~JpegDecoder() {
  if (state_ != nullptr) service_->library().state_destroy(state_);
}

JpegDecoder::JpegDecoder(JpegDecoder&& other) noexcept
    : service_(other.service_),
      state_(std::exchange(other.state_, nullptr)),
      last_refusal_(std::move(other.last_refusal_)) {}

bool JpegDecoder::takes(int width_px, int height_px) noexcept {
  return std::min(width_px, height_px) >= kMinSidePx && std::max(width_px, height_px) <= kMaxSidePx;
}

bool JpegDecoder::decode(std::span<const std::byte> jpeg, std::byte* out, std::size_t pitch_bytes,
                         cudaStream_t stream) {
  const NvjpegLibrary& library = service_->library();
  const auto* data = reinterpret_cast<const unsigned char*>(jpeg.data());
  const std::size_t size = jpeg.size();
  NvjpegLibrary::Output output{};
  output.channel[0] = reinterpret_cast<unsigned char*>(out);
  output.pitch[0] = pitch_bytes;
  const NvjpegLibrary::Status status =
      service_->backend() == JpegBackend::kHardware
          ? library.batch_decode(service_->handle(), state_, &data, &size, &output, stream)
          : library.decode(service_->handle(), state_, data, size, NvjpegLibrary::kRgbInterleaved, &output, stream);
  if (status == 0) return true;
  last_refusal_ = NvjpegLibrary::reason(status);
  cudaGetLastError();
  return false;
}

}  // namespace pajamas::cuda
