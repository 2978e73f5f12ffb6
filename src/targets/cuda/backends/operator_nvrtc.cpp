// The backend of operators with kernels of their own: source from operators/, machine code from NVRTC, several launches
// and some scratch memory a step. One way for each step.
#include <algorithm>

#include "targets/cuda/backends/bound_value.h"
#include "targets/cuda/operators/operators.h"
#include "targets/cuda/runtime/device_context.h"
#include "targets/cuda/runtime/driver.h"

namespace pajamas::cuda {
namespace {

constexpr const char* kTactic = "operator:1";

class OperatorKernel final : public StepKernel {
 public:
  OperatorKernel(DeviceContext& device, const Program& program, const OperatorSource& source,
                 std::vector<std::byte> cubin)
      : cubin_(std::move(cubin)), launches_(source.launches), workspace_bytes_(source.workspace_bytes) {
    for (const ValueId id : source.arguments) arguments_.emplace_back(program, id);
    for (const OperatorLaunch& launch : launches_) kernels_.push_back(device.load_kernel(cubin_, launch.entry));
  }

  void launch(const LaunchContext& context) const override {
    std::vector<std::byte*> addresses;
    for (const BoundValue& argument : arguments_) addresses.push_back(argument.address(context));
    addresses.push_back(context.workspace);
    std::vector<void*> pointers;
    for (std::byte*& address : addresses) pointers.push_back(&address);
    for (std::size_t i = 0; i < launches_.size(); ++i) {
      CUlaunchConfig config{};
      config.gridDimX = launches_[i].num_blocks;
      config.gridDimY = config.gridDimZ = 1;
      config.blockDimX = launches_[i].block_size;
      config.blockDimY = config.blockDimZ = 1;
      config.hStream = context.stream;
      check(driver().launch_kernel_ex(&config, kernels_[i].function, pointers.data(), nullptr),
            "launching an operator");
    }
  }
  std::size_t workspace_bytes() const override { return workspace_bytes_; }
  std::string tactic() const override { return kTactic; }
  std::vector<std::byte> state() const override { return cubin_; }

 private:
  std::vector<std::byte> cubin_;
  std::vector<OperatorLaunch> launches_;
  std::size_t workspace_bytes_;
  std::vector<BoundValue> arguments_;
  std::vector<CompiledKernel> kernels_;
};

std::unique_ptr<StepKernel> make(DeviceContext& device, const Program& program, const OperatorSource& source) {
  return std::make_unique<OperatorKernel>(device, program, source,
                                          device.compile_to_cubin(source.source, source.launches.front().entry));
}

class OperatorBackend final : public Backend {
 public:
  std::string name() const override { return "operator"; }

  std::vector<std::unique_ptr<StepKernel>> kernels(DeviceContext& device, const Program& program, const Step& step,
                                                   int /*max_kernels*/,
                                                   std::vector<std::string>& refusals) const override {
    std::vector<std::unique_ptr<StepKernel>> kernels;
    try {
      if (const auto source = make_operator_source(program, step)) kernels.push_back(make(device, program, *source));
    } catch (const Error& error) {
      refusals.push_back(std::string(kTactic) + ": " + error.what());
    }
    return kernels;
  }

  std::unique_ptr<StepKernel> restore(DeviceContext& device, const Program& program, const Step& step,
                                      const std::string& tactic, std::span<const std::byte> state) const override {
    const auto source = make_operator_source(program, step);
    if (!source || tactic != kTactic) throw Error(ErrorKind::kUnsupported, "there is no kernel " + tactic);
    if (state.empty()) return make(device, program, *source);
    return std::make_unique<OperatorKernel>(device, program, *source,
                                            std::vector<std::byte>(state.begin(), state.end()));
  }
};

}  // namespace

const Backend& operator_backend() {
  static const OperatorBackend backend;
  return backend;
}

}  // namespace pajamas::cuda
