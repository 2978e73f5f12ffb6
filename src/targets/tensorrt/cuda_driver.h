// The NVIDIA driver as far as running an engine needs it: devices, memory, streams, events. Opened at run time
// (libcuda.so.1), so that this program needs no CUDA to be built and starts on a machine without a GPU. An interface,
// so that tests can run sessions on a driver of their own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace pajamas::tensorrt {

struct GpuDevice {
  int index = 0;
  std::string name;
  int sm = 0;  ///< 86 for 8.6.
  std::uint64_t memory_bytes = 0;
};

/// Device memory, streams and events are opaque pointers, as the driver and TensorRT exchange them. All calls but the
/// first two act on the context that `make_current` made current in the calling thread, and throw Error{kInternal} with
/// the driver's reason, or Error{kUnsupported} when memory does not suffice.
class CudaDriver {
 public:
  virtual ~CudaDriver() = default;
  virtual int version() const = 0;  ///< 13000 for CUDA 13.0.
  virtual std::vector<GpuDevice> devices() const = 0;
  virtual void make_current(int device_index) const = 0;
  virtual void* allocate_device(std::size_t num_bytes) const = 0;
  virtual void free_device(void* memory) const noexcept = 0;
  virtual void* allocate_pinned(std::size_t num_bytes) const = 0;
  virtual void free_pinned(void* memory) const noexcept = 0;
  virtual void* create_stream() const = 0;
  virtual void destroy_stream(void* stream) const noexcept = 0;
  virtual void* create_event() const = 0;
  virtual void destroy_event(void* event) const noexcept = 0;
  /// Enqueued on the stream. The host memory must be pinned and stay until the stream is synchronised.
  virtual void copy_to_device(void* device, const void* host, std::size_t num_bytes, void* stream) const = 0;
  virtual void copy_to_host(void* host, const void* device, std::size_t num_bytes, void* stream) const = 0;
  virtual void record(void* event, void* stream) const = 0;
  virtual void synchronize(void* stream) const = 0;
  /// Of two recorded events whose stream was synchronised.
  virtual float elapsed_ms(void* begin, void* end) const = 0;
};

/// The machine's driver, opened on first use. Throws Error{kDeviceMissing} when there is no driver or no GPU, with the
/// reason. Thread-safe.
const CudaDriver& system_cuda_driver();

/// Memory of a driver that frees itself and grows on demand. Not shared between threads.
class CudaBuffer {
 public:
  enum class Kind { kDevice, kPinned };
  CudaBuffer(const CudaDriver& driver, Kind kind) : driver_(&driver), kind_(kind) {}
  ~CudaBuffer() { release(); }
  CudaBuffer(CudaBuffer&& other) noexcept;
  CudaBuffer& operator=(CudaBuffer&&) = delete;
  /// At least so many bytes; the content is lost when it grows. Never null: a size of 0 gives a small block.
  void* reserve(std::size_t num_bytes);
  void* data() const noexcept { return memory_; }

 private:
  void release() noexcept;
  const CudaDriver* driver_;
  Kind kind_;
  void* memory_ = nullptr;
  std::size_t capacity_ = 0;
};

}  // namespace pajamas::tensorrt
