// libcuda.so.1 through dlopen. See cuda_driver.h. Numbers and argument forms are those of the driver's documented C
// interface, which is stable across versions ("_v2" names are the current forms).
#include "targets/tensorrt/cuda_driver.h"

#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <map>
#include <mutex>
#include <utility>

#include "pajamas/error.h"

namespace pajamas::tensorrt {
namespace {

using Result = int;  // 0: success.
using DevicePointer = unsigned long long;
constexpr Result kOutOfMemory = 2;
constexpr Result kNoDevice = 100;
constexpr int kAttributeMajor = 75;
constexpr int kAttributeMinor = 76;
constexpr unsigned kStreamNonBlocking = 1;

class SystemDriver final : public CudaDriver {
 public:
  SystemDriver() {
    void* library = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
      const char* reason = ::dlerror();
      throw Error(ErrorKind::kDeviceMissing,
                  std::string("no NVIDIA driver on this machine: ") + (reason != nullptr ? reason : "libcuda.so.1"), {},
                  "run on a machine with an NVIDIA GPU and its driver, or use a bundle of --target openvino");
    }
    const auto find = [&](const char* name, auto& function) {
      function = reinterpret_cast<std::decay_t<decltype(function)>>(::dlsym(library, name));
      if (function == nullptr) {
        throw Error(ErrorKind::kDeviceMissing, std::string("the NVIDIA driver is too old: it has no ") + name, {},
                    "install a newer NVIDIA driver");
      }
    };
    find("cuGetErrorString", error_string_);
    find("cuInit", init_);
    find("cuDriverGetVersion", driver_version_);
    find("cuDeviceGetCount", device_count_);
    find("cuDeviceGet", device_get_);
    find("cuDeviceGetName", device_name_);
    find("cuDeviceGetAttribute", device_attribute_);
    find("cuDeviceTotalMem_v2", device_memory_);
    find("cuDevicePrimaryCtxRetain", retain_context_);
    find("cuCtxSetCurrent", set_current_);
    find("cuMemAlloc_v2", allocate_);
    find("cuMemFree_v2", free_);
    find("cuMemHostAlloc", host_allocate_);
    find("cuMemFreeHost", host_free_);
    find("cuStreamCreate", stream_create_);
    find("cuStreamDestroy_v2", stream_destroy_);
    find("cuStreamSynchronize", stream_synchronize_);
    find("cuEventCreate", event_create_);
    find("cuEventDestroy_v2", event_destroy_);
    find("cuEventRecord", event_record_);
    find("cuEventElapsedTime", event_elapsed_);
    find("cuMemcpyHtoDAsync_v2", copy_to_device_);
    find("cuMemcpyDtoHAsync_v2", copy_to_host_);
    const Result result = init_(0);
    int num_devices = 0;
    if (result == kNoDevice || (result == 0 && (device_count_(&num_devices) != 0 || num_devices == 0))) {
      throw Error(ErrorKind::kDeviceMissing, "there is an NVIDIA driver but no NVIDIA GPU on this machine", {},
                  "check `nvidia-smi` and CUDA_VISIBLE_DEVICES");
    }
    if (result != 0) {
      throw Error(ErrorKind::kDeviceMissing, "the NVIDIA driver does not start: " + reason_of(result), {},
                  "check `nvidia-smi`");
    }
  }

  int version() const override {
    int version = 0;
    check(driver_version_(&version), "ask for the driver's version");
    return version;
  }

  std::vector<GpuDevice> devices() const override {
    int count = 0;
    check(device_count_(&count), "count the GPUs");
    std::vector<GpuDevice> devices;
    for (int i = 0; i < count; ++i) {
      GpuDevice device;
      device.index = i;
      int handle = 0;
      check(device_get_(&handle, i), "open the GPU");
      std::array<char, 256> name{};
      check(device_name_(name.data(), static_cast<int>(name.size()) - 1, handle), "ask for the GPU's name");
      device.name = name.data();
      int major = 0;
      int minor = 0;
      check(device_attribute_(&major, kAttributeMajor, handle), "ask for the GPU's version");
      check(device_attribute_(&minor, kAttributeMinor, handle), "ask for the GPU's version");
      device.sm = major * 10 + minor;
      std::size_t memory = 0;
      check(device_memory_(&memory, handle), "ask for the GPU's memory");
      device.memory_bytes = memory;
      devices.push_back(std::move(device));
    }
    return devices;
  }

  void make_current(int device_index) const override {
    const std::lock_guard lock(mutex_);
    auto found = contexts_.find(device_index);
    if (found == contexts_.end()) {
      int handle = 0;
      check(device_get_(&handle, device_index), "open the GPU");
      void* context = nullptr;
      check(retain_context_(&context, handle), "open a context on the GPU");
      found = contexts_.emplace(device_index, context).first;
    }
    check(set_current_(found->second), "use the GPU");
  }

