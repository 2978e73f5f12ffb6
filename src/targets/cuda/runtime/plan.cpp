// See plan.h.
#include "targets/cuda/runtime/plan.h"

#include <algorithm>

#include "targets/cuda/lowering/memory_plan.h"

namespace pajamas::cuda {
namespace {

std::size_t aligned(std::size_t bytes) { return (bytes + kBufferAlignment - 1) / kBufferAlignment * kBufferAlignment; }

}  // namespace

Plan::Plan(std::shared_ptr<Program> program, StepKernels kernels, std::shared_ptr<const DeviceConstants> constants,
           bool uses_lanes)
    : program_(std::move(program)),
      kernels_(std::move(kernels)),
      constants_(std::move(constants)),
      uses_lanes_(uses_lanes && program_->num_lanes > 1) {
  std::vector<std::size_t> workspace;
  workspace.reserve(kernels_.size());
  for (const auto& kernel : kernels_) workspace.push_back(kernel->workspace_bytes());
  workspace_offsets_ = plan_memory(*program_, workspace).workspace_offsets;
  workspace_offsets_.resize(kernels_.size(), 0);
  arena_bytes_ = program_->arena_bytes;
  for (const Buffer& buffer : program_->buffers) arena_offsets_.push_back(buffer.arena_offset);
  schedule_ = schedule_lanes(*program_);
  const auto place = [&](const std::vector<ValueId>& values, std::vector<std::size_t>& offsets) {
    for (const ValueId id : values) {
      offsets.push_back(interface_bytes_);
      // Empty ones get an address of their own too, so that kernels may compare addresses.
      interface_bytes_ += aligned(std::max<std::size_t>(program_->buffer_of(id).size_bytes, 1));
    }
  };
  place(program_->inputs, input_offsets_);
  place(program_->outputs, output_offsets_);
}

std::vector<std::byte*> Plan::addresses(std::byte* arena, std::byte* interface_memory) const {
  std::vector<std::byte*> addresses;
  addresses.reserve(program_->buffers.size());
  for (const Buffer& buffer : program_->buffers) {
    const auto index = static_cast<std::size_t>(std::max(buffer.interface_index, 0));
    switch (buffer.place) {
      case Place::kInput: addresses.push_back(interface_memory + input_offsets_.at(index)); break;
      case Place::kOutput: addresses.push_back(interface_memory + output_offsets_.at(index)); break;
      case Place::kArena: addresses.push_back(arena + arena_offsets_[addresses.size()]); break;
      case Place::kConstant: addresses.push_back(constants_->find(buffer.constant_key)); break;
    }
  }
  return addresses;
}

void Plan::enqueue_step(std::size_t step_index, cudaStream_t stream, std::span<std::byte* const> addresses,
                        std::byte* arena) const {
  LaunchContext context;
  context.stream = stream;
  context.buffers = addresses;
  context.workspace = arena + workspace_offsets_[step_index];
  kernels_[step_index]->launch(context);
}

void Plan::enqueue(cudaStream_t stream, std::span<std::byte* const> addresses, std::byte* arena,
                   const Lanes* lanes) const {
  if (lanes != nullptr && program_->num_lanes > 1) {
    enqueue_lanes(stream, addresses, arena, *lanes);
    return;
  }
  for (std::size_t i = 0; i < kernels_.size(); ++i) enqueue_step(i, stream, addresses, arena);
}

void Plan::enqueue_lanes(cudaStream_t stream, std::span<std::byte* const> addresses, std::byte* arena,
                         const Lanes& lanes) const {
  const std::vector<Step>& steps = program_->steps;
  const auto num_lanes = static_cast<std::size_t>(program_->num_lanes);
  std::vector<cudaStream_t> streams{stream};
  for (std::size_t lane = 1; lane < num_lanes; ++lane) streams.push_back(lanes.stream(lane));
  std::vector<bool> is_forked(num_lanes, false);
  is_forked[0] = true;
  lanes.begin().record(stream);
  const auto wait = [&](cudaStream_t waiting, const Event& event) {
    check(cudaStreamWaitEvent(waiting, event.get(), 0), "joining branches of a graph");
  };
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const auto lane = static_cast<std::size_t>(steps[i].lane);
    if (!is_forked[lane]) {
      // From the very beginning: the capture knows the stream then, and no edge is added.
      wait(streams[lane], lanes.begin());
      is_forked[lane] = true;
    }
    for (const std::int32_t before : schedule_.waits[i]) {
      wait(streams[lane], lanes.event(static_cast<std::size_t>(before)));
    }
    enqueue_step(i, streams[lane], addresses, arena);
    if (schedule_.is_awaited[i]) lanes.event(i).record(streams[lane]);
  }
  for (const std::int32_t last : schedule_.joins) wait(stream, lanes.event(static_cast<std::size_t>(last)));
}

PlanInstance::PlanInstance(std::shared_ptr<const Plan> plan, std::shared_ptr<const DeviceMemory> arena,
                           cudaStream_t stream)
    : plan_(std::move(plan)), arena_(std::move(arena)), interface_(plan_->interface_bytes()) {
  addresses_ = plan_->addresses(arena_->data(), interface_.data());
  if (plan_->program().steps.empty()) return;
  // Once outside of a capture: libraries load code at the first launch, which a capture may refuse. On zeros, which are
  // valid indices.
  check(cudaMemsetAsync(interface_.data(), 0, interface_.size_bytes(), stream), "clearing inputs and outputs");
  plan_->enqueue(stream, addresses_, arena_->data());
  check(cudaStreamSynchronize(stream), "running the program once");
  const Lanes lanes(*plan_);
  graph_ = GraphExec::capture(
      stream, [&] { plan_->enqueue(stream, addresses_, arena_->data(), plan_->uses_lanes() ? &lanes : nullptr); });
}

Lanes::Lanes(const Plan& plan) {
  for (std::int32_t lane = 1; lane < plan.program().num_lanes; ++lane) streams_.emplace_back();
  for (std::size_t i = 0; i <= plan.program().steps.size(); ++i) events_.emplace_back(false);
}

void require_device_memory(std::size_t bytes, const std::string& what_for) {
  std::size_t free_bytes = 0;
  std::size_t total_bytes = 0;
  check(cudaMemGetInfo(&free_bytes, &total_bytes), "asking for free GPU memory");
  if (bytes <= free_bytes) return;
  throw Error(ErrorKind::kUnsupported,
              what_for + " needs " + std::to_string(bytes) + " bytes of GPU memory; " + std::to_string(free_bytes) +
                  " of " + std::to_string(total_bytes) + " are free",
              {}, "use a smaller batch, or end other programs on this GPU (see `nvidia-smi`)");
}

}  // namespace pajamas::cuda
