// Tensors of seeded random numbers. Inputs for proofs are verify/input_cases.h.
#pragma once

#include <random>
#include <utility>

#include "pajamas/tensor.h"

namespace pajamas::test {

/// float32 from a normal distribution around 0; the same for the same seed.
inline Tensor random_tensor(Shape shape, float deviation, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, deviation);
  Tensor tensor(DType::kFloat32, std::move(shape));
  for (float& value : tensor.mutable_as<float>()) value = normal(random);
  return tensor;
}

}  // namespace pajamas::test
