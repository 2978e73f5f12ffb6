// A program with a kernel for every step and a place for every buffer: what runs for one set of input shapes. Shared by
// sessions; what a session owns of it (memory, the captured graph) is PlanInstance.
#pragma once

#include <cstddef>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "targets/cuda/program.h"
#include "targets/cuda/runtime/device_constants.h"
#include "targets/cuda/runtime/graph_exec.h"
#include "targets/cuda/runtime/lane_schedule.h"
#include "targets/cuda/runtime/step_kernel.h"

namespace pajamas::cuda {

using StepKernels = std::vector<std::shared_ptr<const StepKernel>>;

class Lanes;

/// Immutable; shareable between threads. Keeps the program that its kernels refer to.
class Plan {
 public:
  /// One kernel a step, made for this very program. Places the buffers and the scratch memory.
  Plan(std::shared_ptr<Program> program, StepKernels kernels, std::shared_ptr<const DeviceConstants> constants,
       bool uses_lanes);

  const Program& program() const noexcept { return *program_; }
  const StepKernels& kernels() const noexcept { return kernels_; }
  bool uses_lanes() const noexcept { return uses_lanes_; }
  std::size_t arena_bytes() const noexcept { return arena_bytes_; }
  /// Inputs and outputs one after the other, each at a multiple of kBufferAlignment.
  std::size_t interface_bytes() const noexcept { return interface_bytes_; }
  std::size_t input_offset(std::size_t index) const { return input_offsets_[index]; }
  std::size_t output_offset(std::size_t index) const { return output_offsets_[index]; }

  /// Base address of every buffer for memory of these sizes.
  std::vector<std::byte*> addresses(std::byte* arena, std::byte* interface_memory) const;

  /// Enqueues one step alone.
  void enqueue_step(std::size_t step_index, cudaStream_t stream, std::span<std::byte* const> addresses,
                    std::byte* arena) const;
  /// Enqueues the whole program in order on `stream`, or, given `lanes`, its branches on streams of their own that are
  /// forked from `stream` and joined to it again; only real dependencies order them then.
  void enqueue(cudaStream_t stream, std::span<std::byte* const> addresses, std::byte* arena,
               const Lanes* lanes = nullptr) const;

 private:
  void enqueue_lanes(cudaStream_t stream, std::span<std::byte* const> addresses, std::byte* arena,
                     const Lanes& lanes) const;

  std::shared_ptr<Program> program_;
  StepKernels kernels_;
  std::shared_ptr<const DeviceConstants> constants_;
  bool uses_lanes_;
  LaneSchedule schedule_;
  std::size_t arena_bytes_ = 0;
  /// By buffer. Kept here, as several plans with other kernels may be made of one program.
  std::vector<std::size_t> arena_offsets_;
  std::vector<std::size_t> workspace_offsets_;
  std::size_t interface_bytes_ = 0;
  std::vector<std::size_t> input_offsets_;
  std::vector<std::size_t> output_offsets_;
};

/// The streams and events that the branches of a plan are captured with. They must live until the capture ends.
class Lanes {
 public:
  explicit Lanes(const Plan& plan);
  cudaStream_t stream(std::size_t lane) const { return streams_[lane - 1].get(); }  ///< Of lane 1 and up.
  const Event& begin() const { return events_.back(); }
  const Event& event(std::size_t step) const { return events_[step]; }

 private:
  std::deque<Stream> streams_;
  std::deque<Event> events_;  ///< One a step, and one for the beginning.
};

/// A plan in memory, captured. Owned by one session.
class PlanInstance {
 public:
  /// `arena` of at least plan->arena_bytes(); shared between the instances of one session, which run one at a time.
  /// Throws Error{kUnsupported} naming bytes when the memory does not suffice.
  PlanInstance(std::shared_ptr<const Plan> plan, std::shared_ptr<const DeviceMemory> arena, cudaStream_t stream);

  const Plan& plan() const noexcept { return *plan_; }
  std::byte* input(std::size_t index) const { return interface_.data() + plan_->input_offset(index); }
  std::byte* output(std::size_t index) const { return interface_.data() + plan_->output_offset(index); }
  const GraphExec& graph() const noexcept { return graph_; }
  std::span<std::byte* const> addresses() const noexcept { return addresses_; }
  std::byte* arena() const noexcept { return arena_->data(); }
  std::size_t memory_bytes() const noexcept { return interface_.size_bytes(); }

 private:
  std::shared_ptr<const Plan> plan_;
  std::shared_ptr<const DeviceMemory> arena_;
  DeviceMemory interface_;
  std::vector<std::byte*> addresses_;
  GraphExec graph_;
};

/// Throws Error{kUnsupported} saying how many bytes are needed and free when `bytes` are not free on the device now.
void require_device_memory(std::size_t bytes, const std::string& what_for);

}  // namespace pajamas::cuda
