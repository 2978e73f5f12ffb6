// See session.h.
#include "targets/cuda/runtime/session.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "pajamas/error.h"
#include "targets/cuda/output_counts.h"
#include "targets/cuda/runtime/range.h"

namespace pajamas::cuda {
namespace {

using Clock = std::chrono::steady_clock;

std::string quoted(const std::string& name) { return "'" + name + "'"; }

}  // namespace

DeviceSession::DeviceSession(std::shared_ptr<const CudaEngine> engine)
    : engine_((engine->device().make_current(), std::move(engine))) {}

DeviceSession::~DeviceSession() {
  try {
    engine_->device().make_current();
    cudaStreamSynchronize(stream_.get());  // Nothing may be under way in memory that is freed now.
  } catch (const Error&) {
    // A destructor can tell nobody; a device that is gone has freed the memory too.
  }
}

void DeviceSession::set_shapes(const InputShapes& shapes) {
  engine_->device().make_current();
  if (!entries_.empty() && entries_.front().shapes == shapes) return;
  const auto known =
      std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) { return entry.shapes == shapes; });
  if (known != entries_.end()) {
    entries_.splice(entries_.begin(), entries_, known);
    return;
  }
  const std::shared_ptr<const Plan> plan = engine_->plan(shapes);
  synchronize();
  std::shared_ptr<const DeviceMemory> arena = arena_;
  const std::size_t arena_bytes = std::max(plan->arena_bytes(), kBufferAlignment);
  const bool is_arena_new = arena == nullptr || arena->size_bytes() < arena_bytes;
  require_device_memory(plan->interface_bytes() + (is_arena_new ? arena_bytes : 0), "a session of these input shapes");
  if (is_arena_new) arena = std::make_shared<const DeviceMemory>(arena_bytes);
  auto instance = std::make_shared<const PlanInstance>(plan, arena, stream_.get());
  if (is_arena_new) {
    // The graphs captured so far have the old arena's addresses: they are captured anew when they are needed.
    entries_.clear();
    arena_ = arena;
  }
  entries_.push_front({shapes, std::move(instance)});
  while (entries_.size() > kMaxPlans) entries_.pop_back();
}

const PlanInstance& DeviceSession::instance() const { return *shared_instance(); }

std::shared_ptr<const PlanInstance> DeviceSession::shared_instance() const {
  if (entries_.empty()) throw Error(ErrorKind::kInternal, "a session is used before its input shapes are known");
  return entries_.front().instance;
}

std::size_t DeviceSession::input_bytes(std::size_t index) const {
  const Program& program = plan().program();
  const TensorDesc& desc = program.value(program.inputs[index]).desc;
  return bytes_of(desc.dtype, desc.extents);
}

std::size_t DeviceSession::output_bytes(std::size_t index) const {
  const Program& program = plan().program();
  const TensorDesc& desc = program.value(program.outputs[index]).desc;
  return bytes_of(desc.dtype, desc.extents);
}

const Shape& DeviceSession::output_shape(std::size_t index) const {
  const Program& program = plan().program();
  return program.value(program.outputs[index]).desc.extents;
}

void DeviceSession::launch() const {
  const PlanInstance& chosen = instance();
  if (chosen.graph()) chosen.graph().launch(stream_.get());
}

void DeviceSession::enqueue(cudaStream_t stream) const {
  const PlanInstance& chosen = instance();
  chosen.plan().enqueue(stream, chosen.addresses(), chosen.arena());
}

std::size_t DeviceSession::memory_bytes() const {
  std::size_t total = arena_ ? arena_->size_bytes() : 0;
  for (const Entry& entry : entries_) total += entry.instance->memory_bytes();
  return total;
}

CudaSession::CudaSession(std::shared_ptr<const CudaEngine> engine) : engine_(engine), session_(std::move(engine)) {
  host_inputs_.resize(engine_->inputs().size());
  input_shapes_.resize(engine_->inputs().size());
}

CudaSession::~CudaSession() = default;

