// The backend of tile kernels: the shapes that tile_source.h finds worth timing, compiled by NVRTC.
#include <cstring>

#include "targets/cuda/backends/nvrtc_kernel.h"
#include "targets/cuda/backends/tile_source.h"

namespace pajamas::cuda {
namespace {

constexpr const char* kPrefix = "tile:";

std::unique_ptr<StepKernel> make(DeviceContext& device, const Program& program, const Step& step,
                                 const TileShape& shape) {
  const TileSource source = make_tile_source(program, step, shape);
  LaunchGeometry geometry;
  std::copy(std::begin(source.grid), std::end(source.grid), geometry.grid);
  geometry.block[0] = source.block_size;
  geometry.shared_bytes = source.shared_bytes;
  geometry.is_dependent_launch = device.info().sm >= 90 ? 1 : 0;
  return compile_kernel(device, program, source.arguments, kPrefix + shape.to_string(), geometry, source.source,
                        source.entry);
}

class TileBackend final : public Backend {
 public:
  std::string name() const override { return "tile"; }

  std::vector<std::unique_ptr<StepKernel>> kernels(DeviceContext& device, const Program& program, const Step& step,
                                                   int max_kernels, std::vector<std::string>& refusals) const override {
    std::vector<std::unique_ptr<StepKernel>> kernels;
    for (const TileShape& shape : tile_shapes(program, step, device.info().sm, device.info().num_multiprocessors)) {
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
    const auto shape = parse_tile_shape(tactic.substr(std::min(tactic.size(), std::strlen(kPrefix))));
    if (!shape) throw Error(ErrorKind::kUnsupported, "there is no kernel " + tactic);
    if (state.empty()) return make(device, program, step, *shape);
    return restore_kernel(device, program, make_tile_source(program, step, *shape).arguments, tactic, state);
  }
};

}  // namespace

const Backend& tile_backend() {
  static const TileBackend backend;
  return backend;
}

}  // namespace pajamas::cuda
