// See epilogue_kernel.h.
#include "targets/cuda/backends/epilogue_kernel.h"

#include "targets/cuda/backends/plain_source.h"
#include "targets/cuda/runtime/driver.h"

namespace pajamas::cuda {

EpilogueKernel::EpilogueKernel(DeviceContext& device, const Program& program, const Step& step,
                               std::span<const std::byte> cubin) {
  const auto source = make_epilogue_source(program, step);
  if (!source) throw Error(ErrorKind::kUnsupported, "a step without an epilogue");
  cubin_ = cubin.empty() ? device.compile_to_cubin(source->source, source->entry)
                         : std::vector<std::byte>(cubin.begin(), cubin.end());
  kernel_ = device.load_kernel(cubin_, source->entry);
  for (const ValueId id : source->arguments) arguments_.emplace_back(program, id);
  num_blocks_ = source->num_blocks;
  block_size_ = source->block_size;
  const Shape& y = program.value(source->arguments.back()).desc.extents;
  sums_bytes_ = static_cast<std::size_t>(y.num_elements()) * sizeof(float);
}

void EpilogueKernel::launch(const LaunchContext& context, const std::byte* sums) const {
  std::vector<const std::byte*> addresses{sums};
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
