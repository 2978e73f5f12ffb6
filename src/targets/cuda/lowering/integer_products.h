// Products of 8-bit integers in a graph with QuantizeLinear and DequantizeLinear: which of them the matrix units are to
// compute from the integers themselves, and the small changes that make the others' forms theirs. The rest is computed
// as it is written.
#pragma once

#include <set>
#include <string>

#include "graph/graph.h"
#include "targets/cuda/constant_pool.h"

namespace pajamas::cuda {

struct IntegerProducts {
  Model model;
  /// Values of DequantizeLinear that only such products read: constant weights that stay integers.
  std::set<std::string> weights;
};

/// MatMul and Gemm of an activation of int8 or uint8 with one scale and zero point, and a constant matrix of int8
/// without a zero point and with one scale or one a column; 64 rows and more, extents that are multiples of 16 from 64
/// on. Levels of uint8 that only DequantizeLinear reads become int8 with a zero point 128 lower: the same numbers.
IntegerProducts find_integer_products(const Model& model, const ConstantTable& constants);

/// Takes zero points that are all zero away from DequantizeLinear of int8: at build, since at load nobody knows the
/// numbers of large constants.
void drop_zero_points(Model& model);

}  // namespace pajamas::cuda
