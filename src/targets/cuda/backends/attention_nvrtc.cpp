// The backend of attention kernels: the shapes that attention_source.h finds worth timing, compiled by NVRTC.
#include <cstring>

#include "targets/cuda/backends/attention_source.h"
#include "targets/cuda/backends/nvrtc_kernel.h"

namespace pajamas::cuda {
namespace {

constexpr const char* kPrefix = "attention:";

AttentionSource source_of(DeviceContext& device, const Program& program, const Step& step,
                          const AttentionShape& shape) {
  return make_attention_source(program, step, shape, device.info().num_multiprocessors);
}

std::unique_ptr<StepKernel> make(DeviceContext& device, const Program& program, const Step& step,
                                 const AttentionShape& shape) {
  const AttentionSource source = source_of(device, program, step, shape);
  LaunchGeometry geometry;
  geometry.grid[0] = source.grid;
  geometry.block[0] = source.block_size;
  geometry.shared_bytes = source.shared_bytes;
  geometry.is_dependent_launch = 1;
  return compile_kernel(device, program, source.arguments, kPrefix + shape.to_string(), geometry, source.source,
                        source.entry, source.boxes);
}

class AttentionBackend final : public Backend {
 public:
  std::string name() const override { return "attention"; }

  std::vector<std::unique_ptr<StepKernel>> kernels(DeviceContext& device, const Program& program, const Step& step,
                                                   int max_kernels, std::vector<std::string>& refusals) const override {
    std::vector<std::unique_ptr<StepKernel>> kernels;
    for (const AttentionShape& shape :
         attention_shapes(program, step, device.info().sm, device.info().num_multiprocessors)) {
      if (static_cast<int>(kernels.size()) == max_kernels) break;
      try {
        kernels.push_back(make(device, program, step, shape));
      } catch (const Error& error) {
        refusals.push_back(kPrefix + shape.to_string() + ": " + error.what());
      }
    }
    return kernels;
  }

  std::unique_ptr<StepKernel> restore(DeviceContext& device, const Program& program, const Step& step,
                                      const std::string& tactic, std::span<const std::byte> state) const override {
    const auto shape = parse_attention_shape(tactic.substr(std::min(tactic.size(), std::strlen(kPrefix))));
    if (!shape) throw Error(ErrorKind::kUnsupported, "there is no kernel " + tactic);
    if (state.empty()) return make(device, program, step, *shape);
    const AttentionSource source = source_of(device, program, step, *shape);
    return restore_kernel(device, program, source.arguments, tactic, state, source.boxes);
  }
};

}  // namespace

const Backend& attention_backend() {
  static const AttentionBackend backend;
  return backend;
}

}  // namespace pajamas::cuda
