// How a step is computed on the device: the interface of the backends (cuDNN, cuBLASLt, generated loops, own kernels),
// and what the tuner times. Includes CUDA's runtime types; nothing outside runtime/ and backends/ includes this.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "targets/cuda/program.h"

namespace pajamas::cuda {

class DeviceContext;

/// Device addresses for one execution: base of every buffer by BufferId.
struct LaunchContext {
  cudaStream_t stream = nullptr;
  std::span<std::byte* const> buffers;
  std::byte* workspace = nullptr;  ///< Of at least workspace_bytes(), aligned to kBufferAlignment.

  /// Address of a value's first element.
  std::byte* address(const Program& program, ValueId id) const;
};

/// One compiled way of computing one step. Immutable; launch() from several threads at once on different streams.
class StepKernel {
 public:
  virtual ~StepKernel() = default;
  /// Enqueues the work; can be captured into a CUDA graph. Throws Error{kInternal} with the library's reason.
  virtual void launch(const LaunchContext& context) const = 0;
  virtual std::size_t workspace_bytes() const = 0;
  /// Which backend and which of its ways: "cudnn:eng57k..." or "loop:1"; with `state` enough to make it again.
  virtual std::string tactic() const = 0;
  /// Bytes that make the same kernel again without searching (a serialised plan, a cubin); may be empty.
  virtual std::vector<std::byte> state() const { return {}; }
};

/// A backend: offers kernels for the steps it knows.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string name() const = 0;  ///< The tactic's part before ':'.
  /// Asked only for steps that no other backend has a kernel for.
  virtual bool is_last_resort() const { return false; }
  /// All ways worth timing, most promising first, at most `max_kernels`. Empty: not for this step. A way that the
  /// library refuses is left out; `refusals` gets its reason.
  virtual std::vector<std::unique_ptr<StepKernel>> kernels(DeviceContext& device, const Program& program,
                                                           const Step& step, int max_kernels,
                                                           std::vector<std::string>& refusals) const = 0;
  /// The kernel that `tactic` and `state` name, for this step. Throws Error{kUnsupported} when this library cannot make
  /// it any more (another version).
  virtual std::unique_ptr<StepKernel> restore(DeviceContext& device, const Program& program, const Step& step,
                                              const std::string& tactic, std::span<const std::byte> state) const = 0;
};

/// The backends of this build, in order of preference where nothing was timed.
const std::vector<const Backend*>& backends();

/// Versions of the libraries that backends use, by name ("cudnn" → "9.19.0"); those that are missing are left out.
std::map<std::string, std::string> library_versions(DeviceContext& device);

}  // namespace pajamas::cuda
