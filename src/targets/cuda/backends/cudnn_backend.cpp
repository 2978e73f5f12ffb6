// The backend of cuDNN: convolutions, matrix products and attention, each as one fused graph.
#include <utility>

#include "targets/cuda/backends/cudnn_steps.h"
#include "targets/cuda/runtime/device_context.h"
#include "targets/cuda/runtime/step_kernel.h"

namespace pajamas::cuda {
namespace {

constexpr const char* kName = "cudnn";
/// A plan that wants more scratch memory than this is not worth it.
constexpr std::size_t kMaxWorkspaceBytes = std::size_t{256} << 20;

class CudnnKernel final : public StepKernel {
 public:
  CudnnKernel(CudnnPlan plan, CudnnBindings bindings, std::string tactic)
      : plan_(std::move(plan)), bindings_(std::move(bindings)), tactic_(std::move(tactic)) {
    for (const auto& [uid, value] : bindings_.values) uids_.push_back(uid);
    for (const auto& [uid, value] : bindings_.numbers) uids_.push_back(uid);
  }

  void launch(const LaunchContext& context) const override {
    std::vector<void*> addresses;
    addresses.reserve(uids_.size());
    for (const auto& [uid, value] : bindings_.values) addresses.push_back(value.address(context));
    for (const auto& [uid, value] : bindings_.numbers) addresses.push_back(const_cast<float*>(&value));
    plan_.execute(context.stream, uids_, addresses, context.workspace);
  }
  std::size_t workspace_bytes() const override { return plan_.workspace_bytes(); }
  std::string tactic() const override { return tactic_; }
  std::vector<std::byte> state() const override {
    const std::string json = plan_.json();
    const auto* bytes = reinterpret_cast<const std::byte*>(json.data());
    return {bytes, bytes + json.size()};
  }

 private:
  CudnnPlan plan_;
  CudnnBindings bindings_;
  std::string tactic_;
  std::vector<std::int64_t> uids_;
};

class CudnnBackend final : public Backend {
 public:
  std::string name() const override { return kName; }

  std::vector<std::unique_ptr<StepKernel>> kernels(DeviceContext& device, const Program& program, const Step& step,
                                                   int max_kernels, std::vector<std::string>& refusals) const override {
    std::vector<std::unique_ptr<StepKernel>> kernels;
    const std::vector<std::string> spellings = cudnn_spellings(program, step);
    if (spellings.empty() || max_kernels <= 0) return kernels;
    try {
      const CudnnLibrary& library = device.cudnn();
      const CudnnLibrary::Lease handle(library);
      for (std::size_t i = 0; i < spellings.size(); ++i) {
        // The first spelling has the better half; what it leaves goes to the next.
        const std::size_t num_left = static_cast<std::size_t>(max_kernels) - kernels.size();
        const std::size_t share = i + 1 < spellings.size() ? (num_left * 2 + 2) / 3 : num_left;
        try {
          CudnnGraph graph(library, handle.get());
          const CudnnBindings bindings = describe_to_cudnn(graph, program, step, spellings[i]);
          for (CudnnPlan& plan : graph.plans(numerics_of(program, step), share, refusals)) {
            std::string tactic = tactic_of(spellings[i], plan.name());
            if (plan.workspace_bytes() > kMaxWorkspaceBytes) {
              refusals.push_back(tactic + ": it wants " + std::to_string(plan.workspace_bytes()) +
                                 " bytes of scratch memory");
              continue;
            }
            kernels.push_back(std::make_unique<CudnnKernel>(std::move(plan), bindings, std::move(tactic)));
          }
        } catch (const Error& error) {
          refusals.push_back(std::string(kName) + ":" + spellings[i] + ": " + error.message());
        }
      }
    } catch (const Error& error) {
      refusals.push_back(std::string(kName) + ": " + error.message());
    }
    return kernels;
  }

  std::unique_ptr<StepKernel> restore(DeviceContext& device, const Program& program, const Step& step,
                                      const std::string& tactic, std::span<const std::byte> state) const override {
    // "cudnn:<spelling>:<plan>"
    const std::size_t first = tactic.find(':');
    const std::size_t second = first == std::string::npos ? first : tactic.find(':', first + 1);
    if (second == std::string::npos || tactic.substr(0, first) != kName) {
      throw Error(ErrorKind::kUnsupported, "there is no kernel " + tactic);
    }
    const CudnnLibrary& library = device.cudnn();
    const CudnnLibrary::Lease handle(library);
    CudnnGraph graph(library, handle.get());
    CudnnBindings bindings = describe_to_cudnn(graph, program, step, tactic.substr(first + 1, second - first - 1));
    if (state.empty()) {
      return std::make_unique<CudnnKernel>(graph.plan_named(tactic.substr(second + 1)), std::move(bindings), tactic);
    }
    const std::string json(reinterpret_cast<const char*>(state.data()), state.size());
    return std::make_unique<CudnnKernel>(CudnnPlan(library, handle.get(), json), std::move(bindings), tactic);
  }

 private:
  static std::string tactic_of(const std::string& spelling, const std::string& plan) {
    return std::string(kName) + ":" + spelling + ":" + plan;
  }
};

}  // namespace

const Backend& cudnn_backend() {
  static const CudnnBackend backend;
  return backend;
}

}  // namespace pajamas::cuda
