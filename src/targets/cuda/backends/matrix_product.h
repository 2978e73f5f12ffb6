// Matrix products as one shape: what MatMulStep and a convolution with kernel 1 have in common. Plain data, no CUDA.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "targets/cuda/program.h"

namespace pajamas::cuda {

/// y[i] = a[i] · b[i] for a batch of matrices. Strides in elements.
struct MatrixProduct {
  struct Matrix {
    ValueId value = -1;
    std::int64_t row_stride = 0, column_stride = 0;
    std::vector<std::int64_t> batch_strides;  ///< One for each of `batch`; 0 repeats.
  };
  std::int64_t m = 1, n = 1, k = 1;
  std::vector<std::int64_t> batch;  ///< Extents above 1, neighbours merged where all matrices allow.
  Matrix a, b, y;
  std::optional<Matrix> residual;
  float scale = 1;
  const Epilogue* epilogue = nullptr;  ///< Of the step.
};

/// Nothing for steps that are no matrix product.
std::optional<MatrixProduct> matrix_product_of(const Program& program, const Step& step);

}  // namespace pajamas::cuda
