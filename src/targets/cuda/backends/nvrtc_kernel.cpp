// See nvrtc_kernel.h.
#include "targets/cuda/backends/nvrtc_kernel.h"

#include <cstring>

#include "targets/cuda/runtime/driver.h"

namespace pajamas::cuda {
namespace {

constexpr std::size_t kDefaultSharedBytes = 48 * 1024;  ///< More must be asked for.
constexpr std::uint32_t kStateVersion = 2;

/// Head of the state, written as it lies in memory; the name of the entry and the cubin follow.
struct Head {
  std::uint32_t version = kStateVersion;
  LaunchGeometry geometry;
  std::uint32_t entry_bytes = 0;
  std::uint32_t num_arguments = 0;
};
static_assert(sizeof(Head) == 44, "no padding");

class NvrtcKernel final : public StepKernel {
 public:
  NvrtcKernel(DeviceContext& device, const Program& program, std::vector<ValueId> arguments, std::string tactic,
              const LaunchGeometry& geometry, std::string entry, std::vector<std::byte> cubin)
      : program_(program),
        arguments_(std::move(arguments)),
        tactic_(std::move(tactic)),
        geometry_(geometry),
        entry_(std::move(entry)),
        cubin_(std::move(cubin)),
        kernel_(device.load_kernel(cubin_, entry_)) {
    if (geometry_.shared_bytes > kDefaultSharedBytes) {
      check(driver().func_set_attribute(kernel_.function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                        static_cast<int>(geometry_.shared_bytes)),
            "asking for shared memory");
    }
  }

  void launch(const LaunchContext& context) const override {
    std::vector<std::byte*> addresses(arguments_.size());
    std::vector<void*> pointers(arguments_.size());
    for (std::size_t i = 0; i < arguments_.size(); ++i) {
      addresses[i] = context.address(program_, arguments_[i]);
      pointers[i] = &addresses[i];
    }
    CUlaunchConfig config{};
    config.gridDimX = geometry_.grid[0];
    config.gridDimY = geometry_.grid[1];
    config.gridDimZ = geometry_.grid[2];
    config.blockDimX = geometry_.block[0];
    config.blockDimY = geometry_.block[1];
    config.blockDimZ = geometry_.block[2];
    config.sharedMemBytes = geometry_.shared_bytes;
    config.hStream = context.stream;
    CUlaunchAttribute attribute{};
    if (geometry_.is_dependent_launch != 0) {
      attribute.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
      attribute.value.programmaticStreamSerializationAllowed = 1;
      config.attrs = &attribute;
      config.numAttrs = 1;
    }
    check(driver().launch_kernel_ex(&config, kernel_.function, pointers.data(), nullptr), "launching " + tactic_);
  }
  std::size_t workspace_bytes() const override { return 0; }
  std::string tactic() const override { return tactic_; }
  std::vector<std::byte> state() const override {
    Head head;
    head.geometry = geometry_;
    head.entry_bytes = static_cast<std::uint32_t>(entry_.size());
    head.num_arguments = static_cast<std::uint32_t>(arguments_.size());
    std::vector<std::byte> state(sizeof head + entry_.size() + cubin_.size());
    std::memcpy(state.data(), &head, sizeof head);
    std::memcpy(state.data() + sizeof head, entry_.data(), entry_.size());
    std::memcpy(state.data() + sizeof head + entry_.size(), cubin_.data(), cubin_.size());
    return state;
  }

 private:
  const Program& program_;
  std::vector<ValueId> arguments_;
  std::string tactic_;
  LaunchGeometry geometry_;
  std::string entry_;
  std::vector<std::byte> cubin_;
  CompiledKernel kernel_;
};

}  // namespace

std::unique_ptr<StepKernel> compile_kernel(DeviceContext& device, const Program& program,
                                           std::vector<ValueId> arguments, std::string tactic,
                                           const LaunchGeometry& geometry, const std::string& source,
                                           const std::string& entry) {
  return std::make_unique<NvrtcKernel>(device, program, std::move(arguments), std::move(tactic), geometry, entry,
                                       device.compile_to_cubin(source, entry));
}

std::unique_ptr<StepKernel> restore_kernel(DeviceContext& device, const Program& program,
                                           std::vector<ValueId> arguments, std::string tactic,
                                           std::span<const std::byte> state) {
  Head head;
  if (state.size() < sizeof head) throw Error(ErrorKind::kBadInput, "the kernel " + tactic + " is cut off");
  std::memcpy(&head, state.data(), sizeof head);
  if (head.version != kStateVersion || head.entry_bytes > state.size() - sizeof head) {
    throw Error(ErrorKind::kUnsupported, "the kernel " + tactic + " was kept by another version of this program");
  }
  if (head.num_arguments != arguments.size()) {
    throw Error(ErrorKind::kUnsupported, "the kernel " + tactic + " was made for another step");
  }
  const auto rest = state.subspan(sizeof head);
  std::string entry(reinterpret_cast<const char*>(rest.data()), head.entry_bytes);
  const auto cubin = rest.subspan(head.entry_bytes);
  return std::make_unique<NvrtcKernel>(device, program, std::move(arguments), std::move(tactic), head.geometry,
                                       std::move(entry), std::vector<std::byte>(cubin.begin(), cubin.end()));
}

}  // namespace pajamas::cuda
