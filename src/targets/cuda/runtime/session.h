// Running an engine. DeviceSession works on device memory and is what benchmarks and pipelines on the GPU use;
// CudaSession is the Session of every target, with host tensors in and out.
#pragma once

#include <list>
#include <memory>
#include <optional>
#include <vector>

#include "engine/target.h"
#include "targets/cuda/runtime/engine.h"
#include "targets/cuda/runtime/pinned_memory.h"

namespace pajamas::cuda {

/// One stream, one arena, and a captured graph for each of the last shapes. Use from one thread at a time; several
/// sessions of one engine may run at once.
class DeviceSession {
 public:
  explicit DeviceSession(std::shared_ptr<const CudaEngine> engine);
  ~DeviceSession();
  DeviceSession(const DeviceSession&) = delete;
  DeviceSession& operator=(const DeviceSession&) = delete;

  /// Chooses the plan for these input shapes, and makes and captures it when it is new here. Waits for work under way
  /// on this session first. Throws Error{kBadInput} for shapes outside the profile, Error{kUnsupported} naming bytes
  /// when the memory does not suffice; the session keeps its former shapes then.
  void set_shapes(const InputShapes& shapes);
  /// Device memory of inputs and outputs, dense and row-major; belongs to the session, valid until set_shapes().
  std::byte* input(std::size_t index) const { return instance().input(index); }
  std::byte* output(std::size_t index) const { return instance().output(index); }
  std::size_t input_bytes(std::size_t index) const;
  std::size_t output_bytes(std::size_t index) const;
  /// Where the data decide an extent, its bound.
  const Shape& output_shape(std::size_t index) const;
  /// Enqueues one run on stream(); asynchronous.
  void launch() const;
  /// Enqueues the run's kernels on a stream of the caller's, which may be in a capture: for graphs that hold more than
  /// the engine. Not at the same time as launch().
  void enqueue(cudaStream_t stream) const;
  /// Waits for stream(). Throws Error{kInternal} when a kernel failed; where the device allows, other sessions go on.
  void synchronize() const { stream_.synchronize(); }

  cudaStream_t stream() const noexcept { return stream_.get(); }
  const CudaEngine& engine() const noexcept { return *engine_; }
  const Plan& plan() const { return instance().plan(); }
  const PlanInstance& instance() const;
  /// The same, to keep: graphs that hold more than the engine refer to its memory and kernels.
  std::shared_ptr<const PlanInstance> shared_instance() const;
  /// Device memory that this session holds beside the engine's weights.
  std::size_t memory_bytes() const;

 private:
  struct Entry {
    InputShapes shapes;
    std::shared_ptr<const PlanInstance> instance;
  };
  std::shared_ptr<const CudaEngine> engine_;
  Stream stream_;
  std::shared_ptr<const DeviceMemory> arena_;
  std::list<Entry> entries_;  ///< The chosen one first, at most kMaxPlans.
};

/// Time and cost of one step of a plan, as `pajamas bench --layers` shows them.
nlohmann::json profile_steps(DeviceSession& session, int num_repeats = 20);

class CudaSession final : public Session {
 public:
  explicit CudaSession(std::shared_ptr<const CudaEngine> engine);
  ~CudaSession() override;
  void set_input(std::size_t index, const TensorView& tensor) override;
  void run() override;
  TensorView output(std::size_t index) const override;
  RunTiming last_timing() const override { return timing_; }
  nlohmann::json layer_times() override;

  DeviceSession& device_session() noexcept { return session_; }

 private:
  void choose_shapes();
  void cut_outputs();

  std::shared_ptr<const CudaEngine> engine_;
  DeviceSession session_;
  std::vector<std::optional<Shape>> input_shapes_;
  std::vector<PinnedMemory> host_inputs_;
  std::vector<PinnedMemory> host_outputs_;  ///< The counts behind the model's own, where there are any.
  std::vector<Shape> output_shapes_;        ///< Of the last run.
  bool has_run_ = false;
  Event begin_, end_;
  std::chrono::nanoseconds input_time_{0};
  RunTiming timing_;
};

}  // namespace pajamas::cuda
