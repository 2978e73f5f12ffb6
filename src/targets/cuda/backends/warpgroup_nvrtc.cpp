// The backend of warpgroup kernels: the shapes that warpgroup_source.h finds worth timing, compiled by NVRTC.
#include "targets/cuda/backends/shaped_backend.h"
#include "targets/cuda/backends/warpgroup_source.h"

namespace pajamas::cuda {
namespace {

struct WarpgroupKernels {
  static constexpr const char* kName = "warpgroup";
  static std::vector<WarpgroupShape> shapes(const DeviceInfo& device, const Program& program, const Step& step) {
    return warpgroup_shapes(program, step, device.sm, device.num_multiprocessors);
  }
  static std::optional<WarpgroupShape> parse(const std::string& text) { return parse_warpgroup_shape(text); }
  static KernelSource source(const DeviceInfo& device, const Program& program, const Step& step,
                             const WarpgroupShape& shape) {
    return make_warpgroup_source(program, step, shape, device.num_multiprocessors);
  }
};

}  // namespace

const Backend& warpgroup_backend() {
  static const ShapedBackend<WarpgroupKernels> backend;
  return backend;
}

}  // namespace pajamas::cuda