  void* allocate_device(std::size_t num_bytes) const override {
    DevicePointer memory = 0;
    check(allocate_(&memory, num_bytes), "allocate " + std::to_string(num_bytes >> 20) + " MiB of GPU memory");
    return reinterpret_cast<void*>(memory);
  }
  void free_device(void* memory) const noexcept override { free_(reinterpret_cast<DevicePointer>(memory)); }
  void* allocate_pinned(std::size_t num_bytes) const override {
    void* memory = nullptr;
    check(host_allocate_(&memory, num_bytes, 0),
          "allocate " + std::to_string(num_bytes >> 20) + " MiB of pinned memory");
    return memory;
  }
  void free_pinned(void* memory) const noexcept override { host_free_(memory); }
  void* create_stream() const override {
    void* stream = nullptr;
    check(stream_create_(&stream, kStreamNonBlocking), "create a stream");
    return stream;
  }
  void destroy_stream(void* stream) const noexcept override { stream_destroy_(stream); }
  void* create_event() const override {
    void* event = nullptr;
    check(event_create_(&event, 0), "create an event");
    return event;
  }
  void destroy_event(void* event) const noexcept override { event_destroy_(event); }
  void copy_to_device(void* device, const void* host, std::size_t num_bytes, void* stream) const override {
    if (num_bytes == 0) return;
    check(copy_to_device_(reinterpret_cast<DevicePointer>(device), host, num_bytes, stream), "copy to the GPU");
  }
  void copy_to_host(void* host, const void* device, std::size_t num_bytes, void* stream) const override {
    if (num_bytes == 0) return;
    check(copy_to_host_(host, reinterpret_cast<DevicePointer>(device), num_bytes, stream), "copy from the GPU");
  }
  void record(void* event, void* stream) const override { check(event_record_(event, stream), "record an event"); }
  void synchronize(void* stream) const override { check(stream_synchronize_(stream), "compute"); }
  float elapsed_ms(void* begin, void* end) const override {
    float elapsed = 0;
    check(event_elapsed_(&elapsed, begin, end), "measure");
    return elapsed;
  }

 private:
  std::string reason_of(Result result) const {
    const char* text = nullptr;
    if (error_string_(result, &text) != 0 || text == nullptr) return "error " + std::to_string(result);
    return std::string(text) + " (error " + std::to_string(result) + ")";
  }
  void check(Result result, const std::string& action) const {
    if (result == 0) return;
    const bool is_memory = result == kOutOfMemory;
    throw Error(is_memory ? ErrorKind::kUnsupported : ErrorKind::kInternal,
                "the NVIDIA driver could not " + action + ": " + reason_of(result), {},
                is_memory ? "free GPU memory, or use a smaller batch" : "check `nvidia-smi`; a GPU may need a restart");
  }

  Result (*error_string_)(Result, const char**) = nullptr;
  Result (*init_)(unsigned) = nullptr;
  Result (*driver_version_)(int*) = nullptr;
  Result (*device_count_)(int*) = nullptr;
  Result (*device_get_)(int*, int) = nullptr;
  Result (*device_name_)(char*, int, int) = nullptr;
  Result (*device_attribute_)(int*, int, int) = nullptr;
  Result (*device_memory_)(std::size_t*, int) = nullptr;
  Result (*retain_context_)(void**, int) = nullptr;
  Result (*set_current_)(void*) = nullptr;
  Result (*allocate_)(DevicePointer*, std::size_t) = nullptr;
  Result (*free_)(DevicePointer) = nullptr;
  Result (*host_allocate_)(void**, std::size_t, unsigned) = nullptr;
  Result (*host_free_)(void*) = nullptr;
  Result (*stream_create_)(void**, unsigned) = nullptr;
  Result (*stream_destroy_)(void*) = nullptr;
  Result (*stream_synchronize_)(void*) = nullptr;
  Result (*event_create_)(void**, unsigned) = nullptr;
  Result (*event_destroy_)(void*) = nullptr;
  Result (*event_record_)(void*, void*) = nullptr;
  Result (*event_elapsed_)(float*, void*, void*) = nullptr;
  Result (*copy_to_device_)(DevicePointer, const void*, std::size_t, void*) = nullptr;
  Result (*copy_to_host_)(void*, DevicePointer, std::size_t, void*) = nullptr;
  mutable std::mutex mutex_;
  mutable std::map<int, void*> contexts_;  ///< Primary contexts, held for the life of the process.
};

}  // namespace

const CudaDriver& system_cuda_driver() {
  static const auto* driver = new SystemDriver();  // Never deleted: sessions may outlive main's locals.
  return *driver;
}

CudaBuffer::CudaBuffer(CudaBuffer&& other) noexcept
    : driver_(other.driver_),
      kind_(other.kind_),
      memory_(std::exchange(other.memory_, nullptr)),
      capacity_(std::exchange(other.capacity_, 0)) {}

void* CudaBuffer::reserve(std::size_t num_bytes) {
  constexpr std::size_t kSmallest = 256;
  const std::size_t wanted = std::max(num_bytes, kSmallest);
  if (memory_ == nullptr || capacity_ < wanted) {
    release();
    memory_ = kind_ == Kind::kDevice ? driver_->allocate_device(wanted) : driver_->allocate_pinned(wanted);
    capacity_ = wanted;
  }
  return memory_;
}

void CudaBuffer::release() noexcept {
  if (memory_ == nullptr) return;
  if (kind_ == Kind::kDevice) {
    driver_->free_device(memory_);
  } else {
    driver_->free_pinned(memory_);
  }
  memory_ = nullptr;
  capacity_ = 0;
}

}  // namespace pajamas::tensorrt
