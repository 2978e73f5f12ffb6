// The backend of generated loops: source from loops/, machine code from NVRTC. Its tactics are "loop:VARIANT"; the
// state is the launch geometry and the cubin, so that a load compiles nothing.
#include <array>
#include <cstring>

#include "targets/cuda/loops/loops.h"
#include "targets/cuda/runtime/device_context.h"
#include "targets/cuda/runtime/driver.h"
#include "targets/cuda/runtime/step_kernel.h"

namespace pajamas::cuda {
namespace {

constexpr const char* kPrefix = "loop:";
constexpr std::size_t kDefaultSharedBytes = 48 * 1024;  ///< More must be asked for.
constexpr std::uint32_t kStateVersion = 1;

/// How a kernel is launched. Written into the state as it lies in memory.
struct Geometry {
  std::uint32_t version = kStateVersion;
  std::uint32_t grid[3] = {1, 1, 1};
  std::uint32_t block[3] = {1, 1, 1};
  std::uint32_t shared_bytes = 0;
  std::uint32_t entry_bytes = 0;
  std::uint32_t num_arguments = 0;
};
static_assert(sizeof(Geometry) == 40, "no padding");

class LoopStepKernel final : public StepKernel {
 public:
  LoopStepKernel(DeviceContext& device, const Program& program, const LoopStep& step, std::string tactic,
                 const Geometry& geometry, std::string entry, std::vector<std::byte> cubin)
      : program_(program),
        values_(step.inputs),
        tactic_(std::move(tactic)),
        geometry_(geometry),
        entry_(std::move(entry)),
        cubin_(std::move(cubin)) {
    values_.insert(values_.end(), step.outputs.begin(), step.outputs.end());
    if (values_.size() != geometry_.num_arguments) {
      throw Error(ErrorKind::kUnsupported, "the kernel " + tactic_ + " was made for another step");
    }
    kernel_ = device.load_kernel(cubin_, entry_);
    if (geometry_.shared_bytes > kDefaultSharedBytes) {
      check(driver().func_set_attribute(kernel_.function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                        static_cast<int>(geometry_.shared_bytes)),
            "asking for shared memory");
    }
  }

  void launch(const LaunchContext& context) const override {
    std::vector<std::byte*> addresses(values_.size());
    std::vector<void*> arguments(values_.size());
    for (std::size_t i = 0; i < values_.size(); ++i) {
      addresses[i] = context.address(program_, values_[i]);
      arguments[i] = &addresses[i];
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
    check(driver().launch_kernel_ex(&config, kernel_.function, arguments.data(), nullptr), "launching " + tactic_);
  }
  std::size_t workspace_bytes() const override { return 0; }
  std::string tactic() const override { return tactic_; }
  std::vector<std::byte> state() const override {
    std::vector<std::byte> state(sizeof geometry_ + entry_.size() + cubin_.size());
    std::memcpy(state.data(), &geometry_, sizeof geometry_);
    std::memcpy(state.data() + sizeof geometry_, entry_.data(), entry_.size());
    std::memcpy(state.data() + sizeof geometry_ + entry_.size(), cubin_.data(), cubin_.size());
    return state;
  }

 private:
  const Program& program_;
  std::vector<ValueId> values_;
  std::string tactic_;
  Geometry geometry_;
  std::string entry_;
  std::vector<std::byte> cubin_;
  CompiledKernel kernel_;
};

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
    Geometry geometry;
    if (state.size() < sizeof geometry) throw Error(ErrorKind::kBadInput, "the kernel " + tactic + " is cut off");
    std::memcpy(&geometry, state.data(), sizeof geometry);
    if (geometry.version != kStateVersion || geometry.entry_bytes > state.size() - sizeof geometry) {
      throw Error(ErrorKind::kUnsupported, "the kernel " + tactic + " was kept by another version of this program");
    }
    std::string entry(reinterpret_cast<const char*>(state.data()) + sizeof geometry, geometry.entry_bytes);
    const auto cubin = state.subspan(sizeof geometry + geometry.entry_bytes);
    return std::make_unique<LoopStepKernel>(device, program, *loop, tactic, geometry, std::move(entry),
                                            std::vector<std::byte>(cubin.begin(), cubin.end()));
  }

 private:
  static int parse_variant(const std::string& tactic) {
    const std::string digits = tactic.substr(std::strlen(kPrefix));
    if (digits.empty() || digits.size() > 4 || digits.find_first_not_of("0123456789") != std::string::npos) {
      throw Error(ErrorKind::kUnsupported, "there is no kernel " + tactic);
    }
    return std::stoi(digits);
  }

  static std::unique_ptr<StepKernel> make(DeviceContext& device, const Program& program, const LoopStep& step,
                                          int variant) {
    if (variant >= num_loop_variants(program, step)) {
      throw Error(ErrorKind::kUnsupported, "there is no kernel " + (kPrefix + std::to_string(variant)));
    }
    const LoopKernel source = make_loop_kernel(program, step, variant);
    Geometry geometry;
    std::memcpy(geometry.grid, source.grid, sizeof geometry.grid);
    std::memcpy(geometry.block, source.block, sizeof geometry.block);
    geometry.shared_bytes = source.shared_bytes;
    geometry.entry_bytes = static_cast<std::uint32_t>(source.entry.size());
    geometry.num_arguments = static_cast<std::uint32_t>(step.inputs.size() + step.outputs.size());
    return std::make_unique<LoopStepKernel>(device, program, step, kPrefix + std::to_string(variant), geometry,
                                            source.entry, device.compile_to_cubin(source.source, source.entry));
  }
};

}  // namespace

const Backend& loop_backend() {
  static const LoopBackend backend;
  return backend;
}

}  // namespace pajamas::cuda
