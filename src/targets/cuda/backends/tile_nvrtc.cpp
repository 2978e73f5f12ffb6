// The backend of tile kernels: the shapes that tile_source.h finds worth timing, compiled by NVRTC.
#include "targets/cuda/backends/shaped_backend.h"
#include "targets/cuda/backends/tile_source.h"

namespace pajamas::cuda {
namespace {

struct TileKernels {
  static constexpr const char* kName = "tile";
  static std::vector<TileShape> shapes(const DeviceInfo& device, const Program& program, const Step& step) {
    return tile_shapes(program, step, device.sm, device.num_multiprocessors);
  }
  static std::optional<TileShape> parse(const std::string& text) { return parse_tile_shape(text); }
  static KernelSource source(const DeviceInfo&, const Program& program, const Step& step, const TileShape& shape) {
    return make_tile_source(program, step, shape);
  }
};

}  // namespace

const Backend& tile_backend() {
  static const ShapedBackend<TileKernels> backend;
  return backend;
}

}  // namespace pajamas::cuda
