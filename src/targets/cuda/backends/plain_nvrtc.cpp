// The backend of plain products: one way for each step, asked only where no other backend has any.
#include "targets/cuda/backends/nvrtc_kernel.h"
#include "targets/cuda/backends/plain_source.h"

namespace pajamas::cuda {
namespace {

constexpr const char* kTactic = "plain:1";

std::unique_ptr<StepKernel> make(DeviceContext& device, const Program& program, const PlainSource& source) {
  LaunchGeometry geometry;
  geometry.grid[0] = source.num_blocks;
  geometry.block[0] = source.block_size;
  geometry.shared_bytes = source.shared_bytes;
  return compile_kernel(device, program, source.arguments, kTactic, geometry, source.source, source.entry);
}

class PlainBackend final : public Backend {
 public:
  std::string name() const override { return "plain"; }
  bool is_last_resort() const override { return true; }

  std::vector<std::unique_ptr<StepKernel>> kernels(DeviceContext& device, const Program& program, const Step& step,
                                                   int /*max_kernels*/,
                                                   std::vector<std::string>& refusals) const override {
    std::vector<std::unique_ptr<StepKernel>> kernels;
    try {
      if (const auto source = make_plain_source(program, step)) kernels.push_back(make(device, program, *source));
    } catch (const Error& error) {
      refusals.push_back(std::string(kTactic) + ": " + error.what());
    }
    return kernels;
  }

  std::unique_ptr<StepKernel> restore(DeviceContext& device, const Program& program, const Step& step,
                                      const std::string& tactic, std::span<const std::byte> state) const override {
    const auto source = make_plain_source(program, step);
    if (!source || tactic != kTactic) throw Error(ErrorKind::kUnsupported, "there is no kernel " + tactic);
    if (state.empty()) return make(device, program, *source);
    return restore_kernel(device, program, source->arguments, tactic, state);
  }
};

}  // namespace

const Backend& plain_backend() {
  static const PlainBackend backend;
  return backend;
}

}  // namespace pajamas::cuda
