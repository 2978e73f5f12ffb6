// See kernel_choice.h.
#include "targets/cuda/runtime/kernel_choice.h"

#include "targets/cuda/runtime/nvrtc.h"
#include "targets/cuda/runtime/parallel.h"

namespace pajamas::cuda {
namespace {

/// Reasons are kept short in messages: a step has dozens of ways that a library refuses.
constexpr std::size_t kMaxReasons = 3;

std::unique_ptr<StepKernel> first_kernel(DeviceContext& device, const Program& program, std::size_t step_index) {
  std::vector<std::string> refusals;
  for (const bool is_last_resort : {false, true}) {
    for (const Backend* backend : backends()) {
      if (backend->is_last_resort() != is_last_resort) continue;
      auto kernels = backend->kernels(device, program, program.steps[step_index], 1, refusals);
      if (!kernels.empty()) return std::move(kernels.front());
    }
  }
  std::string reasons;
  for (std::size_t i = 0; i < refusals.size() && i < kMaxReasons; ++i) reasons += "; " + refusals[i];
  throw Error(ErrorKind::kUnsupported, "no kernel computes " + describe(program, step_index) + reasons, {},
              "use another precision, or --target tensorrt");
}

}  // namespace

const Backend& backend_of(const std::string& tactic) {
  const std::string name = tactic.substr(0, tactic.find(':'));
  for (const Backend* backend : backends()) {
    if (backend->name() == name) return *backend;
  }
  throw Error(ErrorKind::kUnsupported, "this program has no backend '" + name + "' for the kernel '" + tactic + "'", {},
              "build the bundle again with this program");
}

std::string describe(const Program& program, std::size_t step_index) {
  const Step& step = program.steps[step_index];
  std::string names;
  for (const std::string& name : step.fused_from) names += (names.empty() ? "" : ", ") + name;
  return kind_of(program, step) + " step " + std::to_string(step_index) +
         (names.empty() ? "" : " (from " + names + ")");
}

StepKernels make_kernels(DeviceContext& device, const Program& program, const TacticTable& tactics, int num_threads) {
  const std::vector<std::string> signatures = signatures_of(program);
  StepKernels kernels(program.steps.size());
  parallel_for(device, kernels.size(), num_threads, [&](std::size_t i) {
    const auto found = tactics.find(signatures[i]);
    if (found == tactics.end()) {
      kernels[i] = first_kernel(device, program, i);
      return;
    }
    const ChosenTactic& chosen = found->second;
    try {
      kernels[i] = backend_of(chosen.tactic).restore(device, program, program.steps[i], chosen.tactic, chosen.state);
    } catch (const Error& error) {
      throw error.with_context(describe(program, i));
    }
  });
  return kernels;
}

std::vector<std::string> signatures_of(const Program& program) {
  std::vector<std::string> signatures;
  signatures.reserve(program.steps.size());
  for (const Step& step : program.steps) signatures.push_back(signature_of(program, step));
  return signatures;
}

TuningEnvironment environment_of(DeviceContext& device) {
  TuningEnvironment environment;
  environment.gpu = device.info().name;
  environment.sm = device.info().sm;
  environment.versions = library_versions(device);
  const int driver = device.info().driver_version;
  environment.versions["driver"] = std::to_string(driver / 1000) + "." + std::to_string(driver % 1000 / 10);
  return environment;
}

}  // namespace pajamas::cuda
