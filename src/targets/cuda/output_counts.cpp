// See output_counts.h.
#include "targets/cuda/output_counts.h"

#include <cstring>
#include <vector>

#include "pajamas/error.h"

namespace pajamas::cuda {

std::size_t num_model_outputs(const Program& program) {
  return program.outputs.size() - (program.output_counts.empty() ? 0 : 1);
}

Shape real_shape(const Program& program, std::size_t output, std::span<const std::int64_t> counts) {
  const Value& value = program.value(program.outputs[output]);
  std::vector<std::int64_t> extents = value.desc.extents.extents();
  for (const OutputCount& count : program.output_counts) {
    if (count.output != output) continue;
    std::int64_t& extent = extents[count.axis];
    if (counts[count.count_index] < 0 || counts[count.count_index] > extent) {
      throw Error(ErrorKind::kInternal, "output '" + value.name + "' has " + std::to_string(counts[count.count_index]) +
                                            " rows where at most " + std::to_string(extent) + " were expected");
    }
    extent = counts[count.count_index];
  }
  return Shape(extents);
}

void compact(std::byte* data, const Shape& bound, const Shape& real, std::size_t element_bytes) {
  if (bound == real) return;
  // Behind the last axis that shrinks, rows stay whole.
  std::size_t inner = bound.rank();
  while (inner > 0 && bound[inner - 1] == real[inner - 1]) --inner;
  std::size_t run_bytes = element_bytes;
  for (std::size_t i = inner; i < bound.rank(); ++i) run_bytes *= static_cast<std::size_t>(bound[i]);
  const auto run_length = static_cast<std::size_t>(real[inner - 1]) * run_bytes;
  std::int64_t num_runs = 1;
  for (std::size_t i = 0; i + 1 < inner; ++i) num_runs *= real[i];
  for (std::int64_t run = 0; run < num_runs; ++run) {
    std::int64_t rest = run;
    std::int64_t row = 0;
    std::int64_t stride = 1;
    for (std::size_t i = inner - 1; i-- > 0;) {
      row += rest % real[i] * stride;
      rest /= real[i];
      stride *= bound[i];
    }
    const std::size_t from = static_cast<std::size_t>(row * bound[inner - 1]) * run_bytes;
    std::memmove(data + static_cast<std::size_t>(run) * run_length, data + from, run_length);
  }
}

}  // namespace pajamas::cuda
