// The elements of a tensor with strides, for tests that put values into memory as a kernel finds them.
#pragma once

#include <cstdint>

#include "targets/cuda/program.h"

namespace pajamas::test {

/// Calls visit(place in row-major order, offset in elements) for each element. Strides are not negative.
template <typename Visit>
void each_element(const cuda::TensorDesc& desc, const Visit& visit) {
  const std::int64_t count = desc.extents.num_elements();
  for (std::int64_t flat = 0; flat < count; ++flat) {
    std::int64_t rest = flat;
    std::int64_t at = 0;
    for (std::size_t i = desc.extents.rank(); i-- > 0;) {
      at += rest % desc.extents[i] * desc.strides[i];
      rest /= desc.extents[i];
    }
    visit(flat, at);
  }
}

/// One past the last element's offset; 0 when there is none.
inline std::int64_t reach_of(const cuda::TensorDesc& desc) {
  std::int64_t reach = 1;
  for (std::size_t i = 0; i < desc.extents.rank(); ++i) {
    if (desc.extents[i] == 0) return 0;
    reach += (desc.extents[i] - 1) * desc.strides[i];
  }
  return reach;
}

}  // namespace pajamas::test