void CudaSession::set_input(std::size_t index, const TensorView& tensor) {
  const auto begin = Clock::now();
  const auto& inputs = engine_->inputs();
  if (index >= inputs.size()) {
    throw Error(ErrorKind::kBadInput,
                "there is no input " + std::to_string(index) + ": the model has " + std::to_string(inputs.size()));
  }
  const TensorInfo& info = inputs[index];
  if (tensor.dtype != info.dtype) {
    throw Error(ErrorKind::kBadInput,
                "the input is of type " + std::string(to_string(tensor.dtype)) + " but the model takes " +
                    to_string(info.dtype),
                "input " + quoted(info.name));
  }
  const ShapeProfile& profile = engine_->index().profiles[index];
  bool is_fitting = tensor.shape.rank() == profile.min.rank();
  for (std::size_t axis = 0; is_fitting && axis < profile.min.rank(); ++axis) {
    is_fitting = tensor.shape[axis] >= profile.min[axis] && tensor.shape[axis] <= profile.max[axis];
  }
  if (!is_fitting) {
    throw Error(ErrorKind::kBadInput,
                "the input has shape " + tensor.shape.to_string() + " but the engine was built for " +
                    (profile.min == profile.max ? profile.min.to_string()
                                                : profile.min.to_string() + " to " + profile.max.to_string()),
                "input " + quoted(info.name), "give an input of that shape, or build again with other --shapes");
  }
  const std::size_t size_bytes = tensor.size_bytes();
  if (tensor.data == nullptr && size_bytes != 0) {
    throw Error(ErrorKind::kBadInput, "the input has no data", "input " + quoted(info.name));
  }
  engine_->device().make_current();
  host_inputs_[index].reserve(size_bytes);
  if (size_bytes != 0) std::memcpy(host_inputs_[index].data(), tensor.data, size_bytes);
  input_shapes_[index] = tensor.shape;
  input_time_ += Clock::now() - begin;
}

void CudaSession::choose_shapes() {
  InputShapes shapes;
  for (std::size_t i = 0; i < input_shapes_.size(); ++i) {
    if (!input_shapes_[i]) {
      throw Error(ErrorKind::kBadInput, "the input was not given", "input " + quoted(engine_->inputs()[i].name));
    }
    shapes.push_back(*input_shapes_[i]);
  }
  session_.set_shapes(shapes);
}

void CudaSession::run() {
  const Range range("pajamas run");
  const auto begin = Clock::now();
  has_run_ = false;
  choose_shapes();
  host_outputs_.resize(session_.plan().program().outputs.size());
  const cudaStream_t stream = session_.stream();
  for (std::size_t i = 0; i < host_inputs_.size(); ++i) {
    if (session_.input_bytes(i) == 0) continue;
    check(cudaMemcpyAsync(session_.input(i), host_inputs_[i].data(), session_.input_bytes(i), cudaMemcpyHostToDevice,
                          stream),
          "copying an input to the GPU");
  }
  begin_.record(stream);
  session_.launch();
  end_.record(stream);
  for (std::size_t i = 0; i < host_outputs_.size(); ++i) {
    const std::size_t size_bytes = session_.output_bytes(i);
    if (size_bytes == 0) continue;
    host_outputs_[i].reserve(size_bytes);
    check(cudaMemcpyAsync(host_outputs_[i].data(), session_.output(i), size_bytes, cudaMemcpyDeviceToHost, stream),
          "copying an output from the GPU");
  }
  session_.synchronize();
  cut_outputs();
  timing_.device = std::chrono::nanoseconds(static_cast<std::int64_t>(end_.us_since(begin_) * 1000.0));
  timing_.host = input_time_ + (Clock::now() - begin) - timing_.device;
  input_time_ = std::chrono::nanoseconds{0};
  has_run_ = true;
}

void CudaSession::cut_outputs() {
  const Program& program = session_.plan().program();
  std::span<const std::int64_t> counts;
  if (!program.output_counts.empty()) {
    counts = {reinterpret_cast<const std::int64_t*>(host_outputs_.back().data()),
              static_cast<std::size_t>(session_.output_shape(host_outputs_.size() - 1).num_elements())};
  }
  output_shapes_.clear();
  for (std::size_t i = 0; i < num_model_outputs(program); ++i) {
    const Shape& bound = session_.output_shape(i);
    output_shapes_.push_back(real_shape(program, i, counts));
    const std::size_t element_bytes = static_cast<std::size_t>(bits_of(engine_->outputs()[i].dtype)) / 8;
    if (bound.num_elements() != 0) compact(host_outputs_[i].data(), bound, output_shapes_.back(), element_bytes);
  }
}

TensorView CudaSession::output(std::size_t index) const {
  if (!has_run_) throw Error(ErrorKind::kBadInput, "there is no output: nothing has been run");
  if (index >= output_shapes_.size()) {
    throw Error(ErrorKind::kBadInput, "there is no output " + std::to_string(index) + ": the model has " +
                                          std::to_string(output_shapes_.size()));
  }
  return {engine_->outputs()[index].dtype, output_shapes_[index], host_outputs_[index].data()};
}

nlohmann::json CudaSession::layer_times() {
  choose_shapes();
  return profile_steps(session_);
}

}  // namespace pajamas::cuda
