// The backend of halo kernels: the shapes that halo_source.h finds worth timing, compiled by NVRTC.
#include "targets/cuda/backends/halo_source.h"
#include "targets/cuda/backends/shaped_backend.h"

namespace pajamas::cuda {
namespace {

struct HaloKernels {
  static constexpr const char* kName = "halo";
  static std::vector<HaloShape> shapes(const DeviceInfo& device, const Program& program, const Step& step) {
    return halo_shapes(program, step, device.sm, device.num_multiprocessors);
  }
  static std::optional<HaloShape> parse(const std::string& text) { return parse_halo_shape(text); }
  static KernelSource source(const DeviceInfo& device, const Program& program, const Step& step,
                             const HaloShape& shape) {
    return make_halo_source(program, step, shape, device.num_multiprocessors);
  }
};

}  // namespace

const Backend& halo_backend() {
  static const ShapedBackend<HaloKernels> backend;
  return backend;
}

}  // namespace pajamas::cuda
