// The backend of cuDNN: convolutions, matrix products and attention, each as one fused graph.
#include <utility>

#include "targets/cuda/backends/cudnn_steps.h"
#include "targets/cuda/backends/epilogue_kernel.h"
#include "targets/cuda/runtime/device_context.h"
#include "targets/cuda/runtime/step_kernel.h"

namespace pajamas::cuda {
namespace {

constexpr const char* kName = "cudnn";
/// A plan that wants more scratch memory than this is not worth it.
constexpr std::size_t kMaxWorkspaceBytes = std::size_t{256} << 20;

class CudnnKernel final : public StepKernel {
 public:
  /// `epilogue`: what follows sums in scratch memory; null where the graph is all.
  CudnnKernel(CudnnPlan plan, CudnnBindings bindings, std::shared_ptr<const EpilogueKernel> epilogue,
              std::string tactic)
      : plan_(std::move(plan)),
        bindings_(std::move(bindings)),
        epilogue_(std::move(epilogue)),
        tactic_(std::move(tactic)) {
    if (epilogue_) sums_bytes_ = (epilogue_->sums_bytes() + kBufferAlignment - 1) / kBufferAlignment * kBufferAlignment;
    for (const auto& [uid, value] : bindings_.values) uids_.push_back(uid);
    for (const auto& [uid, value] : bindings_.numbers) uids_.push_back(uid);
    if (bindings_.sums) uids_.push_back(*bindings_.sums);
  }

  void launch(const LaunchContext& context) const override {
    std::vector<void*> addresses;
    addresses.reserve(uids_.size());
    for (const auto& [uid, value] : bindings_.values) addresses.push_back(value.address(context));
    for (const auto& [uid, value] : bindings_.numbers) addresses.push_back(const_cast<float*>(&value));
    if (bindings_.sums) addresses.push_back(context.workspace);
    plan_.execute(context.stream, uids_, addresses, context.workspace + sums_bytes_);
    if (epilogue_) epilogue_->launch(context, context.workspace);
  }
  std::size_t workspace_bytes() const override { return sums_bytes_ + plan_.workspace_bytes(); }
  std::string tactic() const override { return tactic_; }
  std::vector<std::byte> state() const override {
    const std::string json = plan_.json();
    const auto* bytes = reinterpret_cast<const std::byte*>(json.data());
    return {bytes, bytes + json.size()};
  }

 private:
  CudnnPlan plan_;
  CudnnBindings bindings_;
  std::shared_ptr<const EpilogueKernel> epilogue_;
  std::size_t sums_bytes_ = 0;
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
    const CudnnNumerics numerics = numerics_of(program, step);
    try {
      const CudnnLibrary& library = device.cudnn();
      const CudnnLibrary::Lease handle(library);
      for (std::size_t i = 0; i < spellings.size(); ++i) {
        // Two launches where one does not do, and in float32: the kernels made for a graph are slow without tensor
        // cores.
        const bool is_bare = spellings[i] == kBare;
        if (is_bare && !kernels.empty() && numerics.allows_tensor_cores) break;
        // The first spelling has the better part; what it leaves goes to the next.
        const std::size_t num_left = static_cast<std::size_t>(max_kernels) - kernels.size();
        const bool has_another =
            i + 1 < spellings.size() && (spellings[i + 1] != kBare || !numerics.allows_tensor_cores);
        const std::size_t share = has_another ? (num_left * 2 + 2) / 3 : num_left;
        try {
          CudnnGraph graph(library, handle.get());
          const CudnnBindings bindings = describe_to_cudnn(graph, program, step, spellings[i]);
          std::shared_ptr<const EpilogueKernel> epilogue;
          if (is_bare) {
            epilogue = std::make_shared<const EpilogueKernel>(device, program, step, std::span<const std::byte>{});
          }
          for (CudnnPlan& plan : graph.plans(numerics, share, refusals)) {
            std::string tactic = tactic_of(spellings[i], plan.name());
            if (plan.workspace_bytes() > kMaxWorkspaceBytes) {
              refusals.push_back(tactic + ": it wants " + std::to_string(plan.workspace_bytes()) +
                                 " bytes of scratch memory");
              continue;
            }
            kernels.push_back(std::make_unique<CudnnKernel>(std::move(plan), bindings, epilogue, std::move(tactic)));
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
    std::shared_ptr<const EpilogueKernel> epilogue;
    if (bindings.sums) {
      epilogue = std::make_shared<const EpilogueKernel>(device, program, step, std::span<const std::byte>{});
    }
    if (state.empty()) {
      return std::make_unique<CudnnKernel>(graph.plan_named(tactic.substr(second + 1)), std::move(bindings),
                                           std::move(epilogue), tactic);
    }
    const std::string json(reinterpret_cast<const char*>(state.data()), state.size());
    return std::make_unique<CudnnKernel>(CudnnPlan(library, handle.get(), json), std::move(bindings),
                                         std::move(epilogue), tactic);
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
