// See matrix_product.h.
#include "targets/cuda/backends/matrix_product.h"

#include <algorithm>

namespace pajamas::cuda {
namespace {

std::vector<MatrixProduct::Matrix*> matrices_of(MatrixProduct& product) {
  std::vector<MatrixProduct::Matrix*> matrices{&product.a, &product.b, &product.y};
  if (product.residual) matrices.push_back(&*product.residual);
  return matrices;
}

/// Drops axes of extent 1, merges neighbours that are one run in every matrix, and makes rows of a batch that shares b.
void simplify(MatrixProduct& product) {
  const auto matrices = matrices_of(product);
  for (std::size_t axis = product.batch.size(); axis-- > 0;) {
    const bool is_single = product.batch[axis] == 1;
    const bool joins_next =
        axis + 1 < product.batch.size() &&
        std::all_of(matrices.begin(), matrices.end(), [&](const MatrixProduct::Matrix* matrix) {
          return matrix->batch_strides[axis] == matrix->batch_strides[axis + 1] * product.batch[axis + 1];
        });
    if (!is_single && !joins_next) continue;
    if (!is_single) product.batch[axis + 1] *= product.batch[axis];
    const auto index = static_cast<std::ptrdiff_t>(axis);
    product.batch.erase(product.batch.begin() + index);
    for (MatrixProduct::Matrix* matrix : matrices) matrix->batch_strides.erase(matrix->batch_strides.begin() + index);
  }
  if (product.batch.size() != 1 || product.b.batch_strides[0] != 0) return;
  const std::int64_t m = product.m;
  const bool rows_continue = std::all_of(matrices.begin(), matrices.end(), [&](const MatrixProduct::Matrix* matrix) {
    return matrix == &product.b || m == 1 || matrix->batch_strides[0] == m * matrix->row_stride;
  });
  if (!rows_continue) return;
  for (MatrixProduct::Matrix* matrix : matrices) {
    if (m == 1 && matrix != &product.b) matrix->row_stride = matrix->batch_strides[0];
    matrix->batch_strides.clear();
  }
  product.m *= product.batch[0];
  product.batch.clear();
}

MatrixProduct of_matmul(const Program& program, const MatMulStep& step) {
  MatrixProduct product;
  const Shape& y = program.value(step.y).desc.extents;
  const std::size_t num_batch = y.rank() - 2;
  product.m = y[num_batch];
  product.n = y[num_batch + 1];
  product.k = program.value(step.a).desc.extents[num_batch + 1];
  product.batch.assign(y.begin(), y.begin() + static_cast<std::ptrdiff_t>(num_batch));
  const auto matrix = [&](ValueId id) {
    const TensorDesc& desc = program.value(id).desc;
    MatrixProduct::Matrix result;
    result.value = id;
    result.row_stride = desc.strides[num_batch];
    result.column_stride = desc.strides[num_batch + 1];
    result.batch_strides.assign(desc.strides.begin(), desc.strides.begin() + static_cast<std::ptrdiff_t>(num_batch));
    for (std::size_t axis = 0; axis < num_batch; ++axis) {
      if (desc.extents[axis] == 1) result.batch_strides[axis] = 0;
    }
    return result;
  };
  product.a = matrix(step.a);
  product.b = matrix(step.b);
  product.y = matrix(step.y);
  if (step.epilogue.residual) product.residual = matrix(*step.epilogue.residual);
  product.scale = step.scale;
  product.epilogue = &step.epilogue;
  return product;
}

std::optional<MatrixProduct> of_conv(const Program& program, const ConvStep& step) {
  const auto are = [](const std::vector<std::int64_t>& values, std::int64_t wanted) {
    return std::all_of(values.begin(), values.end(), [&](std::int64_t value) { return value == wanted; });
  };
  if (step.is_transposed || step.groups != 1 || !are(step.strides, 1) || !are(step.pads_begin, 0) ||
      !are(step.pads_end, 0)) {
    return std::nullopt;
  }
  const TensorDesc& weights = program.value(step.weights).desc;
  for (std::size_t axis = 2; axis < weights.extents.rank(); ++axis) {
    if (weights.extents[axis] != 1) return std::nullopt;
  }
  MatrixProduct product;
  const Shape& y = program.value(step.y).desc.extents;
  const std::size_t rank = y.rank();
  product.m = y[rank - 1];
  product.n = y[1];
  product.k = weights.extents[1];
  // Images and rows of pixels are the batch; simplify() makes one matrix of them where they follow each other.
  product.batch.push_back(y[0]);
  for (std::size_t axis = 2; axis + 1 < rank; ++axis) product.batch.push_back(y[axis]);
  const auto image = [&](ValueId id) {
    const TensorDesc& desc = program.value(id).desc;
    MatrixProduct::Matrix result;
    result.value = id;
    result.row_stride = desc.strides[rank - 1];
    result.column_stride = desc.strides[1];
    result.batch_strides.push_back(desc.strides[0]);
    for (std::size_t axis = 2; axis + 1 < rank; ++axis) result.batch_strides.push_back(desc.strides[axis]);
    for (std::size_t i = 0; i < product.batch.size(); ++i) {
      if (product.batch[i] == 1) result.batch_strides[i] = 0;
    }
    return result;
  };
  product.a = image(step.x);
  product.y = image(step.y);
  product.b.value = step.weights;
  product.b.row_stride = weights.strides[1];
  product.b.column_stride = weights.strides[0];
  product.b.batch_strides.assign(product.batch.size(), 0);
  if (step.epilogue.residual) product.residual = image(*step.epilogue.residual);
  product.epilogue = &step.epilogue;
  return product;
}

}  // namespace

std::optional<MatrixProduct> matrix_product_of(const Program& program, const Step& step) {
  std::optional<MatrixProduct> product;
  if (const auto* matmul = std::get_if<MatMulStep>(&step.work)) product = of_matmul(program, *matmul);
  if (const auto* conv = std::get_if<ConvStep>(&step.work)) product = of_conv(program, *conv);
  if (product) simplify(*product);
  return product;
}

}  // namespace pajamas::cuda
