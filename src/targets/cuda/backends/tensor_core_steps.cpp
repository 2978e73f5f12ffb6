// See tensor_core_steps.h.
#include "targets/cuda/backends/tensor_core_steps.h"

namespace pajamas::cuda {

bool has_column_bias(const Program& program, const Epilogue& epilogue, std::int64_t n, DType dtype) {
  if (!epilogue.bias) return true;
  const TensorDesc& bias = program.value(*epilogue.bias).desc;
  if (bias.dtype != dtype && bias.dtype != DType::kFloat32) return false;
  const std::size_t rank = bias.extents.rank();
  return rank > 0 && bias.extents[rank - 1] == n && (n == 1 || bias.strides.back() == 1);
}

std::optional<std::int64_t> dense_row_length(const TensorDesc& weights) {
  std::int64_t length = 1;
  const auto joins = [&](std::size_t axis) {
    const bool is_dense = weights.extents[axis] == 1 || weights.strides[axis] == length;
    length *= weights.extents[axis];
    return is_dense;
  };
  if (!joins(1)) return std::nullopt;
  for (std::size_t axis = weights.extents.rank(); axis-- > 2;) {
    if (!joins(axis)) return std::nullopt;
  }
  return length;
}

}  // namespace pajamas::cuda
