// A backend whose kernels are one generated source cut in several shapes: tries the shapes worth timing, names each
// tactic "<prefix><shape>", and makes the kernel again from that name.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "pajamas/error.h"
#include "targets/cuda/backends/kernel_source.h"
#include "targets/cuda/backends/nvrtc_kernel.h"

namespace pajamas::cuda {

/// `Kernels` has `kName`; `shapes(device info, program, step)`, best guess first; `parse(text)`, an optional shape
/// whose to_string() gives the text; and `source(device info, program, step, shape)`, a KernelSource or
/// Error{kUnsupported}. Its kernels wait for the one before them (LaunchGeometry::is_dependent_launch) from SM 9.0 on.
template <typename Kernels>
class ShapedBackend final : public Backend {
 public:
  std::string name() const override { return Kernels::kName; }

  std::vector<std::unique_ptr<StepKernel>> kernels(DeviceContext& device, const Program& program, const Step& step,
                                                   int max_kernels, std::vector<std::string>& refusals) const override {
    std::vector<std::unique_ptr<StepKernel>> kernels;
    for (const auto& shape : Kernels::shapes(device.info(), program, step)) {
      if (static_cast<int>(kernels.size()) == max_kernels) break;
      const std::string tactic = prefix() + shape.to_string();
      try {
        kernels.push_back(compile(device, program, tactic, Kernels::source(device.info(), program, step, shape)));
      } catch (const Error& error) {
        refusals.push_back(tactic + ": " + error.what());
      }
    }
    return kernels;
  }

  std::unique_ptr<StepKernel> restore(DeviceContext& device, const Program& program, const Step& step,
                                      const std::string& tactic, std::span<const std::byte> state) const override {
    const auto shape = Kernels::parse(tactic.substr(std::min(tactic.size(), prefix().size())));
    if (!shape) throw Error(ErrorKind::kUnsupported, "there is no kernel " + tactic);
    KernelSource source = Kernels::source(device.info(), program, step, *shape);
    if (state.empty()) return compile(device, program, tactic, std::move(source));
    return restore_kernel(device, program, std::move(source.arguments), tactic, state, std::move(source.boxes));
  }

 private:
  static std::string prefix() { return std::string(Kernels::kName) + ":"; }

  static std::unique_ptr<StepKernel> compile(DeviceContext& device, const Program& program, const std::string& tactic,
                                             KernelSource source) {
    LaunchGeometry geometry;
    std::copy(std::begin(source.grid), std::end(source.grid), geometry.grid);
    geometry.block[0] = source.block_size;
    geometry.shared_bytes = source.shared_bytes;
    geometry.is_dependent_launch = device.info().sm >= 90 ? 1 : 0;
    return compile_kernel(device, program, std::move(source.arguments), tactic, geometry, source.source, source.entry,
                          std::move(source.boxes));
  }
};

}  // namespace pajamas::cuda
