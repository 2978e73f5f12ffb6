// The backend of generated loops: source from loops/, machine code from NVRTC. Its tactics are "loop:VARIANT".
#include <algorithm>
#include <cstring>

#include "targets/cuda/backends/nvrtc_kernel.h"
#include "targets/cuda/loops/loops.h"

namespace pajamas::cuda {
namespace {

constexpr const char* kPrefix = "loop:";

std::vector<ValueId> arguments_of(const LoopStep& step) {
  std::vector<ValueId> arguments = step.inputs;
  arguments.insert(arguments.end(), step.outputs.begin(), step.outputs.end());
  return arguments;
}

int parse_variant(const std::string& tactic) {
  const std::string digits = tactic.substr(std::strlen(kPrefix));
  if (digits.empty() || digits.size() > 4 || digits.find_first_not_of("0123456789") != std::string::npos) {
    throw Error(ErrorKind::kUnsupported, "there is no kernel " + tactic);
  }
  return std::stoi(digits);
}

std::unique_ptr<StepKernel> make(DeviceContext& device, const Program& program, const LoopStep& step, int variant) {
  const std::string tactic = kPrefix + std::to_string(variant);
  if (variant >= num_loop_variants(program, step)) {
    throw Error(ErrorKind::kUnsupported, "there is no kernel " + tactic);
  }
  const LoopKernel source = make_loop_kernel(program, step, variant);
  LaunchGeometry geometry;
  std::copy(std::begin(source.grid), std::end(source.grid), geometry.grid);
  std::copy(std::begin(source.block), std::end(source.block), geometry.block);
  geometry.shared_bytes = source.shared_bytes;
  geometry.is_dependent_launch = device.info().sm >= 90 ? 1 : 0;
  return compile_kernel(device, program, arguments_of(step), tactic, geometry, source.source, source.entry);
}

class LoopBackend final : public Backend {
 public:
  std::string name() const override { return "loop"; }

  std::vector<std::unique_ptr<StepKernel>> kernels(DeviceContext& device, const Program& program, const Step& step,
                                                   int max_kernels, std::vector<std::string>& refusals) const override {
    std::vector<std::unique_ptr<StepKernel>> kernels;
    const auto* loop = std::get_if<LoopStep>(&step.work);
    if (loop == nullptr) return kernels;
    const int num_variants = std::min(num_loop_variants(program, *loop), max_kernels);
    for (int variant = 0; variant < num_variants; ++variant) {
      try {
        kernels.push_back(make(device, program, *loop, variant));
      } catch (const Error& error) {
        refusals.push_back(kPrefix + std::to_string(variant) + ": " + error.what());
      }
    }
    return kernels;
  }

  std::unique_ptr<StepKernel> restore(DeviceContext& device, const Program& program, const Step& step,
                                      const std::string& tactic, std::span<const std::byte> state) const override {
    const auto* loop = std::get_if<LoopStep>(&step.work);
    if (loop == nullptr) throw Error(ErrorKind::kUnsupported, "the kernel " + tactic + " is for a loop");
    if (state.empty()) return make(device, program, *loop, parse_variant(tactic));
    return restore_kernel(device, program, arguments_of(*loop), tactic, state);
  }
};

}  // namespace

const Backend& loop_backend() {
  static const LoopBackend backend;
  return backend;
}

}  // namespace pajamas::cuda
