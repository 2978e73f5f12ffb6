// The backend of attention kernels: the shapes that attention_source.h finds worth timing, compiled by NVRTC.
#include "targets/cuda/backends/attention_source.h"
#include "targets/cuda/backends/shaped_backend.h"

namespace pajamas::cuda {
namespace {

struct AttentionKernels {
  static constexpr const char* kName = "attention";
  static std::vector<AttentionShape> shapes(const DeviceInfo& device, const Program& program, const Step& step) {
    return attention_shapes(program, step, device.sm, device.num_multiprocessors);
  }
  static std::optional<AttentionShape> parse(const std::string& text) { return parse_attention_shape(text); }
  static KernelSource source(const DeviceInfo& device, const Program& program, const Step& step,
                             const AttentionShape& shape) {
    return make_attention_source(program, step, shape, device.num_multiprocessors);
  }
};

}  // namespace

const Backend& attention_backend() {
  static const ShapedBackend<AttentionKernels> backend;
  return backend;
}

}  // namespace pajamas::cuda
