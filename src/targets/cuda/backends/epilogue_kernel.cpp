// See epilogue_kernel.h.
#include "targets/cuda/backends/epilogue_kernel.h"

#include "targets/cuda/backends/activation_pass.h"
#include "targets/cuda/runtime/driver.h"

namespace pajamas::cuda {

namespace {

PlainSource wanted(std::optional<PlainSource> source, const char* what) {
  if (!source) throw Error(ErrorKind::kUnsupported, std::string("a step without ") + what);
  return *std::move(source);
}

}  // namespace

EpilogueKernel::EpilogueKernel(DeviceContext& device, const Program& program, const Step& step,
                               std::span<const std::byte> cubin)
    : EpilogueKernel(device, program, wanted(make_epilogue_source(program, step), "an epilogue"), true, cubin) {}

EpilogueKernel EpilogueKernel::in_place(DeviceContext& device, const Program& program, const Step& step,
                                        std::span<const std::byte> cubin) {
  const PlainSource source = wanted(make_activation_pass(program, step), "an activation that goes in place");
  const bool is_small = program.value(source.arguments.back()).desc.dtype == DType::kFloat8E4M3Fn;
  return EpilogueKernel(device, program, source, is_small, cubin);
}

EpilogueKernel::EpilogueKernel(DeviceContext& device, const Program& program, const PlainSource& source,
                               bool reads_sums, std::span<const std::byte> cubin)
    : reads_sums_(reads_sums) {
  cubin_ = cubin.empty() ? device.compile_to_cubin(source.source, source.entry)
                         : std::vector<std::byte>(cubin.begin(), cubin.end());
  kernel_ = device.load_kernel(cubin_, source.entry);
  for (const ValueId id : source.arguments) arguments_.emplace_back(program, id);
  num_blocks_ = source.num_blocks;
  block_size_ = source.block_size;
  const Shape& y = program.value(source.arguments.back()).desc.extents;
  if (reads_sums) sums_bytes_ = static_cast<std::size_t>(y.num_elements()) * sizeof(float);
}

void EpilogueKernel::launch(const LaunchContext& context, const std::byte* sums) const {
  std::vector<const std::byte*> addresses;
  if (reads_sums_) addresses.push_back(sums);
  for (const BoundValue& argument : arguments_) addresses.push_back(argument.address(context));
  std::vector<void*> pointers;
  for (const std::byte*& address : addresses) pointers.push_back(&address);
  CUlaunchConfig config{};
  config.gridDimX = num_blocks_;
  config.gridDimY = config.gridDimZ = 1;
  config.blockDimX = block_size_;
  config.blockDimY = config.blockDimZ = 1;
  config.hStream = context.stream;
  check(driver().launch_kernel_ex(&config, kernel_.function, pointers.data(), nullptr), "launching an epilogue");
}

}  // namespace pajamas::cuda
