// Running TensorRT engines: an Engine over the library's engine object and Sessions over its execution contexts, with
// device and pinned buffers, one stream a session, dynamic shapes, whole-graph CUDA graphs and the kernel cache of
// TensorRT for RTX. Building is builder_process.h.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "engine/target.h"
#include "targets/tensorrt/cuda_driver.h"
#include "targets/tensorrt/library.h"

namespace pajamas::tensorrt {

struct EngineOptions {
  int device_index = 0;
  /// TensorRT for RTX records a whole run as a CUDA graph and replays it. Off: kernels are launched one by one.
  bool use_cuda_graph = true;
  /// Where kernels that TensorRT for RTX compiled for this GPU are kept between runs; empty: nowhere. A cache that
  /// cannot be read or written costs time, never the run.
  std::filesystem::path cache_file;
};

/// Collects the library's messages in this process. One for its life.
class RuntimeLogger final : public Logger {
 public:
  static RuntimeLogger& instance();
  void log(Severity severity, const char* text) noexcept override;
  /// The errors that came since the last call, joined; empty when there were none.
  std::string take_errors();

 private:
  RuntimeLogger() = default;
  struct State;
  State& state();
};

/// Loads an engine file: checks its head, the driver, the GPU's SM, then opens the library. Throws Error{kBadInput}
/// (damaged), Error{kDeviceMissing} (no driver, GPU or library) or Error{kUnsupported} (other SM or version), in that
/// order of checks.
std::shared_ptr<const Engine> load_engine_file(const std::filesystem::path& path, std::span<const std::byte> bytes,
                                               const EngineOptions& options);

/// The engine over an opened engine object. `library` keeps the code alive and may be null in tests; `driver` must
/// outlive the engine. The context of `device` must be current.
std::shared_ptr<const Engine> make_engine(std::shared_ptr<const Library> library, Owned<Runtime> runtime,
                                          Owned<CudaEngine> engine, const CudaDriver& driver, const GpuDevice& device,
                                          const EngineOptions& options);

}  // namespace pajamas::tensorrt
